package lb

import (
	"fmt"
	"strings"
)

// Choice is how a host was chosen, for who wants to know: Pick fills in Context.Told.
type Choice struct {
	Policy     Policy
	Priority   int
	Loads      []uint32 // percent for each priority
	Panic      bool     // unhealthy hosts were chosen from, too
	Locality   string   // the one that its weight chose; empty: localities do not count
	Candidates []*Host  // chosen from
	LeftOut    []*Host  // of the priority: unhealthy or ejected
	Drawn      string   // what led to the host, in words
	Refused    int      // choices that Skip refused
}

// level notes what is chosen from.
func (c *Choice) level(lv *level, priority int, loads []uint32, from *pool, locality string) {
	c.Priority, c.Loads, c.Panic, c.Locality = priority, loads, lv.panics, locality
	c.Candidates = from.hosts
	c.LeftOut = without(lv.all.hosts, lv.healthy.hosts)
	if lv.panics {
		c.LeftOut = nil
	}
}

// table notes what a hash table is of.
func (c *Choice) table(s *set, priority int, hash uint64, drawn bool) {
	lv := &s.levels[priority]
	from := lv.healthy
	if lv.panics {
		from = lv.all
	}
	c.level(lv, priority, s.loads, from, "")
	kind, n := "ring", 0
	switch t := lv.ring.(type) {
	case ring:
		n = len(t)
	case *maglev:
		kind = "table"
		if t != nil {
			n = len(t.slots)
		}
	}
	what := "hash"
	if drawn {
		what = "no hash: draw"
	}
	c.Drawn = fmt.Sprintf("%s %#x on a %s of %d", what, hash, kind, n)
}

func without(all, some []*Host) []*Host {
	in := make(map[*Host]bool, len(some))
	for _, h := range some {
		in[h] = true
	}
	var out []*Host
	for _, h := range all {
		if !in[h] {
			out = append(out, h)
		}
	}
	return out
}

// compared notes the hosts that LEAST_REQUEST drew.
func (c *Choice) compared(hosts []*Host, active []int64) {
	var b strings.Builder
	for i, h := range hosts {
		if i > 0 {
			b.WriteString(" and ")
		}
		fmt.Fprintf(&b, "%s (%d in flight)", h.Address, active[i])
	}
	c.Drawn = "drawn: " + b.String() + "; the first with the fewest"
}

// name of a locality, as Envoy's dumps have it.
func (l Locality) String() string {
	return strings.TrimRight(l.Region+"/"+l.Zone+"/"+l.SubZone, "/")
}
