package istio

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// unreachable warns of rules that no request can reach: the first rule that matches wins.
func (c *checker) unreachable(routes []*networkingv1alpha3.HTTPRoute) {
	everything := -1
	seen := map[string]string{}
	var prefixes []prefix
	for i, r := range routes {
		f := at("spec.http", i)
		if everything >= 0 {
			c.warnf(
				f,
				"is never used: http[%d] has no match, so it takes every request",
				everything,
			)
			continue
		}
		if len(r.Match) == 0 {
			everything = i
			continue
		}
		for j, m := range r.Match {
			key := matchKey(m)
			mf := at(f+".match", j)
			if first := seen[key]; first != "" {
				c.warnf(mf, "is never used: %s is the same", first)
				continue
			}
			seen[key] = strings.TrimPrefix(mf, "spec.")
			c.covered(mf, m, prefixes)
			if path := takesPrefix(m); path != "" {
				prefixes = append(prefixes, prefix{path, seen[key]})
			}
		}
	}
}

// matchKey is equal for equal conditions.
func matchKey(m *networkingv1alpha3.HTTPMatchRequest) string {
	m = proto.Clone(m).(*networkingv1alpha3.HTTPMatchRequest)
	m.Name, m.StatPrefix = "", ""
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return fmt.Sprintf("%p", m)
	}
	return string(b)
}

// prefix is a path that a rule takes whole.
type prefix struct{ path, place string }

// covered warns of a path below a prefix that an earlier rule takes whole.
func (c *checker) covered(field string, m *networkingv1alpha3.HTTPMatchRequest, earlier []prefix) {
	path := m.Uri.GetPrefix() + m.Uri.GetExact()
	if path == "" || m.IgnoreUriCase {
		return
	}
	for _, e := range earlier {
		if strings.HasPrefix(path, e.path) {
			c.warnf(
				field,
				"is never used: %s takes every path that begins with %s",
				e.place,
				e.path,
			)
			return
		}
	}
}

// takesPrefix returns the prefix of a match that has no other condition, or "".
func takesPrefix(m *networkingv1alpha3.HTTPMatchRequest) string {
	rest := proto.Clone(m).(*networkingv1alpha3.HTTPMatchRequest)
	rest.Uri, rest.Name, rest.StatPrefix = nil, "", ""
	if proto.Size(rest) > 0 {
		return ""
	}
	return m.Uri.GetPrefix()
}
