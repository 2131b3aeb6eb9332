package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// fakeClock is a clock that stands still until it is told to go on.
type fakeClock struct {
	now    clock.Instant
	timers []*timer
}

type timer struct {
	at clock.Instant
	f  func()
}

func (c *fakeClock) Now() clock.Instant { return c.now }

func (c *fakeClock) AfterFunc(d time.Duration, f func()) func() bool {
	t := &timer{c.now.Add(d), f}
	c.timers = append(c.timers, t)
	return func() bool {
		i := slices.Index(c.timers, t)
		if i >= 0 {
			c.timers = slices.Delete(c.timers, i, i+1)
		}
		return i >= 0
	}
}

// advance lets time pass, and what is due by then happen in order.
func (c *fakeClock) advance(d time.Duration) {
	until := c.now.Add(d)
	for {
		var next *timer
		for _, t := range c.timers {
			if t.at <= until && (next == nil || t.at < next.at) {
				next = t
			}
		}
		if next == nil {
			c.now = until
			return
		}
		c.now = max(c.now, next.at)
		c.timers = slices.DeleteFunc(c.timers, func(t *timer) bool { return t == next })
		next.f()
	}
}

// fakeBreaker breaks nothing, and knows what it would have.
type fakeBreaker struct {
	clock  *fakeClock
	log    []string
	broken []*fakeBroken
	fail   map[string]error // by "break NAME", "heal NAME"
	times  map[string]int   // breaks, by name
}

type fakeBroken struct {
	b *fakeBreaker
	f topology.Fault
	r topology.Receipt
}

func (b *fakeBreaker) say(format string, args ...any) {
	b.log = append(b.log, fmt.Sprintf("%v ", time.Duration(b.clock.now))+fmt.Sprintf(format, args...))
}

func (b *fakeBreaker) Able(f topology.Fault) error {
	if f.Kind == topology.FaultStarve {
		return errors.New("one process has one share of the CPU")
	}
	return nil
}

func (b *fakeBreaker) Break(ctx context.Context, f topology.Fault) (topology.Broken, error) {
	if err := errors.Join(ctx.Err(), b.fail["break "+f.Name]); err != nil {
		return nil, err
	}
	if b.times == nil {
		b.times = map[string]int{}
	}
	b.times[f.Name]++
	b.say("break %s", f.Name)
	x := &fakeBroken{b: b, f: f, r: topology.Receipt{
		Fired: 1, Unit: "blows", First: b.clock.now, Last: b.clock.now, Bytes: 10,
	}}
	b.broken = append(b.broken, x)
	return x, nil
}

func (b *fakeBreaker) Whole(context.Context) error {
	if len(b.broken) > 0 {
		return fmt.Errorf("%s is broken", b.broken[0].f.Name)
	}
	return nil
}

func (x *fakeBroken) Receipt(context.Context) (topology.Receipt, error) { return x.r, nil }

func (x *fakeBroken) Change(_ context.Context, f topology.Fault) error {
	x.b.say("change %s to %v", f.Name, f.Link.Delay)
	return nil
}

func (x *fakeBroken) Heal(context.Context) error {
	if err := x.b.fail["heal "+x.f.Name]; err != nil {
		return err
	}
	if i := slices.Index(x.b.broken, x); i >= 0 {
		x.b.broken = slices.Delete(x.b.broken, i, i+1)
		x.b.say("heal %s", x.f.Name)
	}
	return nil
}

// lab is a ledger in a world that stands still.
type lab struct {
	*Ledger
	clock   *fakeClock
	breaker *fakeBreaker
	rec     *observe.Recorder
}

func newLab(seed uint64) *lab {
	c := &fakeClock{}
	b := &fakeBreaker{clock: c, fail: map[string]error{}}
	rec := observe.NewRecorder()
	return &lab{New(b, c, rec, seed), c, b, rec}
}

