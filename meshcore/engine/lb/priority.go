package lb

import "slices"

// level is one priority's hosts (Envoy's HostSet) with what is chosen from.
type level struct {
	health  uint32 // 0-100, after overprovisioning
	panics  bool   // all hosts are used, whatever their health
	count   int
	groups  []group
	all     *pool
	healthy *pool
	// byLocality holds the healthy hosts of each locality that gets traffic, as localities picks
	// them.
	byLocality []*pool
	names      []Locality // of byLocality
	localities *schedule  // nil: no locality-weighted choice at this priority
	ring       hashTable  // hash policies only
}

// named is the name of a locality of byLocality; empty for none.
func (lv *level) named(i int) string {
	if i < 0 {
		return ""
	}
	return lv.names[i].String()
}

// availability is one priority's health between 0 and 100: the share of healthy hosts times the
// overprovisioning factor (load_balancer_impl.cc recalculatePerPriorityState).
func availability(healthy, total uint64, overprovisioning uint32) uint32 {
	if total == 0 {
		return 0
	}
	return uint32(min(100, uint64(overprovisioning)*healthy/total))
}

// normalized is the sum of the priorities' health, capped at 100.
func normalized(health []uint32) uint32 {
	sum := uint32(0)
	for _, h := range health {
		sum += h
	}
	return min(sum, 100)
}

// priorityLoads divides 100 % among the priorities by their health: the first ones take as much as
// they are healthy for, and what rounding leaves goes to the first healthy one (distributeLoad).
// Without any health everything goes to priority 0, which then answers that nobody is healthy.
func priorityLoads(health []uint32) []uint32 {
	loads := make([]uint32, len(health))
	sum := normalized(health)
	if sum == 0 {
		loads[0] = 100
		return loads
	}
	left := uint32(100)
	for i, h := range health {
		loads[i] = min(left, h*100/sum)
		left -= loads[i]
	}
	loads[slices.IndexFunc(health, func(h uint32) bool { return h > 0 })] += left
	return loads
}

// panicLoads divides 100 % by the number of hosts, for when every priority panics
// (recalculateLoadInTotalPanic).
func panicLoads(levels []level) []uint32 {
	loads := make([]uint32, len(levels))
	total, first := 0, -1
	for i := range levels {
		total += levels[i].count
		if first < 0 && levels[i].count > 0 {
			first = i
		}
	}
	if total == 0 {
		loads[0] = 100
		return loads
	}
	left := uint32(100)
	for i := range levels {
		loads[i] = uint32(100 * levels[i].count / total)
		left -= loads[i]
	}
	loads[first] += left
	return loads
}

// setPanic marks the priorities that panic and returns the loads (recalculatePerPriorityPanic). No
// priority panics while the others together can carry all load.
func setPanic(levels []level, threshold uint32) []uint32 {
	health := make([]uint32, len(levels))
	for i := range levels {
		health[i] = levels[i].health
	}
	threshold = min(threshold, 100)
	sum := normalized(health)
	if threshold == 0 && sum == 0 {
		return priorityLoads(health)
	}
	total := true
	for i := range levels {
		percent := 0.0
		if levels[i].count > 0 {
			percent = 100 * float64(len(levels[i].healthy.hosts)) / float64(levels[i].count)
		}
		levels[i].panics = sum != 100 && percent < float64(threshold)
		total = total && levels[i].panics
	}
	if total {
		return panicLoads(levels)
	}
	return priorityLoads(health)
}

// choosePriority maps a draw to a priority: draw mod 100, plus 1, against the running sum of loads.
func choosePriority(draw uint64, loads []uint32) int {
	at, sum := uint32(draw%100)+1, uint32(0)
	for i, load := range loads {
		sum += load
		if at <= sum {
			return i
		}
	}
	panic("lb: priority loads do not add up to 100")
}

// PreviousPriorities is the retry priority previous_priorities of one exchange: after every
// UpdateFrequency attempts the priorities tried so far are left out of the load. The exchange
// tells it of each attempt and passes it along in Context. Not for concurrent use.
type PreviousPriorities struct {
	UpdateFrequency uint32

	attempted []uint32
	excluded  []bool
	loads     []uint32
}

// Attempted notes that a host was chosen for an attempt (onHostAttempted).
func (p *PreviousPriorities) Attempted(h *Host) {
	p.attempted = append(p.attempted, h.Priority())
}

// determine returns the loads for the next choice (previous_priorities.cc determinePriorityLoad).
func (p *PreviousPriorities) determine(s *set) []uint32 {
	n := uint32(len(p.attempted))
	if n < p.UpdateFrequency || p.UpdateFrequency == 0 {
		return s.loads
	}
	if n%p.UpdateFrequency == 0 {
		for len(p.excluded) < len(s.levels) {
			p.excluded = append(p.excluded, false)
		}
		for _, priority := range p.attempted {
			if int(priority) < len(p.excluded) {
				p.excluded[priority] = true
			}
		}
		if !p.adjust(s) {
			return s.loads
		}
	}
	if len(p.loads) != len(s.loads) { // the priorities changed between two attempts
		return s.loads
	}
	return p.loads
}

// adjust recomputes the loads without the excluded priorities. When none is left it forgets what
// was tried; when even then nothing is healthy it returns false.
func (p *PreviousPriorities) adjust(s *set) bool {
	health := p.adjusted(s)
	if normalized(health) == 0 {
		clear(p.excluded)
		p.attempted = p.attempted[:0]
		health = p.adjusted(s)
	}
	sum := normalized(health)
	if sum == 0 {
		return false
	}
	p.loads = make([]uint32, len(health))
	for left := uint32(100); left > 0; {
		for i, h := range health {
			share := min(left, h*100/sum)
			p.loads[i] += share
			left -= share
		}
	}
	return true
}

func (p *PreviousPriorities) adjusted(s *set) []uint32 {
	health := make([]uint32, len(s.levels))
	for i := range s.levels {
		if !p.excluded[i] {
			health[i] = s.levels[i].health
		}
	}
	return health
}
