package translate

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// clusterDomain is the DNS suffix of the lab's only cluster.
const clusterDomain = "cluster.local"

// fqdn resolves a short host name of an Istio object in a namespace: without a dot it names a
// Service of that namespace. Istio pilot/pkg/model/config.go ResolveShortnameToFQDN.
func fqdn(host, namespace string) string {
	if host == "" || host == "*" || strings.Contains(host, ".") {
		return host
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	return host + "." + namespace + ".svc." + clusterDomain
}

// gatewayRef resolves a Gateway's name in spec.gateways to "NAMESPACE/NAME"; "mesh" stays. The old
// forms "NAME.NAMESPACE[.svc...]" are FQDNs. Istio pilot/pkg/model/config.go resolveGatewayName.
func gatewayRef(name, namespace string) string {
	if name == meshGateway {
		return name
	}
	if ns, rest, ok := strings.Cut(name, "/"); ok {
		if ns == "." {
			return namespace + "/" + rest
		}
		return name
	}
	first, rest, ok := strings.Cut(name, ".")
	if !ok {
		return namespace + "/" + name
	}
	ns, _, _ := strings.Cut(rest, ".")
	return ns + "/" + first
}

func isWildcard(host string) bool { return strings.HasPrefix(host, "*") }

// hostMatches says whether two host names, either of which may begin with "*", have a name in
// common.
func hostMatches(a, b string) bool { return hostSubset(a, b) || hostSubset(b, a) }

// hostSubset says whether every name that a stands for is one that b stands for. A "*" stands for
// any prefix, of several labels too, and for the empty one.
func hostSubset(a, b string) bool {
	switch {
	case isWildcard(a) && isWildcard(b):
		return len(a) >= len(b) && strings.HasSuffix(a[1:], b[1:])
	case isWildcard(a):
		return false
	case isWildcard(b):
		return strings.HasSuffix(a, b[1:])
	}
	return a == b
}

// hostsIntersect returns the more specific one of each pair that overlaps, in the order of a, each
// once.
func hostsIntersect(a, b []string) []string {
	var out []string
	add := func(h string) {
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	for _, x := range a {
		for _, y := range b {
			if hostSubset(x, y) {
				add(x)
			} else if hostSubset(y, x) {
				add(y)
			}
		}
	}
	return out
}

// hostsForNamespace strips "ns/" from the hosts of a Gateway's server and drops those that admit no
// VirtualService of this namespace.
func hostsForNamespace(hosts []string, namespace string) []string {
	out := make([]string, 0, len(hosts))
	for _, h := range hosts {
		if ns, name, ok := strings.Cut(h, "/"); ok {
			if ns != namespace && ns != "*" {
				continue
			}
			h = name
		}
		out = append(out, h)
	}
	return out
}

// compareHosts orders host names from the most to the least specific: wildcards last, the longer
// first, then by the alphabet. Istio pkg/config/host/names.go.
func compareHosts(a, b string) int {
	if wa, wb := isWildcard(a), isWildcard(b); wa != wb {
		if wb {
			return -1
		}
		return 1
	}
	if len(a) != len(b) {
		return len(b) - len(a)
	}
	return strings.Compare(a, b)
}

// mostSpecific returns the entry of a map by host that fits a host best: itself, else the most
// specific wildcard.
func mostSpecific[V any](host string, byHost map[string]V) (V, bool) {
	if v, ok := byHost[host]; ok {
		return v, true
	}
	// The wildcards that can match are "*" plus a suffix of the host: longest first.
	name := strings.TrimPrefix(host, "*")
	for i := range len(name) + 1 {
		if v, ok := byHost["*"+name[i:]]; ok {
			return v, true
		}
	}
	var none V
	return none, false
}

// compareAge orders objects from the oldest to the youngest: by creationTimestamp, and at the same
// second by name and namespace, as istiod does. An object without one is created on being read:
// later than any timestamp, in the order of the input.
func compareAge(a, b *istio.Object) int {
	switch za, zb := a.Created.IsZero(), b.Created.IsZero(); {
	case za && zb:
		return a.Order - b.Order
	case za:
		return 1
	case zb:
		return -1
	}
	if c := a.Created.Compare(b.Created); c != 0 {
		return c
	}
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	return strings.Compare(a.Namespace, b.Namespace)
}
