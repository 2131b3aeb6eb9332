package assert

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Slower wants a share of the requests to take at least as long as a limit: the share of delayed
// ones.
type Slower struct {
	Than      Duration `yaml:"than" about:"the limit: 400ms"`
	Share     Share    `yaml:"share" about:"their share: 30%"`
	Where     Where    `yaml:"where" about:"which requests; the load's unless said"`
	Tolerance Points   `yaml:"tolerance" about:"how far the share may be off; 5% unless said"`
}

// Name says what is judged.
func (s *Slower) Name() string { return named("slower than "+s.Than.String(), &s.Where) }

// Validate says what is wrong with the expectation itself.
func (s *Slower) Validate() error { return needLimit(s.Than, s.Share, &s.Where) }

func needLimit(than Duration, share Share, w *Where) error {
	if than == 0 || !share.Set() {
		return fmt.Errorf("it needs a limit and a share: {than: 400ms, share: 30%%}")
	}
	return w.Validate()
}

// Statistical says whether it takes a part of α.
func (s *Slower) Statistical() bool { return !s.Share.Exact() }

// Monitor returns a judge.
func (s *Slower) Monitor(t Terms) Monitor {
	if s.Tolerance > 0 {
		t.Tolerance = float64(s.Tolerance)
	}
	is := func(r *observe.Request) bool { return r.Duration >= time.Duration(s.Than) }
	return newCategories(&categories{
		name: s.Name(), of: s.Where.Holds,
		all: []*category{{want: Amount{Share: s.Share}, is: is}},
	}, t, false)
}

// Faster wants a share of the requests to take less than a limit.
type Faster struct {
	Than      Duration `yaml:"than" about:"the limit: 50ms"`
	Share     Share    `yaml:"share" about:"their share: 70%"`
	Where     Where    `yaml:"where" about:"which requests; the load's unless said"`
	Tolerance Points   `yaml:"tolerance" about:"how far the share may be off; 5% unless said"`
}

// Name says what is judged.
func (f *Faster) Name() string { return named("faster than "+f.Than.String(), &f.Where) }

// Validate says what is wrong with the expectation itself.
func (f *Faster) Validate() error { return needLimit(f.Than, f.Share, &f.Where) }

// Statistical says whether it takes a part of α.
func (f *Faster) Statistical() bool { return !f.Share.Exact() }

// Monitor returns a judge.
func (f *Faster) Monitor(t Terms) Monitor {
	if f.Tolerance > 0 {
		t.Tolerance = float64(f.Tolerance)
	}
	is := func(r *observe.Request) bool { return r.Duration < time.Duration(f.Than) }
	return newCategories(&categories{
		name: f.Name(), of: f.Where.Holds,
		all: []*category{{want: Amount{Share: f.Share}, is: is}},
	}, t, false)
}

// Quantile wants a latency quantile below (or above) a bound. That the 99th percentile is below
// 250 ms means that at most 1 % of all requests take 250 ms or longer; that share is what is
// judged, so the verdict has the error rates of a share, with no tolerance: a mesh whose true
// share of slow requests is more than 1 % passes with probability at most α, one with less fails
// with probability at most α. The interval printed for the quantile is that of the same
// confidence sequence, by order statistics.
type Quantile struct {
	Q     float64 `yaml:"-"` // 0.99 for p99
	Bound Span    `yaml:"bound" scalar:"true" about:"< 250ms, >= 1s"`
	Where Where   `yaml:"where" about:"which requests; the load's unless said"`
}

// quantile returns the expectation of a key p50, p99 or p99.9.
func quantile(key string) (*Quantile, bool) {
	text, ok := strings.CutPrefix(key, "p")
	if !ok {
		return nil, false
	}
	q, err := strconv.ParseFloat(text, 64)
	if err != nil || !(q > 0 && q < 100) {
		return nil, false
	}
	return &Quantile{Q: q / 100}, true
}

