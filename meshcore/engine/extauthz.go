package engine

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
)

// extAuthz is a compiled ExtAuthz filter (extensions/filters/http/ext_authz/ext_authz.cc).
type extAuthz struct {
	service        authorizer
	http           *httpAuthorizer // nil: the service speaks gRPC
	failureAllow   bool
	failureHeader  bool // failure_mode_allow_header_add
	statusOnError  int
	body           *bodySettings // nil: the authorizer is not told the body
	bytes          bool          // pack_as_bytes
	clearRoute     bool
	enabled        *match.Metadata // filter_enabled_metadata
	denyAtDisable  bool
	allowed        *nameList // nil: all
	disallowed     *nameList // nil: none
	certificate    bool      // include_peer_certificate
	session        bool      // include_tls_session
	maxDeniedBytes int       // of the answer's body, 0: no bound
	// context and routeContext are the namespaces of metadata that the authorizer is told.
	context, routeContext []string
}

// authorizer is where the service is.
type authorizer struct {
	cluster   *slot[Cluster]
	name      string // of the cluster
	authority string // of a gRPC call
	timeout   time.Duration
}

// httpAuthorizer is a compiled HttpService.
type httpAuthorizer struct {
	prefix     string
	add        operations
	upstream   nameList
	appended   nameList // allowed_upstream_headers_to_append
	client     nameList // of a denial
	clientAll  bool     // of a denial: all
	onSuccess  nameList
	asMetadata nameList
}

// bodySettings is a compiled BufferSettings.
type bodySettings struct {
	most    int // bytes
	partial bool
}

// authzPerRoute is a compiled ExtAuthzPerRoute.
type authzPerRoute struct {
	disabled   bool
	noBody     bool
	body       *bodySettings
	extensions map[string]string
}

// nameList says which headers are meant, by name.
type nameList []match.String

func (n nameList) has(name string) bool {
	for i := range n {
		if n[i].Match(bytesOf(name)) {
			return true
		}
	}
	return false
}

// defaultAuthzTimeout is Envoy's (extensions/filters/http/ext_authz/config.cc).
const defaultAuthzTimeout = 200 * time.Millisecond

func (c *compiler) extAuthz(m *extauthzv3.ExtAuthz) *extAuthz {
	a := &extAuthz{failureAllow: m.GetFailureModeAllow(), statusOnError: 403,
		failureHeader: m.GetFailureModeAllowHeaderAdd(), clearRoute: m.GetClearRouteCache(),
		denyAtDisable: m.GetDenyAtDisable().GetDefaultValue().GetValue(),
		certificate:   m.GetIncludePeerCertificate(), session: m.GetIncludeTlsSession(),
		maxDeniedBytes: int(m.GetMaxDeniedResponseBodyBytes()),
		context:        m.GetMetadataContextNamespaces(),
		routeContext:   m.GetRouteMetadataContextNamespaces()}
	if s := m.GetStatusOnError(); s != nil {
		a.statusOnError = int(s.GetCode())
	}
	c.authzCommon(a, m.GetTransportApiVersion(), m.GetFilterEnabledMetadata())
	if b := m.GetWithRequestBody(); b != nil {
		leave := c.in("with_request_body")
		a.body, a.bytes = c.bodySettings(b), b.GetPackAsBytes()
		leave()
	}
	if m.GetAllowedHeaders() != nil {
		names := c.nameList("allowed_headers", m.GetAllowedHeaders())
		a.allowed = &names
	}
	if m.GetDisallowedHeaders() != nil {
		names := c.nameList("disallowed_headers", m.GetDisallowedHeaders())
		a.disallowed = &names
	}
	switch s := m.GetServices().(type) {
	case *extauthzv3.ExtAuthz_HttpService:
		leave := c.in("http_service")
		c.httpAuthorizer(a, s.HttpService)
		leave()
	case *extauthzv3.ExtAuthz_GrpcService:
		leave := c.in("grpc_service")
		a.service = c.grpcAuthorizer(s.GrpcService)
		leave()
	default:
		c.fail("services", "value is required")
	}
	return a
}

// authzCommon compiles what the network filter has, too.
func (c *compiler) authzCommon(a *extAuthz, v corev3.ApiVersion, e *matcherv3.MetadataMatcher) {
	if v != corev3.ApiVersion_V3 && v != corev3.ApiVersion_AUTO {
		c.fail("transport_api_version", "must be V3")
	}
	if e != nil {
		leave := c.in("filter_enabled_metadata")
		enabled := c.metadataMatch(e)
		a.enabled = &enabled
		leave()
	}
}

func (c *compiler) bodySettings(m *extauthzv3.BufferSettings) *bodySettings {
	return &bodySettings{most: int(m.GetMaxRequestBytes()), partial: m.GetAllowPartialMessage()}
}

