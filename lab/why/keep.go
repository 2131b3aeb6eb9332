package why

import (
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/reports"
)

// Keep notes in c what a mesh's proxies carry out and where their rules are written, now and each
// time that it changes, for who asks later; failed is told what could not be noted. Nothing is
// noted of a topology that does not tell.
func Keep(m topology.Mesh, c *reports.Carried, failed func(error)) {
	x, ok := m.(topology.Explainer)
	if !ok {
		return
	}
	k := &keeper{m: m, x: x, c: c, failed: failed}
	x.Carrying(k.note)
	k.note(m.Clock().Now())
}

type keeper struct {
	m      topology.Mesh
	x      topology.Explainer
	c      *reports.Carried
	failed func(error)

	mu     sync.Mutex    // a push of the mesh's own may come with the first note
	placed *istio.Config // the latest whose places have been noted
	reg    *translate.Registry
}

func (k *keeper) note(from clock.Instant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := reports.Moment{At: k.m.Clock().Now(), From: from, Localities: map[string][3]string{}}
	snaps := map[string]*xds.Snapshot{}
	for _, p := range k.m.Registry().Pods {
		if p.Role != translate.Sidecar && p.Role != translate.Gateway {
			continue
		}
		if s, err := k.x.Carried(p.ID()); err == nil { // a pod that is killed has none
			snaps[p.ID()] = s
			l := p.Locality
			m.Localities[p.ID()] = [3]string{l.Region, l.Zone, l.Subzone}
		}
	}
	c, reg := k.m.Config(), k.m.Registry()
	if c != k.placed {
		m.Places, m.Values = PlacesOf(c), ValuesOf(c)
	}
	if c != k.placed || reg != k.reg {
		m.InForce = inForce(c, reg)
	}
	k.placed, k.reg = c, reg
	if err := k.c.Add(m, snaps); err != nil {
		k.failed(err)
	}
}

// inForce is translate.Translator.InForce of each pod with a proxy.
func inForce(c *istio.Config, reg *translate.Registry) map[string]map[string][]string {
	out, t := map[string]map[string][]string{}, translate.New(c, reg)
	for _, p := range reg.Pods {
		if p.Role == translate.Sidecar || p.Role == translate.Gateway {
			out[p.ID()] = t.InForce(p)
		}
	}
	return out
}
