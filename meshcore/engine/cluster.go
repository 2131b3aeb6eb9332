package engine

import (
	"net/netip"
	"sync"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/breaker"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/outlier"
)

// Cluster is a compiled cluster with its state. A changed Cluster resource makes a new one with
// fresh state, as in Envoy (cluster_manager_impl.cc addOrUpdateCluster); changed endpoints do
// not.
type Cluster struct {
	Name                     string
	ConnectTimeout           time.Duration
	MaxRequestsPerConnection int           // 0: no limit
	IdleTimeout              time.Duration // 1 h unless set; 0: none
	MaxConnectionDuration    time.Duration // 0: none
	HTTP2                    bool          // upstream speaks HTTP/2 (prior knowledge)
	// UseDownstreamProtocol says that the upstream protocol is the downstream's.
	UseDownstreamProtocol bool
	// Breaker bounds connections, pending requests, requests and retries of all endpoints together.
	Breaker *breaker.Breaker

	e         *Engine
	kind      clusterv3.Cluster_DiscoveryType
	service   string // EDS resource name
	metadata  *corev3.Metadata
	shown     string // alt_stat_name: what %UPSTREAM_CLUSTER% gives
	source    netip.Addr
	header    string // ORIGINAL_DST: the request header with the address
	useHeader bool
	static    *assignment
	maxStream time.Duration
	cleanup   time.Duration
	balancer  *lb.Balancer
	hashes    bool // its balancer asks for the hash policy's value
	detector  *outlier.Detector
	limits    breaker.Thresholds
	sockets   socketChoice
	autoSNI   bool // the SNI is the request's host
	autoSAN   bool // and the certificate must have it

	mu      sync.Mutex // guards what follows
	hosts   map[Address]*Endpoint
	sweep   clock.Instant // next outlier interval
	refresh clock.Instant // when a merged change of hosts is due
	clean   clock.Instant // ORIGINAL_DST: next look for unused hosts
	used    map[*Endpoint]bool
	given   lb.Assignment // the latest, as the balancer has it
}

func (c *compiler) cluster(m *clusterv3.Cluster) *Cluster {
	out := &Cluster{e: c.e, Name: m.GetName(), kind: m.GetType(), metadata: m.GetMetadata(),
		ConnectTimeout: 5 * time.Second, IdleTimeout: time.Hour, cleanup: 5 * time.Second,
		MaxRequestsPerConnection: int(m.GetMaxRequestsPerConnection().GetValue()),
		hosts:                    map[Address]*Endpoint{},
		sweep:                    clock.Never, refresh: clock.Never, clean: clock.Never}
	if out.Name == "" {
		c.fail("name", "value length must be at least 1 characters")
	}
	if d := m.GetConnectTimeout(); d != nil {
		if out.ConnectTimeout = c.duration("connect_timeout", d); out.ConnectTimeout <= 0 {
			c.fail("connect_timeout", "value must be greater than 0s")
		}
	}
	if d := m.GetCleanupInterval(); d != nil {
		if out.cleanup = c.duration("cleanup_interval", d); out.cleanup <= 0 {
			c.fail("cleanup_interval", "value must be greater than 0s")
		}
	}
	if m.GetHttp2ProtocolOptions() != nil {
		out.HTTP2 = true
	}
	c.protocolOptions(out, m)
	c.discovery(out, m)
	c.loadBalancing(out, m)
	c.breakers(out, m.GetCircuitBreakers())
	if od := m.GetOutlierDetection(); od != nil {
		c.outlierDetection(out, od)
	}
	out.sockets = c.socketChoice(m)
	if b := m.GetUpstreamBindConfig(); b != nil {
		ip, err := netip.ParseAddr(b.GetSourceAddress().GetAddress())
		if err != nil && b.GetSourceAddress() != nil {
			c.fail("upstream_bind_config.source_address", "malformed IP address: %s",
				b.GetSourceAddress().GetAddress())
		}
		out.source = ip
	}
	return out
}