// order orders a delay.
func (l *lab) order(t *testing.T, name string, s Schedule) <-chan struct{} {
	t.Helper()
	done, err := l.Begin(t.Context(), delay(name, s))
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func delay(name string, s Schedule) Order {
	return Order{Schedule: s, Target: "a → b", Fault: topology.Fault{
		Kind: topology.FaultLink, Name: name, Link: topology.Link{Delay: time.Second},
	}}
}

func (l *lab) told(t *testing.T, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, l.breaker.log); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

const second = time.Second

// A fault begins and ends when its schedule says; without an end it lasts until the ledger closes.
func TestMoments(t *testing.T) {
	l := newLab(1)
	l.order(t, "once", Schedule{})
	l.order(t, "later", Schedule{At: second, For: 2 * second})
	flaps := l.order(t, "flaps", Schedule{At: 10 * second, For: second, Every: 3 * second, Times: 2})
	l.order(t, "restarted", Schedule{Moment: true})
	l.clock.advance(12 * second)
	if isDone(flaps) {
		t.Error("a fault whose end is known is settled before it")
	}
	l.clock.advance(10 * second)
	if !isDone(flaps) {
		t.Error("it has ended and is not settled")
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	l.told(t, "0s break once", "0s break restarted", "0s heal restarted", "1s break later",
		"3s heal later", "10s break flaps", "11s heal flaps", "13s break flaps", "14s heal flaps",
		"22s heal once")
}

// A ramp changes the strength evenly, each time from the beginning.
func TestRamp(t *testing.T) {
	l := newLab(1)
	o := delay("ramp", Schedule{At: second, For: second, Over: 400 * time.Millisecond})
	o.Schedule.To = o.Fault
	o.Schedule.To.Link.Delay = 3 * second
	if _, err := l.Begin(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	l.clock.advance(5 * second)
	l.told(t, "1s break ramp", "1.1s change ramp to 1.5s", "1.2s change ramp to 2s",
		"1.3s change ramp to 2.5s", "1.4s change ramp to 3s", "2s heal ramp")
}

// What was broken last is healed first; what has not begun never does.
func TestCloseHeals(t *testing.T) {
	l := newLab(1)
	for _, name := range []string{"a", "b", "c"} {
		l.order(t, name, Schedule{})
	}
	l.order(t, "never", Schedule{At: second})
	if err := l.Heal(t.Context(), "b"); err != nil {
		t.Error(err)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	l.clock.advance(5 * second)
	l.told(t, "0s break a", "0s break b", "0s break c", "0s heal b", "0s heal c", "0s heal a")
	if _, err := l.Begin(t.Context(), delay("d", Schedule{})); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	last := l.Status()[3]
	if last.State != Healed || last.Skipped == "" {
		t.Errorf("what never began: %+v", last)
	}
}

// What can not be healed is told, is tried again, and keeps nothing else from being healed.
func TestHealFails(t *testing.T) {
	l := newLab(1)
	l.order(t, "a", Schedule{})
	l.order(t, "b", Schedule{})
	l.breaker.fail["heal b"] = errors.New("stuck")
	err := l.Close(t.Context())
	if err == nil || !strings.Contains(err.Error(), "link a → b (b): heal: stuck") ||
		!strings.Contains(err.Error(), "not everything is healed: b is broken") {
		t.Errorf("got %v", err)
	}
	if s := l.Status(); s[0].State != Healed || s[1].State != InEffect {
		t.Errorf("states %v, %v", s[0].State, s[1].State)
	}
	delete(l.breaker.fail, "heal b")
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	l.told(t, "0s break a", "0s break b", "0s heal a", "0s heal b")
}

// What fails by schedule ends, and is told.
func TestBreakFails(t *testing.T) {
	l := newLab(1)
	l.breaker.fail["break a"] = errors.New("no such link")
	if _, err := l.Begin(t.Context(), delay("a", Schedule{})); err == nil {
		t.Error("it begins")
	}
	if l.Err() != nil {
		t.Errorf("told twice: %v", l.Err())
	}
	settled := l.order(t, "a", Schedule{At: second, For: second, Every: 3 * second})
	l.clock.advance(10 * second)
	if err := l.Err(); err == nil || strings.Count(err.Error(), "no such link") != 1 {
		t.Errorf("got %v", err)
	}
	if !isDone(settled) {
		t.Error("who waits for it waits forever")
	}
	starve := Order{Fault: topology.Fault{Kind: topology.FaultStarve}}
	if _, err := l.Begin(t.Context(), starve); err == nil {
		t.Error("what the topology can not begins")
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	l.told(t)
}

// The record of a fault adds up what it did each time.
func TestReceipts(t *testing.T) {
	l := newLab(1)
	l.order(t, "f", Schedule{At: second, For: second, Every: 2 * second, Times: 3})
	l.clock.advance(10 * second)
	want := observe.Fault{
		ID: 1, Name: "f", Kind: "link", Target: "a → b", Fired: 3, Unit: "blows", Bytes: 30,
		From: clock.Instant(second), Until: clock.Instant(6 * second),
		First: clock.Instant(second), Last: clock.Instant(5 * second),
	}
	h := l.rec.Snapshot()
	if d := cmp.Diff([]observe.Fault{want}, h.Faults); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	var changes []string
	for _, c := range h.Changes {
		changes = append(changes, fmt.Sprint(time.Duration(c.At), " ", c.Kind, " ", c.What))
	}
	if want := "1s fault link a → b (f)"; len(changes) != 6 || changes[0] != want {
		t.Errorf("changes %q", changes)
	}
	l.order(t, "g", Schedule{})
	l.breaker.broken[0].r.Fired = 7
	if s := l.Update(t.Context())[1]; s.Fired != 7 || s.State != InEffect {
		t.Errorf("in effect: %+v", s)
	}
}

// Names that nobody has are refused, with what may be meant.
func TestHealNames(t *testing.T) {
	l := newLab(1)
	if err := l.Heal(t.Context(), "slow"); err == nil || !strings.Contains(err.Error(), "nothing was") {
		t.Errorf("got %v", err)
	}
	l.order(t, "slow", Schedule{})
	l.order(t, l.Name("slow"), Schedule{})
	l.order(t, l.Name("slow"), Schedule{})
	if err := l.Heal(t.Context(), "slwo"); err == nil || !strings.Contains(err.Error(), "is slow meant?") {
		t.Errorf("got %v", err)
	}
	if err := l.Heal(t.Context(), "slow", "slow-3"); err != nil {
		t.Error(err)
	}
	if err := l.Heal(t.Context(), "slow"); err != nil {
		t.Errorf("healed twice: %v", err)
	}
	l.told(t, "0s break slow", "0s break slow-2", "0s break slow-3", "0s heal slow-3", "0s heal slow")
}

// Random moments are within their bounds, and the same with the same seed.
func TestRandom(t *testing.T) {
	s := Schedule{At: second, For: second, Every: 10 * second, Times: 20, Within: 3 * second}
	moments := func(seed uint64) (out []time.Duration) {
		for n := 0; ; n += 2 {
			m, ok := s.moment(n, seed)
			if !ok {
				return out
			}
			if late := m.after - s.At - s.Every*time.Duration(n/2); late < 0 || late >= s.Within {
				t.Errorf("begins %v late", late)
			}
			out = append(out, m.after)
		}
	}
	if a, b := moments(1), moments(1); !slices.Equal(a, b) || len(a) != 20 {
		t.Errorf("%d moments; the same seed: %v", len(a), slices.Equal(a, b))
	}
	if slices.Equal(moments(1), moments(2)) {
		t.Error("another seed, the same moments")
	}
}

// TestNothingStaysBroken: whatever is ordered, healed by name, and fails in between, after Close
// nothing is broken, and nothing was broken more often than its schedule says.
func TestNothingStaysBroken(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := newLab(seed)
		d := func(max int) time.Duration { return time.Duration(rng.IntN(max)) * second / 4 }
		most := map[string]int{}
		for i := range 1 + rng.IntN(6) {
			s := Schedule{At: d(8), For: d(8)}
			name := fmt.Sprint("f", i)
			if most[name] = 1; s.For > 0 && rng.IntN(2) == 0 {
				s.Every, s.Times, s.Within = s.For+d(8)+2*second, 1+rng.IntN(3), d(8)
				most[name] = s.Times
			}
			if rng.IntN(3) == 0 {
				s.Over = d(8)
			}
			if rng.IntN(5) == 0 {
				l.breaker.fail["break "+name] = errors.New("no")
			}
			l.Begin(t.Context(), delay(name, s)) //nolint:errcheck // it may fail
			l.clock.advance(d(12))
			if rng.IntN(3) == 0 {
				l.Heal(t.Context(), fmt.Sprint("f", rng.IntN(i+1))) //nolint:errcheck // as above
			}
		}
		if err := l.Close(t.Context()); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		l.clock.advance(100 * second)
		for name, n := range l.breaker.times {
			if n > most[name] {
				t.Errorf("seed %d: %s broke %d times, want %d at most", seed, name, n, most[name])
			}
		}
		if len(l.breaker.broken) > 0 || len(l.clock.timers) > 0 {
			t.Errorf("seed %d: %d are broken, %d timers", seed, len(l.breaker.broken),
				len(l.clock.timers))
		}
	}
}
