package istio

import (
	"net/netip"
	"strings"

	securityv1 "istio.io/api/security/v1"
)

func isPrefix(s string) bool {
	_, err := netip.ParsePrefix(s)
	return err == nil
}

// conditionKeys are the keys of `when`; a value's check may be nil.
var conditionKeys = map[string]func(string) string{
	"source.ip":              badBlock,
	"remote.ip":              badBlock,
	"source.namespace":       nil,
	"source.serviceAccount":  badServiceAccount,
	"source.principal":       nil,
	"source.trustDomain":     badWildcard,
	"request.auth.principal": nil,
	"request.auth.audiences": nil,
	"request.auth.presenter": nil,
	"destination.ip":         badBlock,
	"destination.port":       badPort,
	"connection.sni":         nil,
}

// mapKeys are the keys of `when` that name something in brackets.
var mapKeys = []string{"request.headers", "request.auth.claims", "experimental.envoy.filters."}

// goneKeys are what Istio's first policies asked for.
var goneKeys = map[string]string{
	"destination.namespace": "it is replaced by the policy's own metadata.namespace",
	"destination.labels":    "it is replaced by spec.selector.matchLabels",
	"destination.name":      "it is replaced by spec.selector.matchLabels",
	"destination.user":      "it is replaced by spec.selector.matchLabels",
}

// condition checks one condition (pkg/config/security/security.go ValidateAttribute).
func (c *checker) condition(field string, w *securityv1.Condition) {
	if w.Key == "" {
		c.errorf(field+".key", "`key` must not be empty")
		return
	}
	if len(w.Values) == 0 && len(w.NotValues) == 0 {
		c.errorf(field, "at least one of `values` or `notValues` must be set for key %s", w.Key)
	}
	check, known := conditionKeys[w.Key]
	if !known {
		known = c.mapKey(field+".key", w.Key)
	}
	if !known {
		return
	}
	c.lists(field, []named{{"values", w.Values, check}, {"notValues", w.NotValues, check}})
	if w.Key == "source.serviceAccount" {
		c.atMost(field+".values", len(w.Values), 16)
		c.atMost(field+".notValues", len(w.NotValues), 16)
	}
}

// mapKey checks a key of the form a[b], and refuses any other.
func (c *checker) mapKey(field, key string) bool {
	for _, known := range mapKeys {
		rest, ok := strings.CutPrefix(key, known)
		if !ok {
			continue
		}
		open := strings.Index(key, "[")
		if !strings.HasSuffix(key, "]") || open <= 0 || open >= len(key)-2 {
			c.errorf(field, "bad key (%s): should have format a[b]", clip(key))
			return false
		}
		// istiod takes it, and then leaves the rule out of an ALLOW policy, and the condition out
		// of any other.
		if strings.HasPrefix(known, "request.") && !strings.HasPrefix(rest, "[") {
			c.warnf(field, "istiod can not read %s: an ALLOW rule with it never holds, others "+
				"hold without it; write %s[NAME]", clip(key), known)
		}
		return true
	}
	name, _, _ := strings.Cut(key, "[")
	if why := goneKeys[name]; why != "" {
		c.errorf(field, "attribute %s is gone: %s", clip(key), why)
		return false
	}
	names := append(sortedNames(conditionKeys), "request.headers[NAME]",
		"request.auth.claims[NAME]")
	c.errorf(field, "unknown attribute: %s%s", clip(key), didYouMean(key, names))
	return false
}
