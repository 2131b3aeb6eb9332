package model

import (
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// split counts the draws of one rule since it had its weights.
type split struct {
	feed.Split
	since, until clock.Instant
	config       string // as records name the VirtualService
	now          []int64
	past         []counts // the end of each slot, the last as of now
}

// counts is how often each part was drawn, up to the end of a slot.
type counts struct {
	slot int64
	n    []int64
}

func newSplit(at clock.Instant, x feed.Split) *split {
	ns, name, _ := strings.Cut(x.Object, "/")
	return &split{Split: x, since: at, until: clock.Never, now: make([]int64, len(x.Parts)),
		config: "/namespaces/" + ns + "/virtual-service/" + name}
}

// same says whether a rule has the weights that are counted.
func (s *split) same(x *feed.Split) bool {
	return s.Object == x.Object && s.Rule == x.Rule && slices.Equal(s.Parts, x.Parts) &&
		s.Mixed == x.Mixed
}

// want is the share of a version that the rule wanted which led to a service at the end of a slot,
// and had the most parts; -1: none did, or others lead there, too.
func (m *Model) want(service, version string, slot int64) float64 {
	at := clock.Instant(slot+1)*clock.Instant(Slot) - 1
	var rule *split
	for _, x := range m.splits {
		if x.Service == service && x.since <= at && at < x.until &&
			(rule == nil || len(x.Parts) > len(rule.Parts)) {
			rule = x
		}
	}
	if rule == nil || rule.Mixed {
		return -1
	}
	want := 0.0
	for _, p := range rule.Parts {
		if p.Version == version {
			want += float64(p.Weight) / 100
		}
	}
	return want
}

// count counts a request that the rule decided.
func (s *split) count(r *observe.Request) {
	if s.until != clock.Never || r.Start < s.since || s.Name != r.Route && s.Name != "" ||
		!strings.HasSuffix(r.Config, s.config) {
		return
	}
	subset, _ := subsetOf(r.Cluster)
	i := slices.IndexFunc(s.Parts, func(p feed.Part) bool { return p.Subset == subset })
	if i < 0 || serviceOf(r.Cluster) != s.Service {
		return
	}
	number := slotOf(r.Start + clock.Instant(r.Duration))
	if last := len(s.past) - 1; last < 0 || s.past[last].slot < number {
		if len(s.past) >= 2*int(slots) {
			s.past = slices.Clone(s.past[slots:])
		}
		s.past = append(s.past, counts{number, slices.Clone(s.now)})
	}
	s.now[i]++
	s.past[len(s.past)-1].n[i]++
}

// at returns the counts at a moment.
func (s *split) at(t clock.Instant) []int64 {
	for i := len(s.past) - 1; i >= 0; i-- {
		if s.past[i].slot <= slotOf(t) {
			return s.past[i].n
		}
	}
	return make([]int64, len(s.Parts))
}

// Share is a version's share of the requests that a rule decided since it has its weights: the
// truth lies in [Low, High] with probability 1-α at every moment at once.
type Share struct {
	Want      float64 // in [0, 1]
	Got       float64
	Low, High float64
	Draws     int64
	Drift     bool // Want lies outside of the interval
}

// share judges one part of a split.
func share(want float64, hits, draws int64) Share {
	q := assert.Sequence{Draws: draws, Hits: hits}
	s := Share{Want: want, Got: q.Share(), Draws: draws}
	s.Low, s.High = q.Interval(assert.DefaultAlpha)
	s.Drift = draws > 0 && (want < s.Low || want > s.High ||
		want == 0 && hits > 0 || want == 1 && hits < draws)
	return s
}
