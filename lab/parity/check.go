package parity

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/request"
)

// Finding is a difference that is not known, or a group of requests that show the same one.
type Finding struct {
	Where string       `json:"where"` // the scenario and step, the file, or what was fuzzed
	First request.Spec `json:"first"` // the request that showed it
	// Smallest is the smallest request that still shows it; for what is random it is the first.
	Smallest    request.Spec `json:"smallest"`
	Differences []Difference `json:"differences,omitempty"` // of the smallest, sent once
	Shares      []Share      `json:"shares,omitempty"`      // of what is random
	P           float64      `json:"p,omitempty"`           // how probable it is by chance
	Samples     int          `json:"samples"`               // how often it was sent on each side
	Alike       int          `json:"alike"`                 // how many requests more show it
	Config      string       `json:"config,omitempty"`      // the smallest, when fuzzed
}

// Effort bounds how often what is random is sent, on each side.
type Effort struct {
	Groups      int // kinds of random outcomes for each configuration
	Least, Most int // requests for each
}

// Tally is what a run has done.
type Tally struct {
	Configs  int `json:"configurations"`
	Invalid  int `json:"invalid"`  // drawn and refused by istio.Read
	Requests int `json:"requests"` // different ones
	Sent     int `json:"sent"`     // on each side, repetitions included
	Cut      int `json:"cut"`      // generated and not sent, for there is a bound
	Random   int `json:"random"`   // kinds of random outcomes whose shares were compared
	Tests    int `json:"tests"`    // statistical tests, which share the false-alarm rate

	Known  map[string]int `json:"known,omitempty"`
	Fields map[string]int `json:"fields,omitempty"` // how many configurations had an Istio field
}

// Checker compares the two sides of a pair and collects what it finds.
type Checker struct {
	Pair     *Pair
	Effort   Effort
	Tally    Tally
	Findings []*Finding
	Found    func(*Finding) // told of each; may be nil

	budget budget
}

// suspect is a request whose outcomes differed when it was sent once.
type suspect struct {
	spec  request.Spec
	diff  []Difference
	alike int
}

// sign names what differs, so that requests that show the same are told once.
func sign(d []Difference) string {
	var names []string
	for _, x := range d {
		names = append(names, x.Fact)
	}
	return strings.Join(names, ",")
}

// Check sends requests on both sides and compares: each once, then those that differ often enough
// to tell a difference from chance, then what is random in its shares.
func (c *Checker) Check(ctx context.Context, where string, specs []request.Spec) error {
	if len(specs) == 0 {
		return nil
	}
	a, b, err := c.Pair.ask(ctx, specs)
	if err != nil {
		return err
	}
	c.Tally.Requests += len(specs)
	groups := map[string]*suspect{}
	for i := range specs {
		diff := c.compare(&a[i], &b[i])
		if len(diff) == 0 {
			continue
		}
		key := sign(diff)
		if g := groups[key]; g != nil {
			g.alike++
			if len(specs[i].URL)+len(specs[i].Headers) < len(g.spec.URL)+len(g.spec.Headers) {
				g.spec, g.diff = specs[i], diff
			}
			continue
		}
		groups[key] = &suspect{spec: specs[i], diff: diff}
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		if err := c.confirm(ctx, where, groups[key]); err != nil {
			return err
		}
	}
	return c.distributions(ctx, where, specs, a, b)
}

// compare returns the unknown differences of one request, the choice of a pod aside.
func (c *Checker) compare(a, b *request.Result) []Difference {
	diff, names := split(Compare(OutcomeOf(a).settled(), OutcomeOf(b).settled()))
	for _, n := range names {
		if c.Tally.Known == nil {
			c.Tally.Known = map[string]int{}
		}
		c.Tally.Known[n]++
	}
	return diff
}

// unlikely is the p-value at which a suspicion is followed up with more requests.
const unlikely = 0.05

// confirmations is how often a suspect is sent first, and at most.
const (
	confirmLeast = 12
	confirmMost  = 200
)

// confirm sends a suspect again and again and looks at the facts that differed alone.
func (c *Checker) confirm(ctx context.Context, where string, s *suspect) error {
	facts := map[string]bool{}
	for _, d := range s.diff {
		facts[d.Fact] = true
	}
	view := func(o Outcome) Outcome {
		o = o.settled()
		maps.DeleteFunc(o, func(k, _ string) bool { return !facts[k] })
		return o
	}
	f := &Finding{
		Where: where, First: s.spec, Smallest: s.spec, Differences: s.diff, Alike: s.alike,
	}
	same := func(int) request.Spec { return s.spec }
	found, err := c.repeat(ctx, f, same, view, Effort{Least: confirmLeast, Most: confirmMost})
	if err != nil || !found {
		return err
	}
	if certain(f.Shares) {
		f.Shares, f.P = nil, 0
		if err := c.shrink(ctx, f); err != nil {
			return err
		}
	}
	c.add(f)
	return nil
}

// add keeps a finding and tells of it.
func (c *Checker) add(f *Finding) {
	c.Findings = append(c.Findings, f)
	if c.Found != nil {
		c.Found(f)
	}
}

// certain says whether each side always has the same outcome, another one than the other side's.
func certain(s []Share) bool {
	return len(s) == 2 && s[0].A*s[0].B == 0 && s[1].A*s[1].B == 0
}

