// Package cases makes requests from a configuration: for each condition of each route requests
// that just meet it and requests that just miss it, each form of a host's name, odd paths, and what
// makes upstreams fail so that retries, time-outs and faults show. It sends and judges nothing.
//
//	VirtualService ─▶ each route and match: the request that meets it ─┬▶ each condition missed
//	Service ────────▶ the request of its default route ───────────────┼▶ hosts, paths, bodies
//	DestinationRule ▶ hash keys ──────────────────────────────────────┼▶ statuses, delays, resets
//	security kinds ─▶ every sender; what each rule asks for ──────────┴▶ ways around it, tokens
//
// The same configuration and seed make the same requests.
package cases

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// Options bound what is made.
type Options struct {
	Seed uint64
	Max  int // how many requests at most; 0: all
}

// Made are the requests of a configuration.
type Made struct {
	Requests []request.Spec
	Cut      int // how many more there would have been
}

// From makes the requests of a configuration, each once. When there are more than Max, those that
// meet a route's conditions are kept, and of the others a sample that the seed draws.
func From(c *istio.Config, reg *translate.Registry, o Options) Made {
	m := &maker{config: c, reg: reg, seen: map[string]bool{}}
	for _, obj := range c.Kind("VirtualService") {
		if vs, ok := obj.Body.(*networkingv1alpha3.VirtualService); ok {
			m.virtualService(obj, vs)
		}
	}
	for _, obj := range c.Kind("Service") {
		if s, ok := obj.Body.(*corev1.Service); ok {
			m.service(obj, s)
		}
	}
	m.access()
	return m.sample(o)
}

// maker collects requests.
type maker struct {
	config *istio.Config
	reg    *translate.Registry
	seen   map[string]bool
	plain  []request.Spec // that meet a route's conditions
	others []request.Spec
}

// add takes a request; one that meets a route's conditions is kept before others.
func (m *maker) add(d draft, plain bool) {
	s, ok := d.spec()
	if !ok {
		return
	}
	key, err := json.Marshal(s)
	if err != nil || m.seen[string(key)] {
		return
	}
	m.seen[string(key)] = true
	if plain {
		m.plain = append(m.plain, s)
	} else {
		m.others = append(m.others, s)
	}
}

// variant adds a changed copy of a request.
func (m *maker) variant(d draft, change func(*draft)) { m.add(d.with(change), false) }

func (m *maker) sample(o Options) Made {
	all := append(slices.Clone(m.plain), m.others...)
	if o.Max <= 0 || len(all) <= o.Max {
		return Made{Requests: all}
	}
	r := clock.Derive(o.Seed, "cases")
	shuffle := func(s []request.Spec) {
		r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	}
	shuffle(m.others)
	if keep := o.Max * 2 / 3; len(m.plain) > keep {
		shuffle(m.plain)
		m.others = append(m.others, m.plain[keep:]...)
		m.plain = m.plain[:keep]
	}
	all = append(m.plain, m.others...)
	return Made{Requests: all[:o.Max], Cut: len(all) - o.Max}
}

// clients lists who may send: one pod of each workload with a sidecar, those without an app of
// their own first, for these are what people send from.
func (m *maker) clients() []*translate.Pod {
	var out []*translate.Pod
	seen := map[string]bool{}
	for _, p := range m.reg.Pods {
		key := p.Workload + "." + p.Namespace
		if p.Role != translate.Sidecar || seen[key] {
			continue
		}
		seen[key] = true
		out = append(out, p)
	}
	slices.SortStableFunc(out, func(a, b *translate.Pod) int {
		return rank(a) - rank(b)
	})
	return out
}

// rank orders senders: a pod whose containers open no port is a client and nothing else.
func rank(p *translate.Pod) int {
	for _, c := range p.Containers {
		if len(c.Ports) > 0 {
			return 1
		}
	}
	return 0
}

// client returns the first sender that a choice takes.
func (m *maker) client(takes func(*translate.Pod) bool) string {
	for _, p := range m.clients() {
		if takes == nil || takes(p) {
			return p.ID()
		}
	}
	return ""
}

// place is a way to a virtual host: a sender, and where it connects to.
type place struct {
	from, gateway, host, connect, authority string
	port                                    int
}

func (p place) draft() draft {
	return draft{
		from: p.from, gateway: p.gateway, host: p.host, port: p.port, connect: p.connect,
		authority: p.authority, path: "/",
	}
}

// service makes the requests of a Service's default route.
func (m *maker) service(o *istio.Object, s *corev1.Service) {
	from := m.client(nil)
	if from == "" || s.Spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	for i, port := range s.Spec.Ports {
		if port.Protocol != "" && port.Protocol != corev1.ProtocolTCP {
			continue
		}
		host := o.Name + "." + o.Namespace
		d := place{from: from, host: host, port: int(port.Port)}.draft()
		m.add(d, true)
		if i == 0 {
			m.hosts(d, o.Name, o.Namespace)
			m.hashed(d, o.Name, o.Namespace)
		}
	}
}

// servicesOf finds the Services that a VirtualService's host names.
func (m *maker) servicesOf(host, namespace string) []*istio.Object {
	var out []*istio.Object
	for _, o := range m.config.Kind("Service") {
		fqdn := o.Name + "." + o.Namespace + ".svc." + clusterDomain
		switch {
		case host == o.Name && namespace == o.Namespace, host == fqdn,
			host == o.Name+"."+o.Namespace, host == o.Name+"."+o.Namespace+".svc",
			strings.HasPrefix(host, "*") && strings.HasSuffix(fqdn, host[1:]):
			out = append(out, o)
		}
	}
	return out
}

const clusterDomain = "cluster.local"

// outside is the sender that is no workload.
const outside = topology.Outside
