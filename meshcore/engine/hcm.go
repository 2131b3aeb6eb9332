package engine

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
)

// HTTPOptions are the settings of an HTTP connection manager that the driver carries out.
type HTTPOptions struct {
	IdleTimeout           time.Duration // connection without request: 1 h unless set, 0 none
	StreamIdleTimeout     time.Duration // 5 min unless set, 0 none
	RequestHeadersTimeout time.Duration // request head received, 0 none
	DelayedCloseTimeout   time.Duration // 1 s unless set
	MaxConnectionDuration time.Duration // 0 none
	MaxRequests           int           // max_requests_per_connection, 0 none
	MaxHeadersKB          int           // 60 unless set
	MaxHeaders            int           // 100 unless set
	Proxy100Continue      bool
	AcceptHTTP10          bool
	HTTP2                 bool // codec_type HTTP2: prior knowledge only
	ServerName            string
}

// What an HTTP filter is.
type filterKind uint8

const (
	filterFault filterKind = iota + 1
	filterCors
	filterRBAC
	filterJWT
	filterExtAuthz
	filterRouter
	filterSetState
)

type httpFilter struct {
	kind  filterKind
	name  string // the key of per-route settings
	fault *fault
	rbac  *rbacFilter
	jwt   *jwtFilter
	authz *extAuthz
	state []stateValue
}

// hcm is a compiled HTTP connection manager.
type hcm struct {
	opt      HTTPOptions
	routes   *slot[routeConfig]
	filters  []httpFilter
	outbound bool // tracing's operation name: egress
	tracing  bool

	remote        bool // use_remote_address
	trustedHops   int
	skipXFF       bool
	generateID    bool
	preserveID    bool
	idInResponse  bool
	normalize     bool
	merge         bool
	escaped       hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction
	stripAnyPort  bool
	stripPort     bool
	underscores   corev3.HttpProtocolOptions_HeadersWithUnderscoresAction
	via           string
	server        hcmv3.HttpConnectionManager_ServerHeaderTransformation
	maxStream     time.Duration
	upgrades      map[string]bool
	suppress      bool // router's suppress_envoy_headers
	defaultHost10 string
	xfcc          clientCert
}

const (
	keepSlashes     = hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	rejectSlashes   = hcmv3.HttpConnectionManager_REJECT_REQUEST
	redirectSlashes = hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT
)

func (c *compiler) hcm(l *Listener, m *hcmv3.HttpConnectionManager) *hcm {
	h := &hcm{outbound: l.Outbound, tracing: m.GetTracing() != nil,
		remote:      m.GetUseRemoteAddress().GetValue(),
		trustedHops: int(m.GetXffNumTrustedHops()), skipXFF: m.GetSkipXffAppend(),
		generateID:   m.GetGenerateRequestId() == nil || m.GetGenerateRequestId().GetValue(),
		preserveID:   m.GetPreserveExternalRequestId(),
		idInResponse: m.GetAlwaysSetRequestIdInResponse(),
		normalize:    m.GetNormalizePath().GetValue(), merge: m.GetMergeSlashes(),
		escaped: m.GetPathWithEscapedSlashesAction(), stripPort: m.GetStripMatchingHostPort(),
		stripAnyPort: m.GetStripAnyHostPort(), via: m.GetVia(),
		server: m.GetServerHeaderTransformation(), upgrades: map[string]bool{},
		xfcc: clientCertOf(m)}
	if h.escaped == hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT {
		h.escaped = keepSlashes
	}
	c.httpOptions(h, m)
	if h.stripPort && h.stripAnyPort {
		c.fail("strip_any_host_port",
			"Only one of `strip_matching_host_port` or `strip_any_host_port` can be set.")
	}
	c.duration("drain_timeout", m.GetDrainTimeout())
	if m.GetAddUserAgent().GetValue() {
		c.fail("add_user_agent", notCarried)
	}
	for _, u := range m.GetUpgradeConfigs() {
		on := u.GetEnabled() == nil || u.GetEnabled().GetValue()
		if _, twice := h.upgrades[lowerASCII(u.GetUpgradeType())]; twice {
			c.fail("upgrade_configs", "multiple upgrade configs with the same name: '%s'",
				u.GetUpgradeType())
		}
		h.upgrades[lowerASCII(u.GetUpgradeType())] = on
	}
	if id := m.GetRequestIdExtension(); id != nil {
		if u := (&uuidv3.UuidRequestIdConfig{}); !c.any(id.GetTypedConfig(), u) {
			c.fail("request_id_extension", notCarried)
		}
	}
	switch r := m.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_Rds:
		if r.Rds.GetRouteConfigName() == "" { // Envoy asks for routes of no name
			c.notCarried("rds.route_config_name", "an empty name")
		}
		if r.Rds.GetConfigSource().GetConfigSourceSpecifier() == nil {
			c.fail("rds.config_source", "Missing config source specifier")
		}
		h.routes = c.e.routeSlot(r.Rds.GetRouteConfigName())
	case *hcmv3.HttpConnectionManager_RouteConfig:
		leave := c.in("route_config")
		h.routes = &slot[routeConfig]{}
		h.routes.Store(c.routeConfig(r.RouteConfig))
		leave()
	default:
		c.fail("route_specifier", "value is required")
	}
	c.httpFilters(h, m.GetHttpFilters())
	return h
}

