package exact

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// shares are lists of shares to try: small ones, all of them, and some large ones at random.
func shares(yield func([]uint64) bool) {
	for a := uint64(0); a <= 12; a++ {
		for b := uint64(1); b <= 12; b++ {
			for c := uint64(0); c <= 12; c++ {
				if a+c > 0 && !yield([]uint64{a, b, c}) {
					return
				}
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		s := make([]uint64, 2+r.IntN(8))
		for i := range s {
			s[i] = 1 + r.Uint64N(60)
		}
		if !yield(s) {
			return
		}
	}
	for _, s := range [][]uint64{{70, 30}, {1, 999_999}, {300_000, 700_000}, {99, 1}, {33, 33, 34}} {
		if !yield(s) {
			return
		}
	}
}

// bounded is how many draws of a period are looked at.
const bounded = 2000

// TestSequence holds every prefix to Tijdeman's bound, and the whole period to the shares and to
// every draw once.
func TestSequence(t *testing.T) {
	for s := range shares {
		d := Decision{Shares: s}
		total, k := float64(d.Total()), float64(d.possible())
		bound := (1-1/(2*k-2))*total + 1e-6
		seq, got := NewSequence(s), make([]uint64, len(s))
		seen := map[uint64]bool{}
		n := min(d.Total(), bounded)
		for i := range n {
			draw := seq.Next()
			if seen[draw] || draw >= d.Total() {
				t.Fatalf("%v: draw %d is %d, once more or beyond the end", s, i, draw)
			}
			seen[draw] = true
			got[d.outcome(draw)]++
			for o, w := range s {
				off := float64(got[o])*total - float64(i+1)*float64(w)
				if off > bound || -off > bound {
					t.Fatalf("%v: after %d draws outcome %d came %d times", s, i+1, o, got[o])
				}
			}
		}
		if n == d.Total() && !slices.Equal(got, s) {
			t.Errorf("%v: a period holds %v", s, got)
		}
	}
}

// TestWindows looks at all draws in a row, wherever they begin.
func TestWindows(t *testing.T) {
	for s := range shares {
		d := Decision{Shares: s}
		total := d.Total()
		if total > 400 {
			continue
		}
		period, seq := total/gcdOf(s), NewSequence(s)
		prefix := [][]uint64{make([]uint64, len(s))}
		for range 3 * total {
			next := slices.Clone(prefix[len(prefix)-1])
			next[d.outcome(seq.Next())]++
			prefix = append(prefix, next)
		}
		limit := total // two outcomes: rounded up or down
		if d.possible() > 2 {
			limit = 2 * total
		}
		for n := uint64(1); n <= total; n++ {
			for from := uint64(0); from < total; from += 1 + total/50 {
				for o, w := range s {
					got := int64((prefix[from+n][o] - prefix[from][o]) * total)
					off := max(got-int64(n*w), int64(n*w)-got)
					if off >= int64(limit) || n%period == 0 && off != 0 {
						t.Fatalf("%v: %d draws from %d: outcome %d is off by %d/%d", s, n, from, o,
							off, total)
					}
				}
			}
		}
	}
}

func gcdOf(s []uint64) uint64 {
	g := uint64(0)
	for _, v := range s {
		for v != 0 {
			g, v = v, g%v
		}
	}
	return g
}

func none(Kind) (uint64, bool) { return 0, false }

// TestProduct: several decisions of one route are independent, and each keeps its share.
func TestProduct(t *testing.T) {
	decisions := []Decision{{Abort, []uint64{10, 90}}, {Delay, []uint64{200_000, 800_000}},
		{Split, []uint64{50, 50}}, {Mirror, []uint64{300_000, 700_000}}}
	e := NewEnumerator("r", decisions)
	for range 337 { // any 1,000 in a row
		e.Next(none)
	}
	count := map[[4]int]int{}
	for range 1000 {
		draws := e.Next(none)
		var o [4]int
		for i := range decisions {
			v, ok := draws.Of(decisions[i].Kind)
			if !ok {
				t.Fatal("no draw of ", decisions[i].Kind)
			}
			o[i] = decisions[i].outcome(v)
		}
		count[o]++
	}
	total := 0
	for o, n := range count {
		want := 1000.0
		for i := range decisions {
			want *= float64(decisions[i].Shares[o[i]]) / float64(decisions[i].Total())
		}
		if math.Abs(float64(n)-want) > 1e-6 {
			t.Errorf("outcomes %v came %d times, not %v", o, n, want)
		}
		total += n
	}
	if total != 1000 || len(count) != 16 {
		t.Errorf("%d requests in %d sorts", total, len(count))
	}
}

// TestByHand: a draw that a request brings leaves the enumeration where it is.
func TestByHand(t *testing.T) {
	decisions := []Decision{{Split, []uint64{1, 1}}}
	a, b := NewEnumerator("r", decisions), NewEnumerator("r", decisions)
	for i := range 10 {
		d := a.Next(func(Kind) (uint64, bool) { return 71, true })
		if v, _ := d.Of(Split); v != 71 || d.Keys != nil {
			t.Errorf("draw %d of %v", v, d.Keys)
		}
		x, y := a.Next(none), b.Next(none)
		if x.draws != y.draws || x.Keys["split"] != "r" {
			t.Errorf("request %d: %v, not %v", i, x, y)
		}
	}
}

func TestParseDraw(t *testing.T) {
	for text, want := range map[string]bool{"0": true, "071": true, "999999999999999": true,
		"": false, " 7": false, "7.5": false, "-1": false, "0x45": false, "abc": false,
		"1000000000000000": false} {
		if _, ok := ParseDraw([]byte(text)); ok != want {
			t.Errorf("%q: %v", text, ok)
		}
	}
}