func (c *compiler) protocolOptions(out *Cluster, m *clusterv3.Cluster) {
	defer c.in("typed_extension_protocol_options")()
	for name, a := range m.GetTypedExtensionProtocolOptions() {
		o := &upstreamsv3.HttpProtocolOptions{}
		if !c.any(a, o) {
			c.fail("", "%s %s", name, notCarried)
			continue
		}
		u := o.GetUpstreamHttpProtocolOptions()
		out.autoSNI, out.autoSAN = u.GetAutoSni(), u.GetAutoSanValidation()
		p := o.GetCommonHttpProtocolOptions()
		if d := p.GetIdleTimeout(); d != nil {
			out.IdleTimeout = c.duration("common_http_protocol_options.idle_timeout", d)
		}
		out.MaxConnectionDuration = c.duration(
			"common_http_protocol_options.max_connection_duration", p.GetMaxConnectionDuration())
		out.maxStream = c.duration("common_http_protocol_options.max_stream_duration",
			p.GetMaxStreamDuration())
		if n := p.GetMaxRequestsPerConnection(); n != nil {
			if m.GetMaxRequestsPerConnection() != nil {
				c.fail("common_http_protocol_options.max_requests_per_connection", "Only one of "+
					"max_requests_per_connection from Cluster or HttpProtocolOptions can be "+
					"specified")
			}
			out.MaxRequestsPerConnection = int(n.GetValue())
		}
		if p.GetMaxHeadersCount() != nil {
			c.fail("common_http_protocol_options.max_headers_count", notCarried)
		}
		switch u := o.GetUpstreamProtocolOptions().(type) {
		case *upstreamsv3.HttpProtocolOptions_ExplicitHttpConfig_:
			out.HTTP2 = u.ExplicitHttpConfig.GetHttp2ProtocolOptions() != nil
		case *upstreamsv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
			out.UseDownstreamProtocol = true
		}
	}
}

// Envoy source/common/upstream/upstream_impl.cc ClusterInfoImpl, cluster_factory_impl.cc and the
// factories of source/extensions/clusters have these refusals.
func (c *compiler) discovery(out *Cluster, m *clusterv3.Cluster) {
	out.shown = m.GetAltStatName()
	if m.GetType() != clusterv3.Cluster_EDS && m.GetEdsClusterConfig() != nil {
		c.fail("eds_cluster_config", "eds_cluster_config set in a non-EDS cluster")
	}
	switch m.GetType() {
	case clusterv3.Cluster_EDS:
		out.service = m.GetName()
		if s := m.GetEdsClusterConfig().GetServiceName(); s != "" {
			out.service = s
		}
		if m.GetEdsClusterConfig() == nil {
			c.fail("eds_cluster_config", "cannot create an EDS cluster without an EDS config")
		} else if m.GetEdsClusterConfig().GetEdsConfig().GetConfigSourceSpecifier() == nil {
			c.fail("eds_cluster_config.eds_config", "Missing config source specifier")
		}
	case clusterv3.Cluster_STATIC:
		leave := c.in("load_assignment")
		out.static = c.assignment(m.GetLoadAssignment())
		leave()
	case clusterv3.Cluster_ORIGINAL_DST:
		c.originalDst(out, m)
	default:
		c.notCarried("type", m.GetType().String())
	}
}

func (c *compiler) originalDst(out *Cluster, m *clusterv3.Cluster) {
	out.used = map[*Endpoint]bool{}
	o := m.GetOriginalDstLbConfig()
	out.useHeader, out.header = o.GetUseHttpHeader(), "x-envoy-original-dst-host"
	if h := o.GetHttpHeaderName(); h != "" {
		out.header = lowerASCII(h)
		if !out.useHeader {
			c.fail("original_dst_lb_config.http_header_name", "invalid config http_header_name=%s "+
				"and use_http_header is false", h)
		}
	}
	if m.GetLoadAssignment() != nil {
		c.fail("load_assignment", "ORIGINAL_DST clusters must have no load assignment configured")
	}
	if m.GetLbPolicy() != clusterv3.Cluster_CLUSTER_PROVIDED {
		c.fail("lb_policy", "cluster: LB policy %v is not valid for Cluster type ORIGINAL_DST",
			m.GetLbPolicy())
	}
}

