package istio

import (
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// RoutingClaim returns the path of the claim of a token that a name in a match's headers stands
// for: "@request.auth.claims.a.b" or "@request.auth.claims[a][b]", the first part in any case; nil
// for any other name. Istio pkg/jwt/routing.go.
func RoutingClaim(name string) []string {
	const before = "@request.auth.claims"
	if len(name) < len(before) || !strings.EqualFold(name[:len(before)], before) {
		return nil
	}
	switch path := name[len(before):]; {
	case len(path) > 1 && path[0] == '.':
		return strings.Split(path[1:], ".")
	case len(path) > 2 && path[0] == '[' && path[len(path)-1] == ']':
		return strings.Split(path[1:len(path)-1], "][")
	}
	return nil
}

// routingClaim: only a gateway's proxy knows the claims when it chooses a route.
func (c *checker) routingClaim(field, name string, m *networkingv1alpha3.StringMatch) {
	vs := c.object.Body.(*networkingv1alpha3.VirtualService)
	if len(vs.Gateways) == 0 || slices.Contains(vs.Gateways, meshGateway) {
		c.errorf(field, "JWT claim based routing (key: %s) is only supported for gateways: "+
			"sidecars do not know the claims; name gateways, and not %q", name, meshGateway)
	}
	if m.GetMatchType() == nil {
		c.errorf(field, "a claim is compared with exact, prefix or regex; istiod's route for a "+
			"match without one is refused by Envoy")
	}
}
