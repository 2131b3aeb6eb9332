package istio

import (
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// required lists the fields that Istio's CRDs require (istio.io/api
// kubernetes/customresourcedefinitions.gen.yaml), by message.
var required = map[protoreflect.FullName][]protoreflect.Name{
	"istio.networking.v1alpha3.Destination":          {"host"},
	"istio.networking.v1alpha3.DestinationRule":      {"host"},
	"istio.networking.v1alpha3.HTTPDirectResponse":   {"status"},
	"istio.networking.v1alpha3.HTTPMirrorPolicy":     {"destination"},
	"istio.networking.v1alpha3.HTTPRouteDestination": {"destination"},
	"istio.networking.v1alpha3.Port":                 {"number", "protocol", "name"},
	"istio.networking.v1alpha3.Server":               {"port", "hosts"},
	"istio.networking.v1alpha3.Subset":               {"name"},
	"istio.networking.v1alpha3.ServiceEntry":         {"hosts"},
	"istio.networking.v1alpha3.ServicePort":          {"number", "name"},

	"istio.security.v1beta1.ClaimToHeader":     {"header", "claim"},
	"istio.security.v1beta1.Condition":         {"key"},
	"istio.security.v1beta1.JWTHeader":         {"name"},
	"istio.type.v1beta1.PolicyTargetReference": {"kind", "name"},

	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.HTTPCookie": {
		"name",
	},
	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.HTTPCookie.Attribute": {
		"name",
	},
}

// zeroDurations are the durations that may be zero: there it means "never" or, for a cookie, "until
// the browser ends".
var zeroDurations = map[protoreflect.FullName]bool{
	"istio.networking.v1alpha3.ConnectionPoolSettings.TCPSettings.idle_timeout":      true,
	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.HTTPCookie.ttl": true,
	"istio.networking.v1alpha3.TrafficPolicy.RetryBudget.budget_interval":            true,
}

// shortest returns the least value that Istio takes for a duration: a millisecond, in the messages
// of the networking API. ok is false where anything goes.
func shortest(fd protoreflect.FieldDescriptor) (least time.Duration, ok bool) {
	switch name := fd.FullName(); {
	case zeroDurations[name]:
		return 0, true
	case strings.HasPrefix(string(name), "istio.networking."):
		return time.Millisecond, true
	}
	return 0, false
}
