package engine

import (
	"errors"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// slot holds the current value of a named resource, nil when there is none. Whoever refers to a
// resource keeps its slot, so that a change of the one never makes the other be compiled anew.
type slot[T any] = atomic.Pointer[T]

// routeConfig is a compiled RouteConfiguration.
type routeConfig struct {
	name         string
	hosts        match.Hosts[*vhost]
	ignorePort   bool
	internalOnly []string // internal_only_headers
}

// vhost is a compiled VirtualHost.
type vhost struct {
	name              string
	routes            []*route
	requireTLS        routev3.VirtualHost_TlsRequirementType
	attemptCount      bool // include_request_attempt_count
	attemptInResponse bool
	timeoutRetry      bool // include_is_timeout_retry_header
	filters           perFilter
	metadata          *corev3.Metadata
}

func (c *compiler) routeConfig(m *routev3.RouteConfiguration) *routeConfig {
	rc := &routeConfig{name: m.GetName(), ignorePort: m.GetIgnorePortInHostMatching()}
	for _, h := range m.GetInternalOnlyHeaders() {
		rc.internalOnly = append(rc.internalOnly, lowerASCII(h))
	}
	limit := 4096 // max_direct_response_body_size_bytes
	if l := m.GetMaxDirectResponseBodySizeBytes(); l != nil {
		limit = int(l.GetValue())
	}
	top := c.mutations(m)
	for i, v := range m.GetVirtualHosts() {
		leave := c.at("virtual_hosts", i)
		out := c.vhost(v, scope{config: m.GetName(), top: top, limit: limit,
			specificWins: m.GetMostSpecificHeaderMutationsWins()})
		if len(v.GetDomains()) == 0 {
			c.fail("domains", "value must contain at least 1 item(s)")
		}
		for _, d := range v.GetDomains() {
			switch err := rc.hosts.Add(d, out); {
			case errors.Is(err, match.ErrDuplicate):
				c.fail("domains", "%v of domain %s in route %s", err, d, m.GetName())
			case err != nil:
				c.fail("domains", "%v in route %s", err, m.GetName())
			}
		}
		leave()
	}
	rc.hosts.Sort()
	return rc
}

// scope is what routes take over from what they stand in.
type scope struct {
	config       string // the route configuration
	top, vhost   *mutations
	vhostMessage *routev3.VirtualHost
	specificWins bool
	limit        int // bytes of a direct response
}

func (c *compiler) vhost(m *routev3.VirtualHost, s scope) *vhost {
	v := &vhost{name: m.GetName(), requireTLS: m.GetRequireTls(),
		attemptCount:      m.GetIncludeRequestAttemptCount(),
		attemptInResponse: m.GetIncludeAttemptCountInResponse(),
		timeoutRetry:      m.GetIncludeIsTimeoutRetryHeader(),
		filters:           c.perFilter(m.GetTypedPerFilterConfig()),
		metadata:          m.GetMetadata()}
	if m.GetName() == "" {
		c.fail("name", "value length must be at least 1 characters")
	}
	s.vhost, s.vhostMessage = c.mutations(m), m
	for i, r := range m.GetRoutes() {
		leave := c.at("routes", i)
		v.routes = append(v.routes, c.route(v, r, s))
		leave()
	}
	return v
}

// find returns the first route that matches the request, nil when there is none.
func (rc *routeConfig) find(x *Exchange, h *wire.Head) *route {
	host := h.Authority
	if host == nil { // config_impl.cc findVirtualHost; an empty Host is one
		return nil
	}
	if rc.ignorePort {
		host = match.WithoutPort(host)
	}
	v, ok := rc.hosts.Find(host, x.hostBuf[:0])
	if x.tr != nil {
		x.traceHost(rc, v, host)
	}
	if !ok {
		return nil
	}
	x.log.vhost = v
	path := match.PathOf(h.Target)
	for _, r := range v.routes {
		missed := r.misses(x, h, path)
		if x.tr != nil {
			x.traceRoute(r, missed, h)
		}
		if missed.kind == fits {
			return r
		}
	}
	return nil
}
