package resolve

import (
	"errors"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	getaddrinfov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/getaddrinfo/v3"
	"google.golang.org/protobuf/types/known/durationpb"
)

// check says what is wrong with the names of a cluster and how they are to be looked up.
//
// Ignored: respect_dns_ttl, for the machine's resolver tells no TTL, so that dns_refresh_rate
// holds; dns_jitter, which spreads lookups in time; wait_for_warm_on_init, for all clusters are
// waited for; of typed_dns_resolver_config all but servers of its own: how to ask is the machine's.
func check(c *clusterv3.Cluster) error {
	bad := func(field, format string, args ...any) error {
		return errors.New("Cluster " + c.GetName() + ": " + field + ": " + // in the engine's form
			fmt.Sprintf(format, args...))
	}
	for _, d := range []struct {
		field string
		value *durationpb.Duration
	}{
		{"dns_refresh_rate", c.GetDnsRefreshRate()},
		{"dns_failure_refresh_rate.base_interval", c.GetDnsFailureRefreshRate().GetBaseInterval()},
	} {
		if d.value != nil && d.value.AsDuration() < 1e6 {
			return bad(d.field, "value must be greater than 1ms")
		}
	}
	if a := c.GetTypedDnsResolverConfig().GetTypedConfig(); a != nil {
		var cares caresv3.CaresDnsResolverConfig
		switch {
		case a.MessageIs(&getaddrinfov3.GetAddrInfoDnsResolverConfig{}):
		case !a.MessageIs(&cares):
			return bad("typed_dns_resolver_config", "%s is not carried out yet", a.GetTypeUrl())
		case a.UnmarshalTo(&cares) != nil || len(cares.GetResolvers()) > 0:
			return bad("typed_dns_resolver_config.typed_config.resolvers",
				"is not carried out yet; the machine's own resolver is asked")
		}
	}
	list := c.GetLoadAssignment().GetEndpoints()
	if c.GetType() == clusterv3.Cluster_LOGICAL_DNS &&
		(len(list) != 1 || len(list[0].GetLbEndpoints()) != 1) {
		return bad("load_assignment", "LOGICAL_DNS clusters must have a single "+
			"locality_lb_endpoint and a single lb_endpoint")
	}
	for i, l := range list {
		for j, e := range l.GetLbEndpoints() {
			field := fmt.Sprintf("load_assignment.endpoints[%d].lb_endpoints[%d].endpoint.address",
				i, j)
			s := e.GetEndpoint().GetAddress().GetSocketAddress()
			if s.GetAddress() == "" {
				return bad(field, "a socket address with a name or an IP address is required")
			}
			if s.GetResolverName() != "" {
				return bad(field+".socket_address.resolver_name", "is not carried out yet")
			}
		}
	}
	return nil
}
