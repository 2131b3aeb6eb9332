package engine

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// action is a compiled RouteAction.
type action struct {
	targets    []target
	total      uint64
	drawHeader string // weighted_clusters.header_name
	notFound   int    // cluster_not_found_response_code

	rewrite       rewrite
	host          []byte // host_rewrite_literal
	appendXFH     bool
	timeout       time.Duration // 0: none
	newTimeouts   bool          // max_stream_duration.grpc_timeout_header_max is set
	maxGRPC       *time.Duration
	grpcOffset    time.Duration
	maxStream     *time.Duration
	grpcMax       *time.Duration
	grpcMaxOffset time.Duration
	idle          *time.Duration
	retry         *retryPolicy
	mirrors       []mirrorPolicy
	hash          []hashPolicy
	upgrades      map[string]bool
}

// target is one cluster that an action may choose.
type target struct {
	name    string
	weight  uint64
	cluster *slot[Cluster]
	host    []byte // the weighted cluster's host_rewrite_literal
	filters perFilter
	change  chainOfMutations
}

func (c *compiler) action(r *route, m *routev3.RouteAction, s scope, own *mutations) *action {
	a := &action{notFound: 503, appendXFH: m.GetAppendXForwardedHost(),
		rewrite: c.rewrite(m.GetPrefixRewrite(), m.GetRegexRewrite()),
		timeout: 15 * time.Second, hash: c.hashPolicies(m.GetHashPolicy()),
		mirrors: c.mirrors(m.GetRequestMirrorPolicies())}
	switch m.GetClusterNotFoundResponseCode() {
	case routev3.RouteAction_NOT_FOUND:
		a.notFound = 404
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		a.notFound = 500
	}
	if m.GetHostRewriteLiteral() != "" {
		a.host = []byte(m.GetHostRewriteLiteral())
	}
	if m.GetPriority() != corev3.RoutingPriority_DEFAULT {
		c.notCarried("priority", m.GetPriority().String())
	}
	c.timeouts(a, m)
	policy := m.GetRetryPolicy()
	if policy == nil {
		policy = s.vhostMessage.GetRetryPolicy()
	}
	if policy != nil {
		leave := c.in("retry_policy")
		a.retry = c.retryPolicy(policy)
		leave()
	}
	for _, u := range m.GetUpgradeConfigs() {
		if a.upgrades == nil {
			a.upgrades = map[string]bool{}
		}
		on := u.GetEnabled() == nil || u.GetEnabled().GetValue()
		if _, twice := a.upgrades[lowerASCII(u.GetUpgradeType())]; twice {
			c.fail("upgrade_configs", "Duplicate upgrade %s", u.GetUpgradeType())
		}
		a.upgrades[lowerASCII(u.GetUpgradeType())] = on
	}
	switch t := m.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		if t.Cluster == "" {
			c.fail("cluster", "value length must be at least 1 characters")
		}
		a.total = 1
		a.targets = []target{{name: t.Cluster, weight: 1, cluster: c.e.clusterSlot(t.Cluster),
			change: s.order(nil, own)}}
	case *routev3.RouteAction_WeightedClusters:
		leave := c.in("weighted_clusters")
		c.weighted(a, t.WeightedClusters, s, own)
		leave()
	default:
		c.fail("cluster_specifier",
			"value is required, and only cluster and weighted_clusters are carried out")
	}
	return a
}

func (c *compiler) weighted(a *action, m *routev3.WeightedCluster, s scope, own *mutations) {
	a.drawHeader = lowerASCII(m.GetHeaderName())
	if len(m.GetClusters()) == 0 {
		c.fail("clusters", "value must contain at least 1 item(s)")
	}
	for i, w := range m.GetClusters() {
		leave := c.at("clusters", i)
		if w.GetName() == "" {
			c.fail("name", "value length must be at least 1 characters")
		}
		if w.GetWeight() == nil {
			c.fail("weight", "Field 'weight' is missing")
		}
		t := target{name: w.GetName(), weight: uint64(w.GetWeight().GetValue()),
			cluster: c.e.clusterSlot(w.GetName()), change: s.order(c.mutations(w), own),
			filters: c.perFilter(w.GetTypedPerFilterConfig())}
		if w.GetHostRewriteLiteral() != "" {
			t.host = []byte(w.GetHostRewriteLiteral())
		}
		a.total += t.weight
		a.targets = append(a.targets, t)
		leave()
	}
	if a.total == 0 {
		c.fail("clusters", "Sum of weights in the weighted_cluster must be greater than 0.")
	}
	if a.total > 1<<32-1 {
		c.fail("clusters", "The sum of weights of all weighted clusters exceeds 4294967295")
	}
}

// drawn is what chooses the cluster: the stream's random value, or the number in the header that
// header_name names (config_impl.cc pickWeightedCluster). The total's modulus of it counts.
func (a *action) drawn(h *wire.Head, rnd uint64) (n uint64, by string) {
	if len(a.targets) == 1 {
		return 0, ""
	}
	if a.drawHeader != "" {
		if v, ok := h.Get(a.drawHeader); ok {
			if u, ok := unsigned(v); ok {
				return u, "header"
			}
		}
	}
	return draw(rnd, drawStream, 0), "random"
}

// at is the cluster of a draw.
func (a *action) at(n uint64) *target {
	n %= a.total
	for i := range a.targets {
		if n < a.targets[i].weight {
			return &a.targets[i]
		}
		n -= a.targets[i].weight
	}
	return &a.targets[len(a.targets)-1]
}
