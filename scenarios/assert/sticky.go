package assert

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Sticky wants all requests with one key to go to one pod of a service, exactly, and enough pods
// to be in use. Within version, a key may have one pod of each version: weights choose the subset
// by a draw for each request, only then does the hash choose the pod.
type Sticky struct {
	By      string `yaml:"by" about:"header NAME, cookie NAME, query NAME or source"`
	Service string `yaml:"service" about:"the destination; NAME or NAME.NAMESPACE"`
	Within  string `yaml:"within" about:"version: one pod of each version for each key"`
	Pods    Number `yaml:"pods" about:"how many pods must be in use: >= 2"`
	Keys    Number `yaml:"keys" about:"how many keys must have been seen: >= 10"`
	Where   Where  `yaml:"where" about:"which requests; all of them unless said"`
}

// Name says what is judged.
func (s *Sticky) Name() string {
	if s.Within != "" {
		return fmt.Sprintf("sticky %s by %s within %s", s.Service, s.By, s.Within)
	}
	return fmt.Sprintf("sticky %s by %s", s.Service, s.By)
}

// Validate says what is wrong with the expectation itself.
func (s *Sticky) Validate() error {
	kind, name, _ := strings.Cut(s.By, " ")
	switch {
	case s.Service == "":
		return fmt.Errorf("sticky needs a service")
	case kind == "source" && name == "":
	case !slices.Contains([]string{"header", "cookie", "query"}, kind) || name == "":
		return fmt.Errorf("by is header NAME, cookie NAME, query NAME or source, not %q", s.By)
	case s.Within != "" && s.Within != "version":
		return fmt.Errorf("within is version, not %s", s.Within)
	}
	return nil
}

// Headers returns the request headers that records must keep.
func (s *Sticky) Headers() []string {
	kind, name, _ := strings.Cut(s.By, " ")
	switch kind {
	case "header":
		return append(s.Where.Headers(), strings.ToLower(name))
	case "cookie":
		return append(s.Where.Headers(), "cookie")
	}
	return s.Where.Headers()
}

// Statistical is false: stickiness is exact.
func (s *Sticky) Statistical() bool { return false }

// Monitor returns a judge.
func (s *Sticky) Monitor(t Terms) Monitor {
	m := &stickyMonitor{s: s, where: s.Where, pods: map[string]string{}, pod: map[string]string{},
		keys: map[string]bool{}}
	m.where.To = s.Service
	m.share = NewProportion(Exactly(1), t)
	return m
}

type stickyMonitor struct {
	unchanged
	s     *Sticky
	where Where
	share *Proportion       // requests that went where their key had gone before
	pod   map[string]string // address, of each key (and version)
	keys  map[string]bool
	pods  map[string]string // name, by address
	lost  int64             // requests without a key
	stray string
}

// Request follows one request.
func (m *stickyMonitor) Request(r *observe.Request) {
	if !m.where.Holds(r) || r.Upstream == "" {
		return
	}
	key := m.s.key(r)
	if key == "" {
		m.lost++
		return
	}
	m.keys[key], m.pods[r.Upstream] = true, r.Dest.Pod
	if m.s.Within == "version" {
		key += " in version " + r.Dest.Version
	}
	before, known := m.pod[key]
	if !known {
		m.pod[key] = r.Upstream
		return
	}
	m.share.Add(before == r.Upstream, r)
	if before != r.Upstream && m.stray == "" {
		m.stray = fmt.Sprintf("%s went to %s, then to %s", key, m.pods[before], r.Dest.Pod)
	}
}

// key returns the request's value of what the hash is made of.
func (s *Sticky) key(r *observe.Request) string {
	kind, name, _ := strings.Cut(s.By, " ")
	switch kind {
	case "header":
		return r.Headers[strings.ToLower(name)]
	case "cookie":
		for c := range strings.SplitSeq(r.Headers["cookie"], ";") {
			if k, v, _ := strings.Cut(strings.TrimSpace(c), "="); k == name {
				return v
			}
		}
	case "query":
		_, query, _ := strings.Cut(r.Path, "?")
		values, _ := url.ParseQuery(query) // what can be read of a malformed one
		return values.Get(name)
	case "source":
		if a, err := netip.ParseAddrPort(r.Remote); err == nil {
			return a.Addr().String()
		}
		return r.Remote
	}
	return ""
}

