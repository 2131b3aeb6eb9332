package link

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

const ms = clock.Instant(time.Millisecond)

// TestLaneDelays holds the instants at which bytes leave to what was asked for.
func TestLaneDelays(t *testing.T) {
	type arrival struct {
		at clock.Instant
		n  int
	}
	for _, c := range []struct {
		name  string
		toxic Toxic
		in    []arrival
		out   []arrival // at most so many bytes at each instant, in order
		reset clock.Instant
	}{
		{name: "nothing", in: []arrival{{0, 10}, {ms, 5}}, out: []arrival{{0, 10}, {ms, 5}}},
		{name: "delay", toxic: Toxic{Delay: 100 * time.Millisecond},
			in:  []arrival{{0, 10}, {5 * ms, 20}},
			out: []arrival{{100 * ms, 10}, {105 * ms, 20}}},
		{name: "bandwidth", toxic: Toxic{Bandwidth: 1000}, // 10 bytes in a quantum
			in:  []arrival{{100 * ms, 30}},
			out: []arrival{{100 * ms, 10}, {100 * ms, 10}, {110 * ms, 10}}},
		{name: "less than a byte in a quantum", toxic: Toxic{Bandwidth: 2},
			in:  []arrival{{0, 3}},
			out: []arrival{{0, 1}, {490 * ms, 1}, {990 * ms, 1}}},
		{name: "reset within a chunk", toxic: Toxic{Reset: true, After: 12},
			in: []arrival{{0, 10}, {ms, 10}}, out: []arrival{{0, 10}, {ms, 2}}, reset: ms},
		{name: "reset at once", toxic: Toxic{Reset: true}, reset: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := NewLane(1)
			l.Set([]Strike{{1, c.toxic}})
			var got []arrival
			now, reset := clock.Instant(0), clock.Never
			for reset == clock.Never {
				for len(c.in) > 0 && c.in[0].at <= now {
					l.Arrive(now, c.in[0].n)
					c.in = c.in[1:]
				}
				s := l.Next(now)
				switch {
				case s.Reset:
					reset = now
				case s.N > 0:
					got = append(got, arrival{now, s.N})
					l.Left(now, s.N)
				case len(c.in) > 0:
					now = min(s.Wake, c.in[0].at)
				default:
					now = s.Wake
				}
				if now == clock.Never {
					break
				}
			}
			if len(got) != len(c.out) {
				t.Fatalf("left %v, want %v", got, c.out)
			}
			for i := range got {
				if got[i] != c.out[i] {
					t.Errorf("left %v, want %v", got, c.out)
					break
				}
			}
			if c.toxic.Reset && reset != c.reset {
				t.Errorf("reset at %d, want %d", reset, c.reset)
			}
		})
	}
}

// TestLaneJitter holds delays to their bounds, both of which are nearly reached, and to the seed.
func TestLaneJitter(t *testing.T) {
	const n = 2000
	x := Toxic{Delay: 100 * time.Millisecond, Jitter: 20 * time.Millisecond, Seed: 7}
	draw := func(x Toxic, salt uint64) (out [n]time.Duration) {
		for i := range out {
			out[i] = x.Delay + jitter(x, salt, uint64(i))
		}
		return out
	}
	a := draw(x, 1)
	lo, hi, sum := a[0], a[0], time.Duration(0)
	for _, d := range a {
		lo, hi, sum = min(lo, d), max(hi, d), sum+d
	}
	if lo < 80*time.Millisecond || hi > 120*time.Millisecond {
		t.Errorf("delays from %s to %s, want 80ms to 120ms", lo, hi)
	}
	if lo > 81*time.Millisecond || hi < 119*time.Millisecond {
		t.Errorf("delays from %s to %s are not spread over 80ms to 120ms", lo, hi)
	}
	if mean := sum / n; mean < 99*time.Millisecond || mean > 101*time.Millisecond {
		t.Errorf("mean %s, want 100ms", mean)
	}
	if a != draw(x, 1) {
		t.Error("the same seed drew something else")
	}
	y := x
	y.Seed = 8
	if a == draw(y, 1) || a == draw(x, 2) {
		t.Error("another seed or lane drew the same")
	}
}

// TestLaneSilence holds everything while it lasts, the end too, and lets all go afterwards.
func TestLaneSilence(t *testing.T) {
	l := NewLane(1)
	held := int64(0)
	l.Hit = func(_ uint64, n int64) { held += n }
	l.Arrive(0, 3)
	l.Set([]Strike{{1, Toxic{Silent: true}}})
	l.Arrive(ms, 4)
	l.End(2*ms, false)
	if s := l.Next(3 * ms); s != (Step{Wake: clock.Never}) {
		t.Fatalf("silent: %+v", s)
	}
	if held != 7 {
		t.Errorf("%d bytes were held, want 7", held)
	}
	l.Set(nil)
	for _, want := range []Step{{N: 3}, {N: 4}, {End: true}} {
		got := l.Next(4 * ms)
		if got != want {
			t.Fatalf("healed: %+v, want %+v", got, want)
		}
		l.Left(4*ms, got.N)
	}
	l.Closed()
	l.End(5*ms, true)
	if s := l.Next(5 * ms); !s.Reset {
		t.Errorf("a reset after the end: %+v", s)
	}
}

// FuzzLane plays random arrivals, changes and waits: what leaves is what has arrived, never sooner,
// and a lane that waits says until when.
func FuzzLane(f *testing.F) {
	for seed := range uint64(50) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) { playLane(t, rand.New(rand.NewPCG(seed, 1))) })
}

func playLane(t *testing.T, r *rand.Rand) {
	l := NewLane(r.Uint64())
	var now clock.Instant
	arrived, left, bound := 0, 0, -1
	for range 200 {
		switch r.IntN(5) {
		case 0, 1:
			n := r.IntN(5000)
			l.Arrive(now, n)
			arrived += n
		case 2:
			now += clock.Instant(r.IntN(int(50 * ms)))
		case 3:
			x := Toxic{Delay: time.Duration(r.IntN(int(20 * ms))), Silent: r.IntN(8) == 0,
				Bandwidth: int64(r.IntN(3)) * 100_000, Seed: r.Uint64()}
			x.Jitter = x.Delay / 2
			if r.IntN(8) == 0 {
				x.Reset, x.After = true, int64(r.IntN(10_000))
			}
			bound = -1
			if x.Reset {
				bound = left + int(x.After)
			}
			l.Set([]Strike{{r.Uint64(), x}})
		case 4:
			s := l.Next(now)
			if s.Reset {
				if left != bound {
					t.Fatalf("reset after %d bytes, want %d", left, bound)
				}
				return
			}
			l.Left(now, s.N)
			left += s.N
			if s.N == 0 && !s.End && s.Wake <= now {
				t.Fatalf("waits at %d until %d", now, s.Wake)
			}
		}
		if left > arrived || l.queued != arrived-left || bound >= 0 && left > bound {
			t.Fatalf("%d arrived, %d left of at most %d, %d wait", arrived, left, bound, l.queued)
		}
	}
	l.Set(nil)
	l.End(now, false)
	for {
		s := l.Next(now)
		if s.End {
			break
		}
		if s.N == 0 {
			t.Fatalf("healed, and yet: %+v", s)
		}
		l.Left(now, s.N)
		left += s.N
	}
	if left != arrived {
		t.Errorf("%d arrived, %d left", arrived, left)
	}
}