// Name says what is judged.
func (q *Quantile) Name() string {
	return named("p"+strconv.FormatFloat(math.Round(q.Q*1e6)/1e4, 'f', -1, 64), &q.Where)
}

// Validate says what is wrong with the expectation itself.
func (q *Quantile) Validate() error {
	if !q.Bound.Set() || q.Bound.Low > 0 && q.Bound.High != math.MaxInt64 {
		return fmt.Errorf(`%s needs a bound: "< 250ms"`, q.Name())
	}
	return q.Where.Validate()
}

// Statistical says whether it takes a part of α.
func (q *Quantile) Statistical() bool { return true }

// Monitor returns a judge.
func (q *Quantile) Monitor(t Terms) Monitor {
	m := &quantileMonitor{q: q, alpha: t.Alpha}
	// q's quantile is below the bound: at least a share of q is below; above: at most.
	below := Share{Low: q.Q, High: 1, set: true}
	m.limit = q.Bound.High
	if q.Bound.Low > 0 {
		below, m.limit = Share{Low: 0, High: q.Q, set: true}, q.Bound.Low
	}
	m.share = NewProportion(below, t)
	return m
}

type quantileMonitor struct {
	unchanged
	q     *Quantile
	limit time.Duration
	alpha float64
	share *Proportion // of requests below the limit
	took  []time.Duration
}

// Request counts a record.
func (m *quantileMonitor) Request(r *observe.Request) {
	if m.q.Where.Holds(r) {
		m.took = append(m.took, r.Duration)
		m.share.Add(r.Duration < m.limit, r)
	}
}

// State says whether the quantile is decided.
func (m *quantileMonitor) State() Outcome { return m.share.State() }

// Verdict judges the quantile.
func (m *quantileMonitor) Verdict() Verdict {
	v := Verdict{Name: m.q.Name(), Of: m.q.Name(), Wanted: m.q.Bound.String()}
	m.share.fill(&v)
	n := len(m.took)
	if n == 0 {
		return v
	}
	sorted := slices.Sorted(slices.Values(m.took))
	rank := func(share float64) time.Duration {
		return sorted[min(n-1, max(0, int(math.Ceil(share*float64(n)))-1))]
	}
	lo, hi := m.ranks(n)
	v.Observed = millis(rank(m.q.Q))
	v.Unit, v.SmallestDrift, v.Interval = "ms", 0, nil
	known := "at least " + millis(sorted[lo])
	if hi < n { // else the quantile may lie above everything that was seen
		v.Interval = &[2]float64{ms(sorted[lo]), ms(sorted[hi])}
		known = fmt.Sprintf("in %s to %s", millis(sorted[lo]), millis(sorted[hi]))
	}
	slow := int64(n) - m.share.seq.Hits
	switch v.Outcome {
	case Fail:
		v.Reason = fmt.Sprintf("%s of %s took %s or longer", count(slow), count(int64(n)),
			millis(m.limit))
	case Inconclusive:
		v.Reason = fmt.Sprintf("%s requests are too few: it is %s", count(int64(n)), known)
	}
	return v
}

// ranks returns the order statistics between which the quantile lies: those k for which the share
// of q is inside the interval of k hits in n draws. hi is n when no observation bounds it.
func (m *quantileMonitor) ranks(n int) (lo, hi int) {
	inside := func(k int) bool {
		s := Sequence{Draws: int64(n), Hits: int64(k)}
		return s.logM(m.q.Q) < -math.Log(m.alpha)
	}
	mid := int(m.q.Q * float64(n))
	lo = max(0, mid-1-searchOut(mid, func(d int) bool { return inside(mid - d) }))
	hi = min(n, mid+searchOut(n-mid, func(d int) bool { return inside(mid + d) }))
	return lo, hi
}

// searchOut returns the largest distance in [0, limit] that is still inside.
func searchOut(limit int, inside func(int) bool) int {
	lo, hi := 0, limit+1
	for lo+1 < hi {
		if mid := (lo + hi) / 2; inside(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
