package why

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// World is what a request met: what each proxy carried out, and where its rules are written.
type World struct {
	// Carried is what the data plane of a node carried out.
	Carried func(node string) (*xds.Snapshot, error)
	// Places are where fields of objects are written.
	Places Places
	// Values of fields by which things are found: names of subsets, hosts, ports.
	Values Places
	// InForce are a node's rules beside those that its routes name, by what they are about
	// (translate.Translator.InForce); nil: not known.
	InForce func(node string) map[string][]string
	// Locality of a node, for how it balances.
	Locality func(node string) lb.Locality
	// Changes are the ejections and their ends, in order.
	Changes []observe.Change
	// Unknown says what of this world can not be known any more.
	Unknown []string

	pushes  []observe.Push  // of a mesh that runs
	passes  map[string]bool // filters, while a request is decided again
	full    int             // which retry of it, from 1, had no room; 0: none
	retried int             // how many have been asked for
	steps   int             // directives so far
	lines   bool            // a comma in its headers' values ends a line
	engines map[string]*engine.Engine
	ejected map[string]int // how many of Changes each engine has heard
}

// Places are where fields are written: FILE:LINE by object ("VirtualService default/reviews") and
// field ("spec.http[0].timeout"). The object itself has the field "".
type Places map[string]map[string]string

// rules are the kinds of objects that decide about requests.
var rules = map[string]bool{
	"VirtualService": true, "DestinationRule": true, "Gateway": true, "ServiceEntry": true,
	"AuthorizationPolicy": true, "RequestAuthentication": true, "PeerAuthentication": true,
	"Sidecar": true, "Service": true,
}

// named are fields by whose values others are found.
var named = regexp.MustCompile(`^spec\.host$|\.name$|\.port\.number$`)

// value is that of a field, empty when it is none of those that are kept.
func (w *World) value(object, field string) string { return w.Values[object][field] }

// ValuesOf lists the values of a configuration's fields by which others are found.
func ValuesOf(c *istio.Config) Places {
	out := Places{}
	for _, o := range c.Objects {
		if o.Kind != "DestinationRule" {
			continue
		}
		fields := map[string]string{}
		o.Fields(func(path string, _ istio.Place) bool {
			if v, ok := o.Scalar(path); ok && named.MatchString(path) {
				fields[path] = v
			}
			return true
		})
		out[o.Ref()] = fields
	}
	return out
}

// PlacesOf lists the fields of a configuration's rules.
func PlacesOf(c *istio.Config) Places {
	out := Places{}
	for _, o := range c.Objects {
		if !rules[o.Kind] {
			continue
		}
		at := func(p istio.Place) string { return fmt.Sprintf("%s:%d", p.File, p.Line) }
		fields := map[string]string{}
		if p := o.At(""); p.File != "" {
			fields[""] = at(p)
		}
		o.Fields(func(path string, p istio.Place) bool {
			if strings.HasPrefix(path, "spec.") {
				fields[path] = at(p)
			}
			return true
		})
		out[o.Ref()] = fields
	}
	return out
}

// Of returns where the nearest written parent of a field is; written says that it is the field
// itself.
func (p Places) Of(object, field string) (place string, written bool) {
	fields := p[object]
	if at, ok := fields[field]; ok {
		return at, true
	}
	for field != "" {
		i := strings.LastIndexAny(field, ".[")
		field = field[:max(i, 0)]
		if at, ok := fields[field]; ok {
			return at, false
		}
	}
	return "", false
}

// OfMesh is the world as it now is in a mesh that runs.
func OfMesh(m topology.Mesh) (*World, error) {
	x, ok := m.(topology.Explainer)
	if !ok {
		return nil, fmt.Errorf("this topology does not tell what its proxies carry out")
	}
	h := m.Recorder().Snapshot()
	all := inForce(m.Config(), m.Registry())
	return &World{Carried: x.Carried, Places: PlacesOf(m.Config()),
		Values: ValuesOf(m.Config()), Changes: h.Changes, pushes: h.Pushes,
		InForce:  func(node string) map[string][]string { return all[node] },
		Locality: localities(m.Registry())}, nil
}

// localities are those of a registry's pods.
func localities(reg *translate.Registry) func(string) lb.Locality {
	return func(node string) lb.Locality {
		for _, p := range reg.Pods {
			if p.ID() == node {
				return lb.Locality{Region: p.Locality.Region, Zone: p.Locality.Zone,
					SubZone: p.Locality.Subzone}
			}
		}
		return lb.Locality{}
	}
}

// engine returns a node's engine with what the node carried out. It decides; nothing is sent.
func (w *World) engine(node string) (*engine.Engine, error) {
	if e := w.engines[node]; e != nil {
		return e, nil
	}
	s, err := w.Carried(node)
	if err != nil {
		return nil, err
	}
	o := engine.Options{Node: node, Again: func(f string) bool { return w.passes[f] },
		RetryFull: func() bool {
			w.retried++
			return w.retried == w.full
		}}
	if w.Locality != nil {
		o.Locality = w.Locality(node)
	}
	e := engine.New(o)
	if err := e.Update(0, s); err != nil {
		return nil, fmt.Errorf("what %s carried out: %w", node, err)
	}
	if w.engines == nil {
		w.engines, w.ejected = map[string]*engine.Engine{}, map[string]int{}
	}
	w.engines[node] = e
	return e, nil
}

// at has a node's engine know the ejections as they were at an instant.
func (w *World) at(e *engine.Engine, node string, now clock.Instant) {
	apply := func(c *observe.Change, out bool) {
		if cluster, host, ok := strings.Cut(c.What, " "); ok {
			e.Eject(cluster, host, out, c.At)
		}
	}
	for i := range w.Changes { // those of later are taken back, for one who looks further back
		if c := &w.Changes[i]; c.By == node && c.Kind == "eject" {
			apply(c, false)
		}
	}
	for i := range w.Changes {
		if c := &w.Changes[i]; c.By == node && c.At <= now &&
			(c.Kind == "eject" || c.Kind == "uneject") {
			apply(c, c.Kind == "eject")
		}
	}
}

// between has a node's engine know the ejections as they were while an exchange went on; nil when
// none began or ended meanwhile.
func (w *World) between(e *engine.Engine, r *observe.Request) func(clock.Instant) {
	end := r.Start.Add(r.Duration)
	for i := range w.Changes {
		c := &w.Changes[i]
		if c.By == r.Proxy && c.At > r.Start && c.At <= end &&
			(c.Kind == "eject" || c.Kind == "uneject") {
			return func(now clock.Instant) { w.at(e, r.Proxy, now) }
		}
	}
	return nil
}

// pushedSince says whether a proxy of a mesh that runs has got anything but secrets after a
// request.
func (w *World) pushedSince(r *observe.Request) bool {
	for i := range w.pushes {
		p := &w.pushes[i]
		if p.Proxy == r.Proxy && p.At > r.Start && p.Type != "SDS" && p.Nack == "" {
			return true
		}
	}
	return false
}