// State says whether a drift of the tolerance would have shown.
func (m *stickyMonitor) State() Outcome {
	if m.share.State() == Pass && !m.enough() {
		return Inconclusive
	}
	return m.share.State()
}

func (m *stickyMonitor) enough() bool {
	return (!m.s.Pods.Set() || m.s.Pods.Holds(int64(len(m.pods)))) &&
		(!m.s.Keys.Set() || m.s.Keys.Holds(int64(len(m.keys))))
}

// Verdict judges the stickiness.
func (m *stickyMonitor) Verdict() Verdict {
	v := Verdict{Name: m.s.Name(), Wanted: "one pod for each key"}
	if m.s.Pods.Set() {
		v.Wanted += ", pods: " + m.s.Pods.String()
	}
	m.share.fill(&v)
	v.Observed = fmt.Sprintf("%s keys on %s pods", count(int64(len(m.keys))),
		count(int64(len(m.pods))))
	switch {
	case v.Outcome == Fail:
		v.Reason = m.stray
	case len(m.keys) == 0 && m.lost > 0:
		v.Reason = fmt.Sprintf("%s requests had no %s", count(m.lost), m.s.By)
	case v.Outcome == Pass && m.s.Pods.Set() && !m.s.Pods.Holds(int64(len(m.pods))):
		v.Outcome, v.Reason = Fail, fmt.Sprintf("%d pods are in use", len(m.pods))
	case v.Outcome == Pass && !m.enough():
		v.Outcome, v.Reason = Inconclusive, fmt.Sprintf("%d keys were seen", len(m.keys))
	}
	return v
}

// Scattered is the contrast of Sticky: requests with one key meet several pods. It is decided as
// soon as a key has met two.
type Scattered struct {
	By      string `yaml:"by" about:"header NAME, cookie NAME, query NAME or source"`
	Service string `yaml:"service" about:"the destination; NAME or NAME.NAMESPACE"`
	Where   Where  `yaml:"where" about:"which requests; all of them unless said"`
}

func (s *Scattered) sticky() *Sticky {
	return &Sticky{By: s.By, Service: s.Service, Where: s.Where}
}

// Name says what is judged.
func (s *Scattered) Name() string { return fmt.Sprintf("scattered %s by %s", s.Service, s.By) }

// Validate says what is wrong with the expectation itself.
func (s *Scattered) Validate() error { return s.sticky().Validate() }

// Headers returns the request headers that records must keep.
func (s *Scattered) Headers() []string { return s.sticky().Headers() }

// Statistical is false: one key on two pods is enough.
func (s *Scattered) Statistical() bool { return false }

// Monitor returns a judge.
func (s *Scattered) Monitor(t Terms) Monitor {
	where := s.Where
	where.To = s.Service
	return &scatteredMonitor{s: s.sticky(), name: s.Name(), where: where,
		pods: map[string][]string{}}
}

type scatteredMonitor struct {
	unchanged
	s     *Sticky
	name  string
	where Where
	pods  map[string][]string // addresses, of each key
	n     int64
	split int // keys on several pods
}

// Request follows one request.
func (m *scatteredMonitor) Request(r *observe.Request) {
	key := m.s.key(r)
	if !m.where.Holds(r) || r.Upstream == "" || key == "" {
		return
	}
	m.n++
	if !slices.Contains(m.pods[key], r.Upstream) {
		m.pods[key] = append(m.pods[key], r.Upstream)
		if len(m.pods[key]) == 2 {
			m.split++
		}
	}
}

// State says whether a key has met two pods.
func (m *scatteredMonitor) State() Outcome {
	if m.split > 0 {
		return Pass
	}
	return Inconclusive
}

// Verdict judges the keys: when each was seen often enough to meet another pod and none did, it
// fails.
func (m *scatteredMonitor) Verdict() Verdict {
	v := Verdict{Name: m.name, Wanted: "several pods for a key", Samples: m.n, Outcome: m.State()}
	v.Observed = fmt.Sprintf("%s of %s keys on several pods", count(int64(m.split)),
		count(int64(len(m.pods))))
	switch repeats := m.n - int64(len(m.pods)); {
	case m.n == 0:
		v.Reason = "no request was seen that it could be judged by"
	case m.split == 0 && repeats < 100:
		v.Reason = fmt.Sprintf("keys came again only %s times", count(repeats))
	case m.split == 0:
		v.Outcome, v.Reason = Fail, "each key kept its pod"
	}
	return v
}
