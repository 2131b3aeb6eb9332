package pilot

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// node is a proxy as its node id and metadata describe it.
type node struct {
	role          translate.Role
	ip            netip.Addr
	id, namespace string
	meta          map[string]*structpb.Value
	locality      translate.Locality
	back          bool      // it has come back with resources
	gone          time.Time // when its stream ended; zero while it is there
}

// parseNode reads a node as istiod does (Istio pilot/pkg/model/context.go
// ParseServiceNodeWithMetadata, GetProxyConfigNamespace): ROLE~IP~ID~DOMAIN, where the metadata's
// INSTANCE_IPS and NAMESPACE win.
func parseNode(n *corev3.Node) (*node, error) {
	parts := strings.Split(n.GetId(), "~")
	if len(parts) != 4 {
		return nil, fmt.Errorf("node id %q: want ROLE~IP~POD.NAMESPACE~DOMAIN, such as "+
			"sidecar~10.0.0.7~reviews-v1-0.default~default.svc.cluster.local", n.GetId())
	}
	out := &node{id: parts[2], meta: n.GetMetadata().GetFields()}
	switch parts[0] {
	case "sidecar":
		out.role = translate.Sidecar
	case "router":
		out.role = translate.Gateway
	default:
		return nil, fmt.Errorf("node id %q: role %q is not carried out; sidecar and router are",
			n.GetId(), parts[0])
	}
	for _, text := range append(strings.Split(out.text("INSTANCE_IPS"), ","), parts[1]) {
		if ip, err := netip.ParseAddr(text); err == nil {
			out.ip = ip.Unmap()
			break
		}
	}
	if !out.ip.IsValid() {
		return nil, fmt.Errorf("node id %q: no valid IP address in it or in INSTANCE_IPS",
			n.GetId())
	}
	domain, _, dotted := strings.Cut(parts[3], ".")
	if out.namespace = out.text("NAMESPACE"); out.namespace == "" && dotted {
		out.namespace = domain
	}
	if out.id == "" || out.namespace == "" {
		return nil, fmt.Errorf("node id %q: it must name a pod, and it or NAMESPACE a namespace",
			n.GetId())
	}
	l := n.GetLocality()
	out.locality = translate.Locality{
		Region: l.GetRegion(), Zone: l.GetZone(), Subzone: l.GetSubZone()}
	return out, nil
}

func (n *node) text(key string) string { return n.meta[key].GetStringValue() }

// key is POD.NAMESPACE. An id of another form is taken for the pod's name.
func (n *node) key() string {
	if strings.HasSuffix(n.id, "."+n.namespace) {
		return n.id
	}
	return n.id + "." + n.namespace
}

// strings returns a map of the metadata: LABELS, ANNOTATIONS.
func (n *node) strings(key string) map[string]string {
	out := map[string]string{}
	for k, v := range n.meta[key].GetStructValue().GetFields() {
		out[k] = v.GetStringValue()
	}
	return out
}

// pod describes a proxy that no file knows.
func (n *node) pod() *translate.Pod {
	name := strings.TrimSuffix(n.key(), "."+n.namespace)
	labels := n.strings("LABELS")
	return &translate.Pod{
		Name: name, Namespace: n.namespace, Role: n.role, IP: n.ip, Guest: true, Ready: true,
		Workload: cmp.Or(n.text("WORKLOAD_NAME"), labels["app"], name),
		Labels:   labels, Annotations: n.strings("ANNOTATIONS"), Locality: n.locality,
		ServiceAccount: cmp.Or(n.text("SERVICE_ACCOUNT"), "default"),
	}
}

// known describes a proxy that stands in the files: it has a proxy whatever they say, and is where
// its node says unless they do.
func (n *node) known(pod *translate.Pod) *translate.Pod {
	c := *pod
	if c.Role == translate.Bare {
		c.Role = n.role
	}
	if c.Locality == (translate.Locality{}) {
		c.Locality = n.locality
	}
	return &c
}