var policies = map[clusterv3.Cluster_LbPolicy]lb.Policy{
	clusterv3.Cluster_ROUND_ROBIN:   lb.RoundRobin,
	clusterv3.Cluster_LEAST_REQUEST: lb.LeastRequest,
	clusterv3.Cluster_RANDOM:        lb.Random,
	clusterv3.Cluster_RING_HASH:     lb.RingHash,
	clusterv3.Cluster_MAGLEV:        lb.Maglev,
}

func (c *compiler) loadBalancing(out *Cluster, m *clusterv3.Cluster) {
	if out.kind == clusterv3.Cluster_ORIGINAL_DST {
		return
	}
	policy, ok := policies[m.GetLbPolicy()]
	if !ok {
		c.notCarried("lb_policy", m.GetLbPolicy().String())
		return
	}
	common := m.GetCommonLbConfig()
	cfg := lb.Config{Policy: policy, HealthyPanicThreshold: 50,
		LocalityWeighted: common.GetLocalityWeightedLbConfig() != nil,
		ChoiceCount:      m.GetLeastRequestLbConfig().GetChoiceCount().GetValue(),
		Seed:             clock.Sub(c.e.opt.Seed, "lb", m.GetName()),
		Local:            c.e.opt.Locality}
	switch policy { // Envoy looks at the settings of the policy that is chosen only
	case lb.RingHash:
		cfg.MinRingSize = 1024
		if least := m.GetRingHashLbConfig().GetMinimumRingSize(); least != nil {
			if cfg.MinRingSize = least.GetValue(); cfg.MinRingSize == 0 {
				c.notCarried("ring_hash_lb_config.minimum_ring_size", "a ring of nothing")
				return
			}
		}
		most := m.GetRingHashLbConfig().GetMaximumRingSize()
		if cfg.MaxRingSize = most.GetValue(); most != nil && cfg.MaxRingSize == 0 &&
			cfg.MinRingSize > 0 {
			c.fail("ring_hash_lb_config", "minimum_ring_size (%d) > maximum_ring_size (0)",
				cfg.MinRingSize)
		}
	case lb.Maglev:
		size := m.GetMaglevLbConfig().GetTableSize()
		if cfg.TableSize = size.GetValue(); size != nil && cfg.TableSize == 0 {
			c.fail("maglev_lb_config.table_size", "The table size of maglev must be prime number")
		}
	}
	if t := common.GetHealthyPanicThreshold(); t != nil {
		cfg.HealthyPanicThreshold = uint32(min(t.GetValue(), 100))
	}
	if w := common.GetUpdateMergeWindow(); w != nil {
		d := c.duration("common_lb_config.update_merge_window", w)
		cfg.UpdateMergeWindow = &d
	}
	if b := m.GetLeastRequestLbConfig().GetActiveRequestBias(); b != nil {
		bias := b.GetDefaultValue()
		cfg.ActiveRequestBias = &bias
	}
	if m.GetRingHashLbConfig().GetHashFunction() != clusterv3.Cluster_RingHashLbConfig_XX_HASH {
		c.fail("ring_hash_lb_config.hash_function", notCarried)
	}
	b, err := lb.New(cfg)
	if err != nil {
		c.failAs(err, "")
	}
	out.balancer, out.hashes = b, policy == lb.RingHash || policy == lb.Maglev
}

