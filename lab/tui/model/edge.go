package model

import (
	"cmp"
	"slices"
	"strings"

	"github.com/DataDog/sketches-go/ddsketch"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// edgeKey names who calls whom.
type edgeKey struct {
	from, to string // canonical services
	mirror   bool
}

// edge is what is known of who calls whom, by version of the destination.
type edge struct {
	edgeKey
	born   int64 // the first slot with a request
	seen   int64 // the last one
	tracks []*track
}

// track is what one version of a service was sent by a caller, in slots.
type track struct {
	version string
	slots   []slot // by number modulo slots
}

// slot is half a second.
type slot struct {
	number  int64
	n, bad  int64 // requests, weighted with what was left out
	retries int64
	busy    int64 // nanoseconds of all requests together
	over    int64 // refused by a limit
	times   *ddsketch.DDSketch
}

// accuracy is how far off a latency quantile may be, relatively.
const accuracy = 0.02

func slotOf(at clock.Instant) int64 { return int64(at) / int64(Slot) }

// at returns the slot of a number to write into; nil when it is forgotten.
func (t *track) at(number int64) *slot {
	s := &t.slots[number%slots]
	switch {
	case s.number > number:
		return nil
	case s.number < number:
		times := s.times
		if times != nil {
			times.Clear()
		}
		*s = slot{number: number, times: times}
	}
	return s
}

// read returns a slot; nil when nothing was sent in it.
func (t *track) read(number int64) *slot {
	if number < 0 {
		return nil
	}
	if s := &t.slots[number%slots]; s.number == number && s.n > 0 {
		return s
	}
	return nil
}

// edge returns the edge of a key, with a request in a slot.
func (m *Model) edge(k edgeKey, number int64) *edge {
	e := m.byKey[k]
	if e == nil {
		e = &edge{edgeKey: k, born: number}
		m.byKey[k] = e
		m.edges = append(m.edges, e)
		slices.SortFunc(m.edges, func(a, b *edge) int {
			return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
		})
	}
	e.born, e.seen = min(e.born, number), max(e.seen, number)
	return e
}

func (e *edge) track(version string) *track {
	for _, t := range e.tracks {
		if t.version == version {
			return t
		}
	}
	t := &track{version: version, slots: make([]slot, slots)}
	e.tracks = append(e.tracks, t)
	slices.SortFunc(e.tracks, func(a, b *track) int { return cmp.Compare(a.version, b.version) })
	return t
}

// request counts a record.
func (m *Model) request(r *observe.Request) {
	m.tap.add(r)
	if r.Reporter != observe.Source {
		return
	}
	end := r.Start + clock.Instant(r.Duration)
	number := min(slotOf(end), slotOf(m.now))
	e := m.edge(edgeKey{from: m.caller(r), to: Destination(r)}, number)
	if s := e.track(r.Dest.Version).at(number); s != nil {
		w := int64(m.every)
		s.n += w
		if Bad(r) {
			s.bad += w
		}
		if n := len(r.Attempts); n > 1 {
			s.retries += int64(n-1) * w
		}
		if HasFlag(r, "UO") {
			s.over += w
		}
		s.busy += int64(r.Duration) * w
		if s.times == nil {
			s.times, _ = ddsketch.NewDefaultDDSketch(accuracy) // fails for no accuracy of this kind
		}
		s.times.Add(float64(r.Duration)) //nolint:errcheck // a duration is no NaN
	}
	for _, a := range r.Mirrors {
		x := m.edge(edgeKey{from: e.from, to: serviceOf(a.Cluster), mirror: true},
			number)
		if s := x.track(a.Version).at(number); s != nil {
			s.n += int64(m.every)
		}
	}
	for _, s := range m.splits {
		s.count(r)
	}
}

// caller names who sent a request.
func (m *Model) caller(r *observe.Request) string {
	return cmp.Or(m.apps[r.Proxy], r.Workload, r.Proxy)
}

// Caller names who sent the request of a record.
func (m *Model) Caller(r *observe.Request) string {
	if r.Reporter == observe.Destination {
		if id := m.pods[hostOf(r.Remote)]; id != "" {
			return m.apps[id]
		}
		return hostOf(r.Remote)
	}
	return m.caller(r)
}

func hostOf(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		return addr[:i]
	}
	return addr
}

// Destination names the service that a record's request was for.
func Destination(r *observe.Request) string {
	if r.Reporter == observe.Destination {
		return r.Workload
	}
	if r.Dest.Service != "" {
		return r.Dest.Service
	}
	if s := serviceOf(r.Cluster); s != "" {
		return s
	}
	if name, _, _ := strings.Cut(r.Authority, ":"); name != "" {
		name, _, _ = strings.Cut(name, ".")
		return name
	}
	return "?"
}

// serviceOf names the service of a cluster, outbound|PORT|SUBSET|NAME.NAMESPACE.svc.cluster.local.
func serviceOf(cluster string) string {
	_, host := subsetOf(cluster)
	if name, _, ok := strings.Cut(host, ".svc."); ok {
		name, _, _ = strings.Cut(name, ".")
		return name
	}
	return host
}

func subsetOf(cluster string) (subset, host string) {
	parts := strings.Split(cluster, "|")
	if len(parts) != 4 {
		return "", cluster
	}
	return parts[2], parts[3]
}

// Bad says that a request failed: no answer, or one that blames the server.
func Bad(r *observe.Request) bool {
	return r.Status >= 500 || r.Status == 0 && r.Flags != ""
}

// HasFlag says whether a record has one of Envoy's response flags.
func HasFlag(r *observe.Request, flag string) bool {
	for f := range strings.SplitSeq(r.Flags, ",") {
		if f == flag {
			return true
		}
	}
	return false
}
