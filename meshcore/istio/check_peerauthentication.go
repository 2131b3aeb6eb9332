package istio

import (
	"strconv"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
)

// peerAuthentication checks what the schema and istiod's webhook check
// (pkg/config/validation/validation.go ValidatePeerAuthentication).
func (c *checker) peerAuthentication() {
	pa := c.object.Body.(*securityv1beta1.PeerAuthentication)
	c.selector("spec.selector", pa.Selector)
	if len(pa.PortLevelMtls) > 0 && len(pa.Selector.GetMatchLabels()) == 0 {
		c.errorf("spec.portLevelMtls", "portLevelMtls requires selector: a policy of the mesh or "+
			"of a namespace cannot have port level mTLS")
	}
	for number := range pa.PortLevelMtls {
		if number == 0 || number > 65535 {
			c.errorf(in("spec.portLevelMtls", strconv.FormatUint(uint64(number), 10)),
				"port must be between 1-65535")
		}
	}
}

// selector checks the labels of the workloads that an object of the security API is for
// (pkg/config/validation/validation.go validateWorkloadSelector).
func (c *checker) selector(field string, s *typev1beta1.WorkloadSelector) {
	if s == nil {
		return
	}
	for _, key := range sortedNames(s.MatchLabels) {
		f := in(field+".matchLabels", key)
		switch {
		case key == "":
			c.errorf(f, "key must not be empty")
		case strings.Contains(key, "*"):
			c.errorf(f, "wildcard not allowed in label key match")
		case strings.Contains(s.MatchLabels[key], "*"):
			c.errorf(f, "wildcard not allowed in label value match")
		}
	}
	if len(s.MatchLabels) == 0 {
		c.warnf(field, "has no labels, so it selects every workload of the namespace")
	}
}
