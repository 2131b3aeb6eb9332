package translate

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// mergeDelegates replaces each rule that delegates by the rules of the delegate, narrowed to what
// the rule matches. A delegate that is missing or not exported takes its rule with it: istiod says
// so in its log only. (istio virtualservice_controller.go mergeVirtualServices)
func (vs *virtualService) mergeDelegates(delegates []*virtualService) {
	var rules []*networkingv1alpha3.HTTPRoute
	var from []ruleSource
	for i, rule := range vs.spec.Http {
		if rule.Delegate == nil {
			rules, from = append(rules, rule), append(from, vs.from[i])
			continue
		}
		field := fmt.Sprintf("spec.http[%d].delegate", i)
		if d := vs.findDelegate(rule.Delegate, field, delegates); d != nil {
			more, whence := vs.mergeRules(rule, d, field)
			rules, from = append(rules, more...), append(from, whence...)
		}
	}
	vs.spec.Http, vs.from = rules, from
}

func (vs *virtualService) findDelegate(
	ref *networkingv1alpha3.Delegate, field string, delegates []*virtualService,
) *virtualService {
	ns := ref.Namespace
	if ns == "" {
		ns = vs.object.Namespace
	}
	i := slices.IndexFunc(delegates, func(d *virtualService) bool {
		return d.object.Name == ref.Name && d.object.Namespace == ns
	})
	switch {
	case i < 0:
		vs.warn(field, "there is no VirtualService %s/%s without hosts; the rule is left out",
			ns, ref.Name)
	case !delegates[i].exportTo.visible(ns, vs.object.Namespace):
		vs.warn(field, "VirtualService %s/%s is not exported to namespace %s; the rule is left out",
			ns, ref.Name, vs.object.Namespace)
	default:
		return delegates[i]
	}
	return nil
}

// mergeRules returns the delegate's rules as they act below the root's rule, and where they are
// written: what a rule does not say itself it has from the root, headers as a whole.
// (istio virtualservice.go mergeHTTPRoute)
func (vs *virtualService) mergeRules(
	root *networkingv1alpha3.HTTPRoute, delegate *virtualService, field string,
) (out []*networkingv1alpha3.HTTPRoute, from []ruleSource) {
	for i, rule := range delegate.spec.Http {
		if rule.Delegate != nil {
			vs.warn(field, "%s spec.http[%d] is left out: no delegate may delegate further",
				delegate.object.Ref(), i)
			continue
		}
		match, ok := mergeMatches(root.Match, rule.Match)
		if !ok {
			vs.warn(field, "%s spec.http[%d] is left out: it matches what this rule does not",
				delegate.object.Ref(), i)
			continue
		}
		merged := rule.DeepCopy()
		inherit(merged, root, "name", "match", "delegate", "route", "redirect")
		merged.Match = match
		merged.Name = joinNames(root.Name, rule.Name)
		out = append(out, merged)
		from = append(from, ruleSource{
			object: delegate.object, rule: i,
			merged: len(root.Match) > 0 && len(rule.Match) > 0,
		})
	}
	return out, from
}

// mergeMatches returns every pair of a root's and a leaf's match of which the leaf's is the
// narrower; false when some leaf match fits below none. (istio virtualservice.go
// mergeHTTPMatchRequests)
func mergeMatches(
	roots, leaves []*networkingv1alpha3.HTTPMatchRequest,
) ([]*networkingv1alpha3.HTTPMatchRequest, bool) {
	if len(roots) == 0 {
		return leaves, true
	}
	if len(leaves) == 0 {
		return roots, true
	}
	var out []*networkingv1alpha3.HTTPMatchRequest
	for _, leaf := range leaves {
		before := len(out)
		for _, root := range roots {
			if !narrows(root, leaf) {
				continue
			}
			m := leaf.DeepCopy()
			inherit(m, root, "name")
			m.Name = joinNames(root.Name, leaf.Name)
			out = append(out, m)
		}
		if len(out) == before {
			return nil, false
		}
	}
	return out, true
}

func joinNames(root, leaf string) string {
	if root == "" || leaf == "" {
		return root + leaf
	}
	return root + "-" + leaf
}

// inherit gives leaf every field that only root has, and every key of a map; but not the named
// fields.
func inherit(leaf, root proto.Message, except ...protoreflect.Name) {
	to := leaf.ProtoReflect()
	root.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case slices.Contains(except, f.Name()):
		case f.IsMap():
			m := to.Mutable(f).Map()
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				if !m.Has(k) {
					m.Set(k, v)
				}
				return true
			})
		case !to.Has(f):
			to.Set(f, v)
		}
		return true
	})
}

// narrows reports whether nothing that the leaf asks for contradicts or widens the root.
// (istio virtualservice.go hasConflict)
func narrows(root, leaf *networkingv1alpha3.HTTPMatchRequest) bool {
	for k, v := range leaf.SourceLabels {
		if have, ok := root.SourceLabels[k]; ok && have != v {
			return false
		}
	}
	for _, g := range leaf.Gateways {
		if len(root.Gateways) > 0 && !slices.Contains(root.Gateways, g) {
			return false
		}
	}
	return stringNarrows(root.Uri, leaf.Uri) &&
		stringNarrows(root.Scheme, leaf.Scheme) &&
		stringNarrows(root.Method, leaf.Method) &&
		stringNarrows(root.Authority, leaf.Authority) &&
		stringsNarrow(root.Headers, leaf.Headers) &&
		stringsNarrow(root.WithoutHeaders, leaf.WithoutHeaders) &&
		stringsNarrow(root.QueryParams, leaf.QueryParams) &&
		root.IgnoreUriCase == leaf.IgnoreUriCase &&
		(root.Port == 0 || leaf.Port == 0 || root.Port == leaf.Port) &&
		(root.SourceNamespace == "" || root.SourceNamespace == leaf.SourceNamespace)
}

func stringsNarrow(root, leaf map[string]*networkingv1alpha3.StringMatch) bool {
	for name, m := range leaf {
		if !stringNarrows(root[name], m) {
			return false
		}
	}
	return true
}

// stringNarrows: regular expressions beside any other match are never compared.
func stringNarrows(root, leaf *networkingv1alpha3.StringMatch) bool {
	switch {
	case root == nil || leaf == nil:
		return true
	case root.GetExact() != "":
		return leaf.GetExact() == root.GetExact()
	case root.GetPrefix() != "": // at most one of the leaf's two is set
		return strings.HasPrefix(leaf.GetPrefix()+leaf.GetExact(), root.GetPrefix())
	}
	return false
}
