package translate

import (
	"fmt"
	"maps"
	"strings"
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// shared holds resources that several proxies are given: made by the first that asks, then the same
// for all, so that a push to many proxies costs little more than one to a single proxy.
type shared struct{ made sync.Map } // string → func() T

// once returns what was made for this key, or makes it.
func once[T any](s *shared, key string, makeIt func() T) T {
	f, ok := s.made.Load(key)
	if !ok {
		f, _ = s.made.LoadOrStore(key, sync.OnceValue(makeIt))
	}
	return f.(func() T)()
}

// snapshot puts the resources of a proxy together.
func (t *Translator) snapshot(p *Pod) *xds.Snapshot {
	s := xds.NewSnapshot()
	ix := t.index
	viewpoint := strings.Join([]string{
		p.Namespace, roleName(p.Role), ix.scope(p.Namespace).ruleKey(p),
	}, "|")
	s.Clusters = maps.Clone(once(&t.shared, "clusters|"+viewpoint,
		func() map[string]*clusterv3.Cluster { return ix.sharedClusters(p) }))
	s.Endpoints = once(&t.shared, "endpoints|"+viewpoint+"|"+ix.placeKey(p),
		func() map[string]*endpointv3.ClusterLoadAssignment { return ix.endpoints(p, s.Clusters) })
	s.Secrets = ix.clientSecrets(p, once(&t.shared, "secrets|"+viewpoint,
		func() []string { return secretNames(s.Clusters) }))
	telemetry := strings.Join([]string{
		p.Namespace, p.Labels[canonicalNameLabel], p.Labels[canonicalRevisionLabel],
	}, "|")
	policies := ix.policies(p)
	policyKey := policies.key()
	m := once(&t.shared, "managers|"+telemetry+"|"+policyKey, func() *managers {
		g := once(&t.shared, "guard|"+policyKey, func() *guard { return ix.newGuard(policies) })
		return newManagers(ix.mesh, p, g)
	})
	if p.Role == Gateway {
		if ix.gatewayView(p).autoPasses() {
			s.Endpoints = ix.sniClusters(p, s.Clusters, s.Endpoints)
		}
		addListeners(s, ix.gatewayListeners(p, m))
		s.Routes = t.gatewayRoutes(p)
		maps.Copy(s.Secrets, ix.gatewaySecrets(p))
		return s
	}
	out := once(&t.shared, strings.Join([]string{
		"outbound", telemetry, viewpoint, ix.scope(p.Namespace).selfKey(p),
		marks(t.routes.l4, ix.podLabels[p]),
	}, "|"), func() outboundResources { return ix.outbound(p, m) })
	addListeners(s, out.listeners)
	ports := ix.inboundPorts(p)
	peer := ix.peers.of(p)
	key := strings.Join([]string{
		"inbound", telemetry, policyKey, portsKey(ports), peer.key(),
	}, "|")
	in := once(&t.shared, key, func() inboundResources {
		return inboundResources{
			ix.virtualInbound(ports, peer, m), ix.inboundClusters(ports, ix.scope(p.Namespace)),
		}
	})
	addListeners(s, []*listenerv3.Listener{in.listener})
	for _, c := range in.clusters {
		s.Clusters[c.Name] = c
	}
	routes := t.sidecarRoutes(p)
	for _, name := range out.routes {
		s.Routes[name] = routes[name]
	}
	return s
}

// inboundResources are what a sidecar needs for its own pod.
type inboundResources struct {
	listener *listenerv3.Listener
	clusters []*clusterv3.Cluster
}

// portsKey says all of a pod's ports on which inbound resources depend.
func portsKey(ports []*inboundPort) string {
	var key strings.Builder
	for _, ip := range ports {
		for _, u := range ip.uses {
			fmt.Fprintf(&key, "%d %s %d,", ip.target, u.service.Host, u.port.number)
		}
	}
	return key.String()
}

func roleName(r Role) string {
	if r == Gateway {
		return "gateway"
	}
	return "sidecar"
}

func addListeners(s *xds.Snapshot, list []*listenerv3.Listener) {
	for _, l := range list {
		s.Listeners[l.Name] = l
	}
}

// ruleKey says which rules with a workload selector apply to a pod.
func (sc *scope) ruleKey(p *Pod) string {
	var out strings.Builder
	for _, dr := range sc.selecting {
		mark := byte('-')
		if Selects(dr.spec.WorkloadSelector.MatchLabels, p.Labels) {
			mark = '+'
		}
		out.WriteByte(mark)
	}
	return out.String()
}

// placeKey says all of a pod on which endpoints depend: where it runs, and its labels where
// failover compares them.
func (ix *index) placeKey(p *Pod) string {
	key := p.Locality.Region + "/" + p.Locality.Zone + "/" + p.Locality.Subzone
	for _, label := range ix.failoverLabels {
		key += "|" + ix.podLabels[p][label]
	}
	return key
}

// selfKey is the pod's address where its listeners leave it out: beside headless Services.
func (sc *scope) selfKey(p *Pod) string {
	for _, s := range sc.services {
		if !s.headless {
			continue
		}
		for _, sp := range s.ports {
			if sp.protocol.isHTTP() {
				continue
			}
			for _, in := range s.instances[sp.number] {
				if in.pod == p {
					return p.IP.String()
				}
			}
		}
	}
	return ""
}
