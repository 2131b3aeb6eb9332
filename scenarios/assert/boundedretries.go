package assert

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// BoundedRetries wants a caller to try a failed call again so often and no more, and not at once.
// Gremlin's HasBoundedRetries (Heorhiadi et al., ICDCS 2016): when the destination fails, the
// source calls it at most so often. Of a request all tries count that the caller's sidecar made
// for it, also where the app asked again under the same x-request-id. It is exact. Where no try
// failed there was nothing to try again: inconclusive.
type BoundedRetries struct {
	From  string `yaml:"from" about:"the caller whose sidecar tries again"`
	To    string `yaml:"to" about:"the destination; NAME or NAME.NAMESPACE"`
	Tries Number `yaml:"tries" about:"of each request of which one failed: 2..3"`
	Pause Span   `yaml:"pause" about:"from the end of a try to the next: >= 10ms"`
}

// Name says what is judged.
func (b *BoundedRetries) Name() string {
	return fmt.Sprintf("bounded retries from %s to %s", b.From, b.To)
}

// Validate says what is wrong with the expectation itself.
func (b *BoundedRetries) Validate() error {
	switch {
	case b.From == "" || b.To == "":
		return fmt.Errorf("boundedRetries needs from and to")
	case !b.Tries.Set() || b.Tries.High == math.MaxInt64:
		return fmt.Errorf(`boundedRetries needs a bound: tries: "<= 3"`)
	}
	return nil
}

// Statistical is false: numbers are exact.
func (b *BoundedRetries) Statistical() bool { return false }

// Monitor returns a judge.
func (b *BoundedRetries) Monitor(Terms) Monitor {
	return &retriesMonitor{b: b, of: Where{From: b.From, To: b.To}, requests: map[string]*tried{}}
}

// tried is what became of one request.
type tried struct {
	first  observe.Request // its name and beginning
	tries  int64
	failed bool
	ended  clock.Instant // when the last try did
	pause  time.Duration // the shortest between two tries
}

type retriesMonitor struct {
	unchanged
	b        *BoundedRetries
	of       Where
	requests map[string]*tried // by request id
	nameless int
	failed   int64 // requests of which a try failed
}

// Request counts a request's tries.
func (m *retriesMonitor) Request(r *observe.Request) {
	if !m.of.Holds(r) {
		return
	}
	id := r.ID
	if id == "" { // each by itself
		m.nameless++
		id = fmt.Sprint(" ", m.nameless)
	}
	q := m.requests[id]
	if q == nil {
		q = &tried{pause: math.MaxInt64,
			first: observe.Request{ID: r.ID, Start: r.Start, Config: r.Config}}
		m.requests[id] = q
	}
	before := q.failed
	for i := range r.Attempts {
		a := &r.Attempts[i]
		if q.tries > 0 {
			q.pause = min(q.pause, max(0, a.Start.Sub(q.ended)))
		}
		q.tries++
		q.failed = q.failed || failedTry(a)
		q.ended = a.Start.Add(a.Duration)
	}
	if q.failed && !before {
		m.failed++
	}
}

// State says that something failed, which is what the load is for; the tries of a request may come
// one by one, so that only the verdict can fail.
func (m *retriesMonitor) State() Outcome {
	if m.failed > 0 {
		return Pass
	}
	return Inconclusive
}

// Verdict judges the numbers.
func (m *retriesMonitor) Verdict() Verdict {
	v := Verdict{Name: m.b.Name(), Wanted: m.b.Tries.String() + " tries", Samples: m.failed}
	if m.b.Pause.Set() {
		v.Wanted += ", " + m.b.Pause.String() + " apart"
	}
	least, most, pause := int64(math.MaxInt64), int64(0), time.Duration(math.MaxInt64)
	var over, soon evidence
	for _, q := range slices.SortedFunc(maps.Values(m.requests), earlier) {
		if q.failed {
			least, most = min(least, q.tries), max(most, q.tries)
			pause = min(pause, q.pause)
		}
		if q.tries > m.b.Tries.High || q.failed && q.tries < m.b.Tries.Low {
			over.add(&q.first)
		}
		if m.b.Pause.Set() && q.tries > 1 && !m.b.Pause.Holds(q.pause) {
			soon.add(&q.first)
		}
	}
	if m.failed > 0 {
		v.Observed = fmt.Sprintf("%s tries of %s requests that met a failure",
			Number{Low: least, High: most}.between(), count(m.failed))
	}
	switch {
	case over.any:
		v.Outcome, v.Reason = Fail, "requests had another number of tries"
		over.show(&v)
	case soon.any:
		v.Outcome, v.Reason = Fail, "tries followed each other after "+millis(pause)
		soon.show(&v)
	case m.failed == 0:
		v.Reason = "no try failed: there was nothing to try again"
	case m.b.Pause.Set() && most < 2:
		v.Reason = "nothing was tried again: there was no pause"
	default:
		v.Outcome = Pass
	}
	return v
}

func earlier(a, b *tried) int {
	return cmp.Or(cmp.Compare(a.first.Start, b.first.Start), cmp.Compare(a.first.ID, b.first.ID))
}
