package app_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// TestRandom draws from a pod's streams: each depends on seed and name, and on nothing else.
func TestRandom(t *testing.T) {
	draw := func(seed uint64, name string) []uint64 {
		e := app.Env{Seed: seed}
		r := e.Random(name)
		return []uint64{r.Uint64(), r.Uint64(), r.Uint64()}
	}
	first := draw(7, "latency")
	if again := draw(7, "latency"); !slices.Equal(first, again) {
		t.Errorf("the same stream draws %v, then %v", first, again)
	}
	for what, other := range map[string][]uint64{
		"seed": draw(8, "latency"), "name": draw(7, "errors"),
	} {
		if slices.Equal(first, other) {
			t.Errorf("another %s draws the same", what)
		}
	}
}

// TestRandomConcurrently has many goroutines draw: together they get the stream's first draws.
func TestRandomConcurrently(t *testing.T) {
	e := app.Env{Seed: 1}
	shared, alone := e.Random("x"), e.Random("x")
	var mu sync.Mutex
	var got, want []uint64
	var wg sync.WaitGroup
	for range 100 {
		want = append(want, alone.Uint64())
		wg.Go(func() {
			v := shared.Uint64()
			mu.Lock()
			defer mu.Unlock()
			got = append(got, v)
		})
	}
	wg.Wait()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Error("the draws of many goroutines are not the stream's first ones")
	}
}
