package engine

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/exact"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// enumerator returns what enumerates a route's draws; nil when they are drawn at random. A route
// that an update leaves as it was goes on where it is, as in the Lua state of an Envoy.
func (c *compiler) enumerator(v *vhost, m *routev3.Route, s scope) *exact.Enumerator {
	if !c.e.opt.Exact {
		return nil
	}
	decisions := exact.Of(m)
	if len(decisions) == 0 {
		return nil
	}
	id := exact.ID(s.config, v.name, m)
	e := c.e.exact[id]
	if e == nil {
		e = exact.NewEnumerator(id, decisions)
		c.e.exact[id] = e
	}
	return e
}

// enumerate gives the request the draws of its route, before the first filter that needs one: what
// was turned away until then takes none. A draw that the request itself brings wins.
func (x *Exchange) enumerate() {
	if x.drawn || x.route == nil || x.route.exact == nil {
		return
	}
	x.drawn = true
	x.draws = x.route.exact.Next(func(k exact.Kind) (uint64, bool) {
		v, _ := x.head.Get(k.Header())
		return exact.ParseDraw(v)
	})
	x.Record.Exact = x.draws.Keys
	n, ok := x.draws.Of(exact.Split)
	if !ok {
		return
	}
	if x.target = x.route.action.at(n); x.target.cluster.Load() != nil {
		x.Record.Cluster = x.target.name
	}
	if x.tr != nil {
		x.traceSplit(x.route.action, n, "enumerated")
	}
}

// removeDraws keeps draws that the request brought from going upstream.
func (x *Exchange) removeDraws(h *wire.Head) {
	if !x.drawn {
		return
	}
	for _, d := range x.route.exact.Decisions() {
		h.Del(d.Kind.Header())
	}
}

// holds says whether a fault strikes: by the route's draw when that is enumerated, which is one for
// the fault of the route itself.
func (x *Exchange) holds(f *fault, chance fraction, k exact.Kind, numbered uint8) bool {
	if n, ok := x.draws.Of(k); ok {
		for _, own := range x.route.filters.fault {
			if f == own {
				return n < chance.numerator
			}
		}
	}
	return chance.holds(draw(x.rnd, numbered, 0))
}

// mirrored says whether a copy is made: the fraction is judged by the stream's random value, the
// same that chose the weighted cluster (router.cc shouldShadow takes the stream id).
func (x *Exchange) mirrored(i int) bool {
	p := &x.route.action.mirrors[i]
	if n, ok := x.draws.Of(exact.Mirror); ok {
		return n < p.below
	}
	return p.fraction.holds(draw(x.rnd, drawStream, 0))
}
