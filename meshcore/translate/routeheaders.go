package translate

import (
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// headerOperations are Istio's header operations in Envoy's terms.
type headerOperations struct {
	requestAdd, responseAdd       []*corev3.HeaderValueOption
	requestRemove, responseRemove []string
	authority                     string // the Host of the request, which Envoy rewrites elsewhere
}

func headerOperationsOf(in *networkingv1alpha3.Headers) headerOperations {
	req, resp := in.GetRequest(), in.GetResponse()
	out := headerOperations{
		requestAdd:     headersToAdd(req),
		requestRemove:  headersToRemove(req),
		responseAdd:    headersToAdd(resp),
		responseRemove: headersToRemove(resp),
	}
	out.authority = authorityIn(req.GetSet())
	if out.authority == "" {
		out.authority = authorityIn(req.GetAdd())
	}
	return out
}

// headersToAdd puts set before add, each in the order of the names.
func headersToAdd(ops *networkingv1alpha3.Headers_HeaderOperations) []*corev3.HeaderValueOption {
	var out []*corev3.HeaderValueOption
	add := func(
		headers map[string]string, action corev3.HeaderValueOption_HeaderAppendAction,
	) {
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			if reservedHeader(name) {
				continue
			}
			out = append(out, &corev3.HeaderValueOption{
				Header:       &corev3.HeaderValue{Key: name, Value: headers[name]},
				AppendAction: action,
			})
		}
	}
	add(ops.GetSet(), corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	add(ops.GetAdd(), corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	return out
}

func headersToRemove(ops *networkingv1alpha3.Headers_HeaderOperations) []string {
	return slices.DeleteFunc(slices.Clone(ops.GetRemove()), reservedHeader)
}

// reservedHeader reports whether Envoy refuses operations on a header; istiod drops them silently.
// (istio route.go isInternalHeader)
func reservedHeader(name string) bool {
	return strings.HasPrefix(name, ":") || strings.EqualFold(name, "host")
}

func authorityIn(headers map[string]string) string {
	authority := ""
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if strings.EqualFold(name, ":authority") || strings.EqualFold(name, "host") {
			authority = headers[name]
		}
	}
	return authority
}
