package istio

import (
	"slices"
	"strings"

	typev1beta1 "istio.io/api/type/v1beta1"
)

// attached is the spec of a policy that chooses workloads.
type attached interface {
	GetSelector() *typev1beta1.WorkloadSelector
	GetTargetRef() *typev1beta1.PolicyTargetReference
	GetTargetRefs() []*typev1beta1.PolicyTargetReference
}

// attachment checks to which workloads a policy applies (pkg/config/validation/validation.go
// validateOneOfSelectorType, validateWorkloadSelector, validatePolicyTargetReference).
func (c *checker) attachment(p attached) {
	given := 0
	for _, is := range []bool{
		p.GetSelector() != nil, p.GetTargetRef() != nil, len(p.GetTargetRefs()) > 0,
	} {
		if is {
			given++
		}
	}
	if given > 1 {
		c.errorf("spec", "only one of targetRefs or selector can be set")
	}
	if s := p.GetSelector(); s != nil {
		c.policySelector(s)
	}
	if ref := p.GetTargetRef(); ref != nil {
		c.targetRef("spec.targetRef", ref)
	}
	c.atMost("spec.targetRefs", len(p.GetTargetRefs()), 16)
	for i, ref := range p.GetTargetRefs() {
		c.targetRef(at("spec.targetRefs", i), ref)
	}
}

func (c *checker) policySelector(s *typev1beta1.WorkloadSelector) {
	const field = "spec.selector.matchLabels"
	if len(s.MatchLabels) == 0 {
		c.warnf("spec.selector", "workload selector specified without labels: it selects every "+
			"workload of the policy's namespace, and of the root namespace's policy all")
	}
	for _, key := range sortedNames(s.MatchLabels) {
		value := s.MatchLabels[key]
		switch {
		case key == "":
			c.errorf(field, "empty key is not supported in selector")
		case strings.Contains(key+value, "*"):
			c.errorf(in(field, key), "wildcard is not supported in selector: %q",
				clip(key+"="+value))
		case len(value) > 63:
			c.errorf(in(field, key), "the value of a label has at most 63 characters")
		}
	}
}

// targetKinds are what a policy may refer to, as GROUP/KIND.
var targetKinds = []string{
	"core/Service", networking + "/ServiceEntry", gatewayAPI + "/Gateway",
	gatewayAPI + "/GatewayClass",
}

// targetRef: only the Gateway API's gateways and waypoints carry such references out.
func (c *checker) targetRef(field string, r *typev1beta1.PolicyTargetReference) {
	if r.Name == "" {
		c.errorf(field+".name", "targetRef name must be set")
	}
	if r.Namespace != "" {
		c.errorf(field+".namespace",
			"targetRef namespace must not be set; cross namespace referencing is not supported")
	}
	group := r.Group
	if group == "" {
		group = "core"
	}
	if kind := group + "/" + r.Kind; !slices.Contains(targetKinds, kind) {
		c.errorf(field, "targetRef must be to one of %s but was %s/%s",
			strings.Join(targetKinds, ", "), r.Group, r.Kind)
	} else if r.Kind != "Gateway" {
		c.warnf(field, "only a waypoint applies a policy for a %s, and the lab has none: the "+
			"policy does nothing; write spec.selector.matchLabels", r.Kind)
	}
}