func (c *compiler) breakers(out *Cluster, m *clusterv3.CircuitBreakers) {
	t := breaker.Default()
	for i, th := range m.GetThresholds() {
		leave := c.at("circuit_breakers.thresholds", i)
		if th.GetPriority() != corev3.RoutingPriority_DEFAULT {
			c.notCarried("priority", th.GetPriority().String())
		}
		if v := th.GetMaxConnections(); v != nil {
			t.MaxConnections = v.GetValue()
		}
		if v := th.GetMaxPendingRequests(); v != nil {
			t.MaxPendingRequests = v.GetValue()
		}
		if v := th.GetMaxRequests(); v != nil {
			t.MaxRequests = v.GetValue()
		}
		if v := th.GetMaxRetries(); v != nil {
			t.MaxRetries = v.GetValue()
		}
		if b := th.GetRetryBudget(); b != nil {
			t.RetryBudget = &breaker.RetryBudget{BudgetPercent: 20, MinRetryConcurrency: 3}
			if b.GetBudgetPercent() != nil {
				t.RetryBudget.BudgetPercent = b.GetBudgetPercent().GetValue()
			}
			if v := b.GetMinRetryConcurrency(); v != nil {
				t.RetryBudget.MinRetryConcurrency = v.GetValue()
			}
		}
		leave()
	}
	out.Breaker, out.limits = breaker.New(t), t
}

func (c *compiler) outlierDetection(out *Cluster, m *clusterv3.OutlierDetection) {
	defer c.in("outlier_detection")()
	cfg := outlier.Default()
	cfg.AlwaysEjectOneHost = m.GetAlwaysEjectOneHost().GetValue()
	cfg.SplitLocalOriginErrors = m.GetSplitExternalLocalOriginErrors()
	if d := m.GetInterval(); d != nil {
		cfg.Interval = c.duration("interval", d)
	}
	if d := m.GetBaseEjectionTime(); d != nil {
		cfg.BaseEjectionTime = c.duration("base_ejection_time", d)
	}
	cfg.MaxEjectionTime = c.duration("max_ejection_time", m.GetMaxEjectionTime())
	cfg.MaxEjectionTimeJitter = c.duration("max_ejection_time_jitter", m.GetMaxEjectionTimeJitter())
	outlierNumbers(m, &cfg)
	d, err := outlier.New(cfg)
	if err != nil {
		c.failAs(err, "outlier_detection.")
	}
	// Envoy source/extensions/clusters/original_dst/original_dst_cluster.cc chooseHost: the host
	// that the client meant is taken whatever its health, so that an ejection would change nothing.
	if out.kind != clusterv3.Cluster_ORIGINAL_DST {
		out.detector = d
	}
}

// outlierNumbers sets what the message gives; outlier.New judges it.
func outlierNumbers(m *clusterv3.OutlierDetection, cfg *outlier.Config) {
	for _, f := range []struct {
		to    *uint32
		given *wrapperspb.UInt32Value
	}{
		{&cfg.MaxEjectionPercent, m.MaxEjectionPercent},
		{&cfg.Consecutive5xx, m.Consecutive_5Xx},
		{&cfg.ConsecutiveGatewayFailure, m.ConsecutiveGatewayFailure},
		{&cfg.ConsecutiveLocalOriginFailure, m.ConsecutiveLocalOriginFailure},
		{&cfg.EnforcingConsecutive5xx, m.EnforcingConsecutive_5Xx},
		{&cfg.EnforcingConsecutiveGatewayFailure, m.EnforcingConsecutiveGatewayFailure},
		{&cfg.EnforcingConsecutiveLocalOriginFailure, m.EnforcingConsecutiveLocalOriginFailure},
		{&cfg.EnforcingSuccessRate, m.EnforcingSuccessRate},
		{&cfg.EnforcingLocalOriginSuccessRate, m.EnforcingLocalOriginSuccessRate},
		{&cfg.EnforcingFailurePercentage, m.EnforcingFailurePercentage},
		{&cfg.EnforcingFailurePercentageLocalOrigin, m.EnforcingFailurePercentageLocalOrigin},
		{&cfg.SuccessRateMinimumHosts, m.SuccessRateMinimumHosts},
		{&cfg.SuccessRateRequestVolume, m.SuccessRateRequestVolume},
		{&cfg.SuccessRateStdevFactor, m.SuccessRateStdevFactor},
		{&cfg.FailurePercentageThreshold, m.FailurePercentageThreshold},
		{&cfg.FailurePercentageMinimumHosts, m.FailurePercentageMinimumHosts},
		{&cfg.FailurePercentageRequestVolume, m.FailurePercentageRequestVolume},
	} {
		if f.given == nil {
			continue
		}
		*f.to = f.given.GetValue()
	}
}
