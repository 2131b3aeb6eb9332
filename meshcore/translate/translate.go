// Package translate turns configuration, the service registry and one node into the Envoy v3
// resources that istiod would generate for it. It is pure: what cannot be translated becomes a
// Diagnostic.
//
//	istio.Config ─▶ Registry (pods, services, addresses) ─┐
//	             └▶ New (index: hosts, visibility, merging) ┴▶ Snapshot(node) ─▶ xds.Snapshot
package translate

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Role says what stands at a node.
type Role int

// The roles.
const (
	Sidecar  Role = iota // app with a sidecar
	Gateway              // proxy without an app
	Bare                 // app without a sidecar
	External             // a server outside of the mesh (mesh-lab.dev/external-host)
)

// Pod is one pod of the lab.
type Pod struct {
	Name, Namespace string
	Workload        string // owner: the Deployment's name, or the pod's own
	Labels          map[string]string
	Annotations     map[string]string
	ServiceAccount  string
	IP              netip.Addr // logical address; the topology may bind it elsewhere
	Role            Role
	Ready           bool
	Containers      []corev1.Container // as written; the topology maps images to apps
	Volumes         []corev1.Volume    // what Containers mount
	Host            string             // External: its DNS name
	Hostname        string             // its name in the DNS of the headless Service Subdomain
	Subdomain       string             //
	// Guest says that the proxy is not in the configuration: it is told of the mesh, Services that
	// select it included, and no other proxy is told of it.
	Guest    bool
	Locality Locality
	Created  time.Time
	Object   *istio.Object // what it came from
}

// ID returns the node's name, "POD.NAMESPACE".
func (p *Pod) ID() string { return p.Name + "." + p.Namespace }

// ChosenIP says whether the configuration chooses the pod's address.
func (p *Pod) ChosenIP() bool { return chosenIP(p.Annotations) != "" }

// Locality is where a pod runs.
type Locality struct{ Region, Zone, Subzone string }

// Service is one Kubernetes Service as the mesh sees it.
type Service struct {
	Name, Namespace string
	Host            string     // FQDN: NAME.NAMESPACE.svc.cluster.local
	VIP             netip.Addr // invalid for headless Services
	Object          *istio.Object
	Spec            *corev1.Service
	Created         time.Time
}

// Registry is what runs in the lab: pods and Services with their addresses. Addresses are stable:
// what was in prev keeps its own.
type Registry struct {
	Pods     []*Pod
	Services []*Service

	nextPod, nextService netip.Addr // where free addresses begin
}

// Translator holds one configuration, indexed; it is immutable and safe for concurrent use.
type Translator struct {
	config   *istio.Config
	registry *Registry
	index    *index
	routes   *routeIndex
	shared   shared
	problems []istio.Diagnostic // of the configuration, whoever is asked for
}

// New indexes a configuration and what runs in the lab.
func New(c *istio.Config, r *Registry) *Translator { return NewWithKeys(c, r, nil) }

// NewWithKeys is New for a configuration whose KeyRequests were asked: tokens of issuers whose keys
// are missing are all refused.
func NewWithKeys(c *istio.Config, r *Registry, keys Keys) *Translator {
	ix := newIndex(c, r)
	ix.policyIndex.keys = keys
	routes := newRouteIndex(c, ix)
	return &Translator{
		config: c, registry: r, index: ix, routes: routes,
		problems: slices.Concat(checkVirtualServices(c, ix), checkListeners(ix, routes),
			ix.peers.diagnostics(r), checkClientTLS(c, ix), checkPolicies(c, ix)),
	}
}

// Diagnostics returns the problems that show only when the whole configuration is seen: as errors
// what cannot be translated, as warnings what is left out, or sent nowhere, as istiod does it
// silently.
func (t *Translator) Diagnostics() []istio.Diagnostic { return t.problems }

// Snapshot returns everything that the proxy of a pod is given, and Diagnostics.
func (t *Translator) Snapshot(p *Pod) (*xds.Snapshot, []istio.Diagnostic) {
	if p.Role == Bare || p.Role == External {
		return xds.NewSnapshot(), t.problems // nothing stands there that could be told anything
	}
	return t.snapshot(p), t.problems
}