func (c *compiler) httpOptions(h *hcm, m *hcmv3.HttpConnectionManager) {
	h.opt = HTTPOptions{IdleTimeout: time.Hour, StreamIdleTimeout: 5 * time.Minute,
		DelayedCloseTimeout: time.Second, MaxHeadersKB: 60, MaxHeaders: 100, ServerName: "envoy",
		Proxy100Continue: m.GetProxy_100Continue(),
		AcceptHTTP10:     m.GetHttpProtocolOptions().GetAcceptHttp_10(),
		HTTP2:            m.GetCodecType() == hcmv3.HttpConnectionManager_HTTP2}
	o := &h.opt
	if m.GetCodecType() == hcmv3.HttpConnectionManager_HTTP3 {
		c.fail("codec_type", "HTTP3 "+notCarried)
	}
	if s := m.GetServerName(); s != "" {
		o.ServerName = s
	}
	if d := m.GetStreamIdleTimeout(); d != nil {
		o.StreamIdleTimeout = c.duration("stream_idle_timeout", d)
	}
	if d := m.GetDelayedCloseTimeout(); d != nil {
		o.DelayedCloseTimeout = c.duration("delayed_close_timeout", d)
	}
	if c.duration("request_timeout", m.GetRequestTimeout()) > 0 {
		c.fail("request_timeout", notCarried)
	}
	o.RequestHeadersTimeout = c.duration("request_headers_timeout", m.GetRequestHeadersTimeout())
	if kb := m.GetMaxRequestHeadersKb(); kb != nil {
		o.MaxHeadersKB = int(kb.GetValue())
		if kb.GetValue() == 0 || kb.GetValue() > 8192 {
			c.fail("max_request_headers_kb", "value must be inside range (0, 8192]")
		}
	}
	p := m.GetCommonHttpProtocolOptions()
	if d := p.GetIdleTimeout(); d != nil {
		o.IdleTimeout = c.duration("common_http_protocol_options.idle_timeout", d)
	}
	o.MaxConnectionDuration = c.duration("common_http_protocol_options.max_connection_duration",
		p.GetMaxConnectionDuration())
	h.maxStream = c.duration("common_http_protocol_options.max_stream_duration",
		p.GetMaxStreamDuration())
	o.MaxRequests = int(p.GetMaxRequestsPerConnection().GetValue())
	if n := p.GetMaxHeadersCount(); n != nil {
		o.MaxHeaders = int(n.GetValue())
	}
	h.underscores = p.GetHeadersWithUnderscoresAction()
	h.defaultHost10 = m.GetHttpProtocolOptions().GetDefaultHostForHttp_10()
}

func (c *compiler) httpFilters(h *hcm, list []*hcmv3.HttpFilter) {
	for i, m := range list {
		leave := c.at("http_filters", i)
		f := httpFilter{name: m.GetName()}
		leaveAny := c.in("typed_config")
		fm, rm := &faultv3.HTTPFault{}, &routerv3.Router{}
		jm := &jwtv3.JwtAuthentication{}
		bm, em := &httprbacv3.RBAC{}, &extauthzv3.ExtAuthz{}
		sm := &setstatev3.Config{}
		switch a := m.GetTypedConfig(); {
		case c.any(a, fm):
			f.kind, f.fault = filterFault, c.fault(fm)
		case c.any(a, &corsv3.Cors{}):
			f.kind = filterCors
		case c.any(a, jm):
			f.kind, f.jwt = filterJWT, c.jwt(jm)
		case c.any(a, bm):
			f.kind, f.rbac = filterRBAC, c.rbac(bm)
		case c.any(a, em):
			f.kind, f.authz = filterExtAuthz, c.extAuthz(em)
		case c.any(a, &grpcstatsv3.FilterConfig{}):
		case c.any(a, sm):
			f.kind, f.state = filterSetState, c.filterState(sm)
		case c.any(a, rm):
			f.kind, h.suppress = filterRouter, rm.GetSuppressEnvoyHeaders()
		default:
			c.fail("", "%s %s", m.GetName(), notCarried)
		}
		leaveAny()
		if m.GetDisabled() {
			c.fail("disabled", notCarried)
		}
		if last := i == len(list)-1; last != (f.kind == filterRouter) {
			// Envoy: "Error: terminal filter named X of type Y must be the last filter in a http
			// filter chain", and the reverse.
			c.fail("", "terminal filter envoy.filters.http.router must be the last filter, "+
				"and the last filter must be terminal")
		}
		if f.kind != 0 {
			h.filters = append(h.filters, f)
		}
		leave()
	}
	if len(list) == 0 {
		// The real one accepts such a chain and never answers.
		c.notCarried("http_filters", "a chain without a router filter")
	}
}
