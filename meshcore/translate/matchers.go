package translate

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Where the payload of a token stands in dynamic metadata.
const (
	jwtAuthn   = "envoy.filters.http.jwt_authn"
	jwtPayload = "payload"
)

func prefixMatch(value string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: value}}
}

func suffixMatch(value string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: value}}
}

func regexMatch(value string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
		SafeRegex: &matcherv3.RegexMatcher{Regex: value},
	}}
}

// wildcardMatch takes a value with one wildcard at either end, or "*" for anything but nothing. A
// prefix stands in front of what is compared. Istio pilot/pkg/security/authz/matcher/string.go.
func wildcardMatch(value, prefix string) *matcherv3.StringMatcher {
	switch {
	case value == "*":
		return regexMatch(".+")
	case strings.HasPrefix(value, "*") && prefix == "":
		return suffixMatch(value[1:])
	case strings.HasPrefix(value, "*"):
		return regexMatch(prefix + ".*" + regexp.QuoteMeta(value[1:]))
	case strings.HasSuffix(value, "*"):
		return prefixMatch(prefix + strings.TrimSuffix(value, "*"))
	}
	return exactMatch(prefix + value)
}

// headerValue matches a header: "*" asks for its presence.
func headerValue(name, value string, anyCase bool) *routev3.HeaderMatcher {
	if value == "*" {
		return &routev3.HeaderMatcher{
			Name:                 name,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}
	}
	m := wildcardMatch(value, "")
	m.IgnoreCase = anyCase
	return &routev3.HeaderMatcher{
		Name:                 name,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m},
	}
}

// cidr translates an address or a block of addresses, which the reader has checked; the address
// stays as it is written.
func cidr(block string) *corev3.CidrRange {
	prefix, err := netip.ParsePrefix(block)
	if err != nil {
		addr, _ := netip.ParseAddr(block)
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	return &corev3.CidrRange{
		AddressPrefix: prefix.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(prefix.Bits())),
	}
}

// portOf parses a port, which the reader has checked.
func portOf(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 16)
	return uint32(n)
}

func stringValue(m *matcherv3.StringMatcher) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{
		MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: m},
	}
}

// listValue asks for a list with a value.
func listValue(one *matcherv3.ValueMatcher) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{
		MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{
			MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: one},
		}},
	}
}

// anyValue asks for one of the values.
func anyValue(values []*matcherv3.ValueMatcher) *matcherv3.ValueMatcher {
	if len(values) == 1 {
		return values[0]
	}
	return &matcherv3.ValueMatcher{
		MatchPattern: &matcherv3.ValueMatcher_OrMatch{
			OrMatch: &matcherv3.OrMatcher{ValueMatchers: values},
		},
	}
}

func metadataMatch(
	filter string, path []string, value *matcherv3.ValueMatcher,
) *matcherv3.MetadataMatcher {
	out := &matcherv3.MetadataMatcher{Filter: filter, Value: value}
	for _, key := range path {
		out.Path = append(out.Path, &matcherv3.MetadataMatcher_PathSegment{
			Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key},
		})
	}
	return out
}

// claimMatch asks about a claim of the token that the request brought.
func claimMatch(claim string, value *matcherv3.ValueMatcher) *matcherv3.MetadataMatcher {
	return metadataMatch(jwtAuthn, []string{jwtPayload, claim}, value)
}

// claimListMatch asks for a claim that is, or is a list with, a value.
func claimListMatch(path []string, value *matcherv3.ValueMatcher) *matcherv3.MetadataMatcher {
	both := anyValue([]*matcherv3.ValueMatcher{listValue(value), value})
	return metadataMatch(jwtAuthn, append([]string{jwtPayload}, path...), both)
}
