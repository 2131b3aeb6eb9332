package translate

import (
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// destinationRule is one or several DestinationRules of a namespace for one host, merged.
type destinationRule struct {
	namespace string
	from      []*istio.Object // what was merged; the first gave the policy
	spec      *networkingv1alpha3.DestinationRule
	exportTo  exportSet // as written, with the mesh's default; "." is kept
}

// subset returns the subset of this name, or nil.
func (d *destinationRule) subset(name string) *networkingv1alpha3.Subset {
	if d == nil {
		return nil
	}
	for _, s := range d.spec.Subsets {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// rulesByHost holds merged rules by host, in order of age: several only where visibility or
// workload selectors differ.
type rulesByHost map[string][]*destinationRule

// ruleIndex is where a proxy looks for DestinationRules: in its own namespace, then among what the
// service's namespace exports, then among what the root namespace exports.
type ruleIndex struct {
	local     map[string]rulesByHost // by namespace: all of it
	exported  map[string]rulesByHost // by namespace: what is not private
	rootLocal rulesByHost            // private to the root namespace
}

// newRuleIndex follows Istio pilot/pkg/model/push_context.go setDestinationRules.
func newRuleIndex(c *istio.Config) *ruleIndex {
	root := c.Mesh.GetRootNamespace()
	ix := &ruleIndex{
		local:     map[string]rulesByHost{},
		exported:  map[string]rulesByHost{},
		rootLocal: rulesByHost{},
	}
	objects := c.Kind("DestinationRule")
	// Rules with a workload selector come first: those without are merged into them.
	slices.SortStableFunc(objects, func(a, b *istio.Object) int {
		sa, sb := hasSelector(a), hasSelector(b)
		if sa != sb {
			if sa {
				return -1
			}
			return 1
		}
		return compareAge(a, b)
	})
	defaults := c.Mesh.GetDefaultDestinationRuleExportTo()
	for _, o := range objects {
		dr := newDestinationRule(o)
		own := exportSet(dr.spec.GetExportTo())
		if hasSelector(o) { // never exported
			own = exportSet{"."}
		}
		dr.exportTo = own
		if len(own) > 0 {
			dr.exportTo = newExportSet(own, nil)
		}
		if e := dr.exportTo; len(e) == 0 || e.public() || e.has(".") || e.has(o.Namespace) {
			merge(hostsOf(ix.local, o.Namespace), dr)
		}
		switch {
		case !dr.private(defaults):
			merge(hostsOf(ix.exported, o.Namespace), dr)
		case o.Namespace == root:
			merge(ix.rootLocal, dr)
		}
	}
	return ix
}

func hasSelector(o *istio.Object) bool {
	return o.Body.(*networkingv1alpha3.DestinationRule).GetWorkloadSelector() != nil
}

func newDestinationRule(o *istio.Object) *destinationRule {
	spec := o.Body.(*networkingv1alpha3.DestinationRule).DeepCopy()
	spec.Host = fqdn(spec.Host, o.Namespace)
	return &destinationRule{namespace: o.Namespace, from: []*istio.Object{o}, spec: spec}
}

// private: exported to no other namespace. Of the mesh's default only "." counts.
func (d *destinationRule) private(defaults []string) bool {
	if len(d.exportTo) == 0 {
		return slices.Contains(defaults, ".")
	}
	return len(d.exportTo) == 1 && (d.exportTo.has(".") || d.exportTo.has(d.namespace))
}

func hostsOf(byNamespace map[string]rulesByHost, ns string) rulesByHost {
	if byNamespace[ns] == nil {
		byNamespace[ns] = rulesByHost{}
	}
	return byNamespace[ns]
}

// merge adds a rule to those of the same host: into each whose visibility it covers, and on its own
// when it is seen more widely. The first policy stays; subsets are appended, the first of a name
// stays. Istio pilot/pkg/model/destination_rule.go mergeDestinationRule.
func merge(rules rulesByHost, in *destinationRule) {
	list := rules[in.spec.Host]
	separate := true
	for i, have := range list {
		switch {
		case slices.Equal(in.exportTo, have.exportTo):
			separate = false
		case len(have.exportTo) > 0 && covers(in.exportTo, have.exportTo):
			separate = true
		default:
			separate = true
			continue
		}
		a, b := have.spec.GetWorkloadSelector(), in.spec.GetWorkloadSelector()
		if a != nil && b != nil && !sameLabels(a.MatchLabels, b.MatchLabels) {
			separate = true
			continue
		}
		if (a == nil) == (b == nil) {
			separate = false
		}
		list[i] = have.mergedWith(in)
	}
	if separate {
		list = append(list, in)
	}
	rules[in.spec.Host] = list
}

func covers(wide, narrow exportSet) bool {
	for _, ns := range narrow {
		if !wide.has(ns) {
			return false
		}
	}
	return true
}

func sameLabels(a, b map[string]string) bool { return len(a) == len(b) && Selects(a, b) }

func (d *destinationRule) mergedWith(in *destinationRule) *destinationRule {
	out := *d
	out.spec = d.spec.DeepCopy()
	out.from = append(slices.Clone(d.from), in.from...)
	// Whole subsets are compared with what was there before: duplicates within the new rule stay.
	for _, s := range in.spec.Subsets {
		if d.subset(s.Name) == nil {
			out.spec.Subsets = append(out.spec.Subsets, s)
		}
	}
	if out.spec.TrafficPolicy == nil {
		out.spec.TrafficPolicy = in.spec.TrafficPolicy
	}
	return &out
}

// lookup returns the rules for a service as seen by proxies of a namespace. Istio
// pilot/pkg/model/push_context.go destinationRule.
func (ix *ruleIndex) lookup(root, ns string, s *service) []*destinationRule {
	own := ix.local[ns]
	if ns == root {
		own = ix.rootLocal
	}
	if list, ok := mostSpecific(s.Host, own); ok {
		return list
	}
	for _, owner := range []string{s.Namespace, root} {
		if list := ix.exportedFrom(owner, ns, s.Host); len(list) > 0 {
			return list
		}
	}
	return nil
}

func (ix *ruleIndex) exportedFrom(owner, ns, host string) []*destinationRule {
	list, _ := mostSpecific(host, ix.exported[owner])
	var out []*destinationRule
	for _, dr := range list {
		if len(dr.exportTo) == 0 || dr.exportTo.public() || dr.exportTo.has(ns) {
			out = append(out, dr)
		}
	}
	return out
}
