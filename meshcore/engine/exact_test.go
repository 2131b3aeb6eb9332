package engine

import (
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// TestHeaderName takes a cluster's draw from a header as Envoy 1.40 does: a decimal number of 64
// bits, modulo the total; anything else, and it is drawn at random.
func TestHeaderName(t *testing.T) {
	a := &action{targets: []target{{name: "a", weight: 70}, {name: "b", weight: 30}}, total: 100,
		drawHeader: "x-draw"}
	const random = "at random"
	for value, want := range map[string]string{
		"0": "a", "69": "a", "70": "b", "99": "b", "100": "a", "170": "b", " 71 ": "b", "071": "b",
		"18446744073709551615": "a", // ...615 modulo 100 is 15
		"18446744073709551616": random, "-1": random, "7.5": random, "0x45": random, "abc": random,
		"": random,
	} {
		h := &wire.Head{}
		h.Add("x-draw", value)
		seen := map[string]bool{}
		for rnd := range uint64(100) {
			n, _ := a.drawn(h, rnd)
			seen[a.at(n).name] = true
		}
		got := random
		if len(seen) == 1 {
			for name := range seen {
				got = name
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}
