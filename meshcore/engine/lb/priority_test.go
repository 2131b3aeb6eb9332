package lb

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestAvailability(t *testing.T) {
	for _, c := range []struct {
		healthy, total uint64
		factor, want   uint32
	}{
		{0, 0, 140, 0},
		{0, 3, 140, 0},
		{3, 3, 140, 100},
		{5, 7, 140, 100}, // 71.4 % of the hosts carry everything
		{7, 10, 140, 98},
		{1, 2, 140, 70},
		{1, 3, 140, 46},
		{1, 3, 100, 33},
	} {
		if got := availability(c.healthy, c.total, c.factor); got != c.want {
			t.Errorf("availability(%d, %d, %d) = %d, want %d",
				c.healthy, c.total, c.factor, got, c.want)
		}
	}
}

func TestPriorityLoads(t *testing.T) {
	for _, c := range []struct{ health, want []uint32 }{
		{[]uint32{100}, []uint32{100}},
		{[]uint32{0}, []uint32{100}},
		{[]uint32{0, 0, 0}, []uint32{100, 0, 0}},
		{[]uint32{100, 100}, []uint32{100, 0}},
		{[]uint32{70, 100}, []uint32{70, 30}},
		{[]uint32{0, 100}, []uint32{0, 100}},
		{[]uint32{0, 46}, []uint32{0, 100}},
		{[]uint32{25, 25, 25}, []uint32{34, 33, 33}},
		{[]uint32{20, 20}, []uint32{50, 50}},
		{[]uint32{0, 10, 20}, []uint32{0, 34, 66}},
	} {
		if got := priorityLoads(c.health); !slices.Equal(got, c.want) {
			t.Errorf("priorityLoads(%v) = %v, want %v", c.health, got, c.want)
		}
	}
}

// TestChoosePriority counts all hundred draws: the shares are exact.
func TestChoosePriority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		health := rapid.SliceOfN(rapid.Uint32Range(0, 100), 1, 5).Draw(t, "health")
		loads := priorityLoads(health)
		got := make([]uint32, len(loads))
		for draw := range uint64(100) {
			got[choosePriority(draw, loads)]++
		}
		if !slices.Equal(got, loads) {
			t.Fatalf("draws give %v, loads are %v", got, loads)
		}
	})
}

// TestPanic follows the rules that load_balancer_impl.cc states above recalculatePerPriorityState.
func TestPanic(t *testing.T) {
	for _, c := range []struct {
		name         string
		hosts, alive []int // by priority
		threshold    uint32
		panics       []bool
		loads        []uint32
	}{
		{"all well", []int{4}, []int{4}, 50, []bool{false}, []uint32{100}},
		{"enough elsewhere", []int{4, 4}, []int{1, 4}, 50,
			[]bool{false, false}, []uint32{35, 65}},
		{"enough together", []int{4, 4}, []int{1, 2}, 50,
			[]bool{false, false}, []uint32{35, 65}},
		{"one panics", []int{10, 10}, []int{1, 5}, 40,
			[]bool{true, false}, []uint32{17, 83}},
		{"all panic", []int{4, 12}, []int{1, 1}, 50, []bool{true, true}, []uint32{25, 75}},
		{"nobody, panic off", []int{4, 4}, []int{0, 0}, 0, []bool{false, false}, []uint32{100, 0}},
		{"nobody, panic on", []int{1, 2}, []int{0, 0}, 1, []bool{true, true}, []uint32{34, 66}},
		{"no hosts", []int{0}, []int{0}, 50, []bool{true}, []uint32{100}},
	} {
		t.Run(c.name, func(t *testing.T) {
			levels := make([]level, len(c.hosts))
			for i := range levels {
				levels[i] = level{count: c.hosts[i], healthy: &pool{hosts: make([]*Host, c.alive[i])}}
				levels[i].health = availability(uint64(c.alive[i]), uint64(c.hosts[i]), 140)
			}
			loads := setPanic(levels, c.threshold)
			var panics []bool
			for _, l := range levels {
				panics = append(panics, l.panics)
			}
			if got, want := fmt.Sprint(panics, loads), fmt.Sprint(c.panics, c.loads); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestPreviousPriorities(t *testing.T) {
	s := &set{levels: []level{{health: 100}, {health: 60}, {health: 100}}}
	s.loads = priorityLoads([]uint32{100, 60, 100})
	p := &PreviousPriorities{UpdateFrequency: 2}
	check := func(step string, want ...uint32) {
		t.Helper()
		if got := p.determine(s); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", step, got, want)
		}
	}
	attempt := func(priority uint32) {
		h := &Host{}
		h.priority.Store(priority)
		p.Attempted(h)
	}
	check("first", 100, 0, 0)
	attempt(0)
	check("before the first update", 100, 0, 0)
	attempt(0)
	check("without 0", 0, 60, 40)
	attempt(1)
	check("between updates", 0, 60, 40)
	attempt(1)
	check("without 0 and 1", 0, 0, 100)
	attempt(2)
	attempt(2)
	check("all tried: from the beginning", 100, 0, 0)
	if len(p.attempted) != 0 {
		t.Errorf("attempted = %v, want none", p.attempted)
	}

	s = &set{levels: make([]level, 2), loads: []uint32{100, 0}}
	p = &PreviousPriorities{UpdateFrequency: 1}
	attempt(0)
	check("nobody is healthy", 100, 0)
}
