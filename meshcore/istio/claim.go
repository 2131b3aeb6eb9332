package istio

import "strings"

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
