package model

import (
	"cmp"
	"slices"
	"time"

	"github.com/DataDog/sketches-go/ddsketch"

	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// View is what a lab looks like at a moment. Rates are requests a second, over the four seconds
// before it.
type View struct {
	Lab      feed.Lab
	At       clock.Instant
	Every    int // one request in so many was seen
	Edges    []Edge
	Services []Service // that were called, each after those that call it
	Out      []Ejected
	Breakers []Breaker
	Faults   []Fault
	Story    *feed.Story
	Proxies  []feed.Proxy
	Events   []observe.Change // the newest first
	Config   *feed.Config
}

// Edge is who calls whom.
type Edge struct {
	From, To string
	Mirror   bool // copies, whose answers nobody waits for
	Traffic
}

// Traffic is what passed.
type Traffic struct {
	Rate    float64   // requests a second
	Bad     float64   // share that failed, in [0, 1]
	Retries float64   // a second
	Past    []float64 // rates, slot by slot, the newest last
	BadPast []float64 // rates of what failed
	Times   Times
}

// Times are latency quantiles.
type Times struct{ P50, P90, P99 time.Duration }

// Service is what a service was sent, by version.
type Service struct {
	Name     string
	Callers  []string
	Depth    int // of calls before it
	Versions []Version
	Traffic
	// Rule is the weighted rule in force that leads to it; nil without one.
	Rule *feed.Split
	// Wanted is what the step that runs expects of it; nil when it does not.
	Wanted *feed.Wanted
	P99    []float64 // in ms, slot by slot; 0 where nothing was sent; of Look.Service alone
}

// Version is what one version was sent.
type Version struct {
	Name string
	Of   float64 // share of the rate
	Traffic
	Shares []float64 // slot by slot; -1 where nothing was sent
	Wants  []float64 // slot by slot, the share that a rule wanted then; -1 where none did
	Share  *Share    // under Rule; nil without one
}

// Breaker is a limit, and how full it is.
type Breaker struct {
	feed.Limit
	Busy    float64 // requests at a time, on average, over the rate's time
	Refused float64 // a second
}

// Fault is something that is broken.
type Fault struct {
	observe.Fault
	Istio string // how Istio's rule says it; empty for others
}

// Look says what a view shall have beside what it always has.
type Look struct {
	Past    int    // slots of history
	Service string // that is looked at closely
}

// At tells what the lab looked like at a moment.
func (m *Model) At(t clock.Instant, look Look) *View {
	past := look.Past
	v := &View{
		Lab: m.Lab, At: t, Every: max(m.samples.at(t), 1), Story: m.stories.at(t),
		Proxies: m.proxies.at(t), Config: m.configs.at(t),
	}
	if v.Config == nil {
		v.Config = &feed.Config{}
	}
	end := slotOf(t) // the slot under way is not over
	for _, e := range m.edges {
		if e.seen < end-slots || e.born > end {
			continue
		}
		x := Edge{From: e.from, To: e.to, Mirror: e.mirror}
		x.Traffic = m.traffic(e.tracks, end, past)
		v.Edges = append(v.Edges, x)
	}
	m.services(v, end, look)
	m.breakers(v, end)
	m.broken(v, t)
	for i := len(m.changes) - 1; i >= 0 && len(v.Events) < 50; i-- {
		if m.changes[i].At <= t {
			v.Events = append(v.Events, m.changes[i])
		}
	}
	return v
}

// over is how many slots before end a rate is taken over: those that there were.
func (m *Model) over(end int64) int64 {
	return max(1, min(rateOver, end-slotOf(m.began)))
}

// traffic sums up tracks over the slots before end.
func (m *Model) traffic(tracks []*track, end int64, past int) Traffic {
	out := Traffic{Past: make([]float64, past), BadPast: make([]float64, past)}
	over := m.over(end)
	var n, bad, retries int64
	var times *ddsketch.DDSketch
	for _, t := range tracks {
		for number := end - over; number < end; number++ {
			s := t.read(number)
			if s == nil {
				continue
			}
			n, bad, retries = n+s.n, bad+s.bad, retries+s.retries
			times = merge(times, s.times)
		}
		for i := range past {
			if s := t.read(end - int64(past-i)); s != nil {
				out.Past[i] += float64(s.n) / Slot.Seconds()
				out.BadPast[i] += float64(s.bad) / Slot.Seconds()
			}
		}
	}
	seconds := float64(over) * Slot.Seconds()
	out.Rate, out.Retries = float64(n)/seconds, float64(retries)/seconds
	if n > 0 {
		out.Bad = float64(bad) / float64(n)
	}
	out.Times = quantiles(times)
	return out
}

// merge adds a sketch to a sum, which it makes.
func merge(sum, s *ddsketch.DDSketch) *ddsketch.DDSketch {
	if s == nil {
		return sum
	}
	if sum == nil {
		return s.Copy()
	}
	sum.MergeWith(s) //nolint:errcheck // all have one accuracy
	return sum
}

func quantiles(s *ddsketch.DDSketch) (t Times) {
	if s == nil || s.GetCount() == 0 {
		return t
	}
	q, err := s.GetValuesAtQuantiles([]float64{0.5, 0.9, 0.99})
	if err != nil {
		return t
	}
	return Times{time.Duration(q[0]), time.Duration(q[1]), time.Duration(q[2])}
}

// services sums up edges by whom they lead to.
func (m *Model) services(v *View, end int64, look Look) {
	at := map[string]int{}
	for _, e := range v.Edges {
		if e.Mirror {
			continue
		}
		i, known := at[e.To]
		if !known {
			i = len(v.Services)
			at[e.To] = i
			v.Services = append(v.Services, Service{Name: e.To})
		}
		v.Services[i].Callers = append(v.Services[i].Callers, e.From)
	}
	depths(v.Services, at)
	for i := range v.Services {
		m.service(v, &v.Services[i], end, look)
	}
	slices.SortStableFunc(v.Services, func(a, b Service) int {
		return cmp.Or(cmp.Compare(a.Depth, b.Depth), cmp.Compare(a.Name, b.Name))
	})
}

// depths says how many calls lead to each service; a circle ends it.
func depths(all []Service, at map[string]int) {
	for range all {
		for i := range all {
			for _, c := range all[i].Callers {
				if j, called := at[c]; called && all[j].Depth+1 > all[i].Depth &&
					all[j].Depth+1 < len(all) {
					all[i].Depth = all[j].Depth + 1
				}
			}
		}
	}
}

func (m *Model) service(v *View, s *Service, end int64, look Look) {
	past := look.Past
	byVersion := map[string][]*track{}
	var all []*track
	var names []string
	for _, e := range m.edges {
		if e.to != s.Name || e.mirror {
			continue
		}
		for _, t := range e.tracks {
			if byVersion[t.version] == nil {
				names = append(names, t.version)
			}
			byVersion[t.version] = append(byVersion[t.version], t)
			all = append(all, t)
		}
	}
	s.Traffic = m.traffic(all, end, past)
	if s.Name == look.Service {
		s.P99 = p99(all, end, past)
	}
	m.wanted(v, s)
	shares := m.shares(v.At, s)
	for name := range shares {
		if byVersion[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		x := Version{Name: name, Traffic: m.traffic(byVersion[name], end, past)}
		if x.Rate == 0 && name == "" && len(names) > 1 && quiet(x.Past) {
			continue // no host was found, long ago
		}
		if s.Rate > 0 {
			x.Of = x.Rate / s.Rate
		}
		for i := range x.Past {
			share := -1.0
			if s.Past[i] > 0 {
				share = x.Past[i] / s.Past[i]
			}
			x.Shares = append(x.Shares, share)
			x.Wants = append(x.Wants, m.want(s.Name, name, end-int64(past-i)))
		}
		if h, ok := shares[name]; ok {
			x.Share = &h
		}
		s.Versions = append(s.Versions, x)
	}
}

func quiet(rates []float64) bool {
	return !slices.ContainsFunc(rates, func(r float64) bool { return r > 0 })
}

// p99 is the 99th percentile of each slot, in ms.
func p99(tracks []*track, end int64, past int) []float64 {
	out := make([]float64, past)
	for i := range out {
		var times *ddsketch.DDSketch
		for _, t := range tracks {
			if s := t.read(end - int64(past-i)); s != nil {
				times = merge(times, s.times)
			}
		}
		out[i] = float64(quantiles(times).P99) / float64(time.Millisecond)
	}
	return out
}

// wanted finds the rule that shares a service's requests out, and what the step expects.
func (m *Model) wanted(v *View, s *Service) {
	for i := range v.Config.Splits {
		r := &v.Config.Splits[i]
		if r.Service == s.Name && (s.Rule == nil || len(r.Parts) > len(s.Rule.Parts)) {
			s.Rule = r
		}
	}
	if v.Story == nil {
		return
	}
	for i := range v.Story.Steps {
		step := &v.Story.Steps[i]
		for j := range step.Splits {
			if w := &step.Splits[j]; step.State == feed.Running && w.Service == s.Name {
				s.Wanted = w
			}
		}
	}
}

// shares judges the parts of a service's rule, by version.
func (m *Model) shares(t clock.Instant, s *Service) map[string]Share {
	out := map[string]Share{}
	if s.Rule == nil || s.Rule.Mixed {
		return out
	}
	for _, x := range m.splits {
		if !x.same(s.Rule) || t < x.since || t >= x.until {
			continue
		}
		n, draws := x.at(t), int64(0)
		for _, k := range n {
			draws += k
		}
		for i, p := range x.Parts {
			out[p.Version] = share(float64(p.Weight)/100, n[i], draws)
		}
	}
	return out
}