func (c *compiler) nameList(field string, m *matcherv3.ListStringMatcher) nameList {
	out := nameList{}
	for i, p := range m.GetPatterns() {
		leave := c.at(field+".patterns", i)
		out = append(out, c.stringMatch("", p))
		leave()
	}
	return out
}

// exactNames are names that are always meant.
func exactNames(names ...string) nameList {
	var out nameList
	for _, n := range names {
		out = append(out, match.NewString(match.Exact, n, false))
	}
	return out
}

// httpAuthorizer compiles an HttpService (filters/common/ext_authz/ext_authz_http_impl.cc
// ClientConfig).
func (c *compiler) httpAuthorizer(a *extAuthz, m *extauthzv3.HttpService) {
	uri := m.GetServerUri()
	a.service = authorizer{name: uri.GetCluster(), cluster: c.e.clusterSlot(uri.GetCluster()),
		timeout: defaultAuthzTimeout}
	if d := uri.GetTimeout(); d != nil {
		a.service.timeout = c.duration("server_uri.timeout", d)
	}
	if p := m.GetPathPrefix(); p != "" && p[0] != '/' {
		c.fail("path_prefix", "path_prefix should start with \"/\".")
	}
	req, resp := m.GetAuthorizationRequest(), m.GetAuthorizationResponse()
	if req.GetAllowedHeaders() != nil {
		if a.allowed != nil {
			c.fail("authorization_request.allowed_headers",
				"Invalid duplicate configuration for allowed_headers.")
		}
		names := c.nameList("authorization_request.allowed_headers", req.GetAllowedHeaders())
		a.allowed = &names
	}
	// An HTTP authorizer is told little unless it is asked for.
	names := exactNames("authorization", ":method", ":path", ":authority")
	if a.allowed != nil {
		names = append(names, *a.allowed...)
	}
	a.allowed, a.bytes = &names, true
	leave := c.in("authorization_response")
	h := &httpAuthorizer{prefix: m.GetPathPrefix(),
		upstream: c.nameList("allowed_upstream_headers", resp.GetAllowedUpstreamHeaders()),
		appended: c.nameList("allowed_upstream_headers_to_append",
			resp.GetAllowedUpstreamHeadersToAppend()),
		client: c.nameList("allowed_client_headers", resp.GetAllowedClientHeaders()),
		onSuccess: c.nameList("allowed_client_headers_on_success",
			resp.GetAllowedClientHeadersOnSuccess()),
		asMetadata: c.nameList("dynamic_metadata_from_headers",
			resp.GetDynamicMetadataFromHeaders())}
	leave()
	if h.clientAll = len(h.client) == 0; !h.clientAll {
		h.client = append(h.client,
			exactNames("content-length", "www-authenticate", "location")...)
	}
	var add []*corev3.HeaderValueOption
	for _, v := range req.GetHeadersToAdd() {
		add = append(add, &corev3.HeaderValueOption{Header: v,
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD})
	}
	h.add = operations{add: c.additions("authorization_request.headers_to_add", add)}
	a.http = h
}

func (c *compiler) grpcAuthorizer(m *corev3.GrpcService) authorizer {
	g := m.GetEnvoyGrpc()
	if g == nil {
		c.notCarried("", "a target_specifier that is not envoy_grpc")
		return authorizer{}
	}
	out := authorizer{name: g.GetClusterName(), cluster: c.e.clusterSlot(g.GetClusterName()),
		authority: g.GetAuthority(), timeout: defaultAuthzTimeout}
	if out.authority == "" {
		out.authority = out.name // grpc/async_client_impl.cc
	}
	if d := m.GetTimeout(); d != nil {
		out.timeout = c.duration("timeout", d)
	}
	return out
}

func (c *compiler) authzPerRoute(m *extauthzv3.ExtAuthzPerRoute) *authzPerRoute {
	out := &authzPerRoute{disabled: m.GetDisabled()}
	switch o := m.GetOverride().(type) {
	case *extauthzv3.ExtAuthzPerRoute_Disabled:
		if !o.Disabled {
			c.fail("disabled", "value must equal true")
		}
	case *extauthzv3.ExtAuthzPerRoute_CheckSettings:
		s := o.CheckSettings
		out.extensions = s.GetContextExtensions()
		out.noBody = s.GetDisableRequestBodyBuffering()
		if b := s.GetWithRequestBody(); b != nil {
			if out.noBody {
				c.fail("check_settings", "Invalid configuration for check_settings. Only one of "+
					"disable_request_body_buffering and with_request_body can be set.")
			}
			out.body = c.bodySettings(b)
		}
	default:
		c.fail("override", "value is required")
	}
	return out
}
