package lb

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// hashTable maps a hash to a host; try counts the hosts that a retry host predicate refused.
type hashTable interface {
	choose(hash uint64, try uint32) *Host
}

// share is a host and its part of a priority's load; the parts add up to 1.
type share struct {
	host *Host
	part float64
}

// shares normalizes the weights of hosts, scaled to the part of their locality
// (thread_aware_lb_impl.cc normalizeHostWeights).
func shares(to []share, hosts []*Host, weights []uint32, part float64) []share {
	sum := uint64(0)
	for _, w := range weights {
		sum += uint64(w)
	}
	for i, h := range hosts {
		to = append(to, share{h, float64(weights[i]) * part / float64(sum)})
	}
	return to
}

// extremes returns the least part (at most 1) and the greatest.
func extremes(s []share) (least, most float64) {
	least = 1
	for _, e := range s {
		least, most = min(least, e.part), max(most, e.part)
	}
	return least, most
}

// ring is a ketama ring.
type ring []point

type point struct {
	hash uint64
	host *Host
}

// newRing puts each host on the ring as often as its share asks, at the xxHash64 of KEY_0, KEY_1,
// ... (ring_hash_lb.cc Ring::Ring). The scale gives the least host a whole number of points.
func newRing(s []share, minSize, maxSize uint64) ring {
	if len(s) == 0 {
		return nil
	}
	least, _ := extremes(s)
	scale := min(math.Ceil(least*float64(minSize))/least, float64(maxSize))
	r := make(ring, 0, uint64(math.Ceil(scale)))
	placed, target := 0.0, 0.0
	var key []byte
	for _, e := range s {
		key = append(append(key[:0], e.host.hashKey()...), '_')
		stem := len(key)
		// The conversion keeps the compiler from fusing the product into the sum, which would move
		// points on machines that have such an instruction.
		target += float64(scale * e.part)
		for i := int64(0); placed < target; i++ {
			key = strconv.AppendInt(key[:stem], i, 10)
			r = append(r, point{xxhash.Sum64(key), e.host})
			placed++
		}
	}
	slices.SortStableFunc(r, func(a, b point) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return 0
	})
	return r
}

// choose takes the first point at or after the hash, else the first of all; a refused host moves
// on by as many points as there were refusals.
func (r ring) choose(hash uint64, try uint32) *Host {
	if len(r) == 0 {
		return nil
	}
	lo, hi := 0, len(r)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if r[mid].hash < hash {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(r) {
		lo = 0
	}
	return r[(uint64(lo)+uint64(try))%uint64(len(r))].host
}

// maglev is a Maglev table: an index into hosts for each slot.
type maglev struct {
	hosts []*Host
	slots []uint32
}

// newMaglev fills the table in turns over the hosts sorted by key; a host whose share is a third
// of the greatest takes a slot in every third turn (maglev_lb.cc
// constructImplementationInternals).
func newMaglev(s []share, size uint64) *maglev {
	if len(s) == 0 {
		return nil
	}
	s = slices.Clone(s)
	slices.SortStableFunc(s, func(a, b share) int {
		return strings.Compare(a.host.hashKey(), b.host.hashKey())
	})
	_, most := extremes(s)
	type entry struct {
		offset, skip, next uint64
		target             float64
	}
	entries := make([]entry, len(s))
	m := &maglev{hosts: make([]*Host, len(s)), slots: make([]uint32, size)}
	for i, e := range s {
		seeded := xxhash.NewWithSeed(1)
		seeded.WriteString(e.host.hashKey())
		entries[i].offset = xxhash.Sum64String(e.host.hashKey()) % size
		entries[i].skip = seeded.Sum64()%(size-1) + 1
		m.hosts[i] = e.host
	}
	taken := make([]bool, size)
	filled := uint64(0)
	for turn := uint32(1); filled < size; turn++ {
		for i := range entries {
			if filled == size {
				break
			}
			e := &entries[i]
			if float64(turn)*s[i].part < e.target {
				continue
			}
			e.target += most
			slot := (e.offset + e.skip*e.next) % size
			for taken[slot] {
				e.next++
				slot = (e.offset + e.skip*e.next) % size
			}
			taken[slot], m.slots[slot] = true, uint32(i)
			e.next++
			filled++
		}
	}
	return m
}

func (m *maglev) choose(hash uint64, try uint32) *Host {
	if m == nil {
		return nil
	}
	if try > 0 {
		hash ^= ^uint64(0) - uint64(try) + 1
	}
	return m.hosts[m.slots[hash%uint64(len(m.slots))]]
}