// repeat sends requests until their outcomes differ for certain, look alike, or the effort is
// spent; it says whether they differ.
func (c *Checker) repeat(
	ctx context.Context, f *Finding, spec func(n int) request.Spec, view func(Outcome) Outcome,
	e Effort,
) (bool, error) {
	ta, tb := tally{}, tally{}
	test, atOnce := distance, connections
	if limited(c.Pair.config) {
		test, atOnce = support, 1 // what has failed decides what comes: draws are not independent
		e.Least, e.Most = min(e.Least, inOrderLeast), min(e.Most, inOrder)
	}
	for n := 0; n < e.Most; {
		specs := make([]request.Spec, max(e.Least, min(n, e.Most-n)))
		for i := range specs {
			specs[i] = spec(n + i)
		}
		a, b, err := c.Pair.askFresh(ctx, specs, atOnce)
		if err != nil {
			return false, err
		}
		if atOnce > 1 && (drags(a) || drags(b)) {
			ta, tb, n, atOnce = tally{}, tally{}, 0, 1
			continue
		}
		for i := range specs {
			ta[view(OutcomeOf(&a[i])).text()]++
			tb[view(OutcomeOf(&b[i])).text()]++
		}
		n += len(specs)
		c.Tally.Tests++
		p := test(ta, tb)
		f.Samples, f.P, f.Shares = n, p, shares(ta, tb)
		if p < c.budget.next() {
			return true, nil
		}
		if p > unlikely {
			return false, nil
		}
	}
	return false, nil
}

// drags says whether a connection to a host failed at once. Envoy then fails whoever waits for one
// to the same host, too (ConnPoolImplBase::purgePendingStreams, source/common/conn_pool/
// conn_pool_base.cc): what such requests leave depends on their company.
func drags(rs []request.Result) bool {
	return slices.ContainsFunc(rs, func(r request.Result) bool {
		return r.DurationMS < long && slices.ContainsFunc(r.Hops, func(h request.Hop) bool {
			return h.Reporter == "source" && h.UpstreamFailure != ""
		})
	})
}

// distributions compares the shares of what is random: one request for each kind of it.
func (c *Checker) distributions(
	ctx context.Context, where string, specs []request.Spec, a, b []request.Result,
) error {
	done := map[string]bool{}
	for i, key := range c.random(specs, a) {
		if key == "" || done[key] {
			continue
		}
		if len(done) == c.Effort.Groups {
			break
		}
		done[key] = true
		c.Tally.Random++
		err := c.Distribution(ctx, where, func(int) request.Spec { return specs[i] }, &b[i], &a[i])
		if err != nil {
			return err
		}
	}
	return nil
}

// Distribution compares the shares of the outcomes of requests that are the same, or of one kind.
// What is known to differ is left out; a and b are outcomes to know it by, and may be nil.
func (c *Checker) Distribution(
	ctx context.Context, where string, spec func(n int) request.Spec, b, a *request.Result,
) error {
	known := map[string]bool{}
	if a != nil && b != nil {
		for _, d := range Compare(OutcomeOf(a), OutcomeOf(b)) {
			if tolerated(d) != "" {
				known[d.Fact] = true
			}
		}
	}
	kept := sticking(c.Pair.config) && weight(spec(0)) == weight(spec(1))
	view := func(o Outcome) Outcome {
		if kept {
			o = o.settled()
		}
		maps.DeleteFunc(o, func(k, _ string) bool { return known[k] })
		return o
	}
	f := &Finding{Where: where, First: spec(0), Smallest: spec(0)}
	found, err := c.repeat(ctx, f, spec, view, c.Effort)
	if err != nil || !found {
		return err
	}
	f.Shares = telling(f.Shares)
	c.add(f)
	return nil
}

// random names the kind of random outcome that each request meets; "" for what is settled.
func (c *Checker) random(specs []request.Spec, a []request.Result) []string {
	objects := drawing(c.Pair.config)
	pods := map[string]int{}
	for _, p := range c.Pair.meshes[0].Registry().Pods {
		pods[p.Labels["app"]+"."+p.Namespace]++
	}
	out := make([]string, len(specs))
	for i := range specs {
		if len(a[i].Hops) == 0 || a[i].Hops[0].Reporter != "source" || slow(&specs[i], &a[i]) {
			continue
		}
		h := &a[i].Hops[0]
		_, config, _ := strings.Cut(h.Config, "/namespaces/")
		service := serviceOf(h.Cluster)
		switch {
		case objects[config]:
			out[i] = strings.Join([]string{"drawn", h.Workload, config, h.Route, service}, " ")
		case pods[service] > 1:
			out[i] = strings.Join([]string{"balanced", h.Workload, h.Cluster}, " ")
		}
	}
	return out
}

// long is from when on a request is a slow one, in milliseconds.
const long = 1000

// slow says whether a request asks its backend to wait, or waited for long: a quick one says as
// much.
func slow(s *request.Spec, r *request.Result) bool {
	return r.DurationMS > long || slices.ContainsFunc(s.Headers, func(h string) bool {
		return strings.HasPrefix(h, "x-echo-delay:")
	})
}

// serviceOf returns NAME.NAMESPACE of a cluster's Service.
func serviceOf(cluster string) string {
	host := cluster[strings.LastIndexByte(cluster, '|')+1:]
	name, rest, _ := strings.Cut(host, ".")
	namespace, _, _ := strings.Cut(rest, ".")
	return cmp.Or(name, "-") + "." + namespace
}
