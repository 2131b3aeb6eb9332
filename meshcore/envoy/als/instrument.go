package als

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// namespace is where our own things are: metadata, filter state, the tag of log entries, log_name.
const namespace = "mesh-lab"

// flushInterval bounds how late a record comes.
const flushInterval = time.Millisecond

// What a log entry tells in its tag, one value a line.
const (
	tagConnection = iota // number of the downstream connection
	tagListener
	tagReporter
	tagChain
	tagFlags    // as Envoy writes them
	tagConfig   // the route's Istio object
	tagCluster  // also when no host was chosen
	tagWorkload // of the upstream host
	tagMirrors  // how many copies the route makes
	tagMethod
	tagSNI
	tagTLS
	tagPeer
	tagUpstreamTLS
	tagUpstreamPeer
	tagUpstreamFailure
	tagTermination // why a connection was ended
	// tagRest is, of requests, what requestFormat noted, line by line; of connections, the hosts
	// tried.
	tagRest
)

// tagFormat makes the tag. It is the same for all HTTP loggers of a proxy, so that they share one
// stream: Envoy makes one for each different configuration (grpc_access_logger.h
// getOrCreateLogger).
func tagFormat(rest string) string {
	return strings.Join([]string{
		tagConnection: "%CONNECTION_ID%",
		tagListener:   "%METADATA(LISTENER:mesh-lab:listener)%",
		tagReporter:   "%METADATA(LISTENER:mesh-lab:reporter)%",
		tagChain:      "%FILTER_CHAIN_NAME%",
		tagFlags:      "%RESPONSE_FLAGS%",
		tagConfig:     "%METADATA(ROUTE:istio:config)%",
		tagCluster:    "%UPSTREAM_CLUSTER_RAW%",
		tagWorkload:   "%UPSTREAM_METADATA(istio:workload)%",
		tagMirrors:    "%METADATA(ROUTE:mesh-lab:mirrors)%",
		tagMethod:     "%REQ(:METHOD)%",

		tagSNI:             "%REQUESTED_SERVER_NAME%",
		tagTLS:             "%DOWNSTREAM_TLS_VERSION%",
		tagPeer:            "%DOWNSTREAM_PEER_URI_SAN%",
		tagUpstreamTLS:     "%UPSTREAM_TLS_VERSION%",
		tagUpstreamPeer:    "%UPSTREAM_PEER_URI_SAN%",
		tagUpstreamFailure: "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
		tagTermination:     "%CONNECTION_TERMINATION_DETAILS%",
		tagRest:            rest,
	}, "\n")
}

// requestFormat notes the request as it is matched, before the router changes it.
func requestFormat(keep []string) string {
	var b strings.Builder
	b.WriteString("%REQ(X-REQUEST-ID)%\n%REQ(:PATH)%\n%REQ(:AUTHORITY)%\n%REQ(USER-AGENT)%")
	for _, h := range keep {
		if plainName.MatchString(h) {
			// All its lines; REQ has the first.
			fmt.Fprintf(&b, "\n%%CEL(request.headers['%s'])%%", h)
		} else {
			fmt.Fprintf(&b, "\n%%REQ(%s)%%", h)
		}
	}
	return b.String()
}

// plainName is a header's name that needs no quoting anywhere.
var plainName = regexp.MustCompile(`^[a-z0-9_-]+$`)

// Instrument returns a copy of a listener that reports to us: cluster is the cluster of the access
// log service, keep names the request headers that records keep. What the listener does to
// requests stays as it is.
func Instrument(l *listenerv3.Listener, cluster string, keep []string) (
	*listenerv3.Listener, error) {
	l = proto.CloneOf(l)
	i := instrument{cluster: cluster, keep: keep}
	reporter := "destination"
	if l.GetTrafficDirection() == corev3.TrafficDirection_OUTBOUND {
		reporter = "source"
	}
	l.Metadata = mark(l.GetMetadata(), map[string]*structpb.Value{
		"listener": structpb.NewStringValue(l.GetName()),
		"reporter": structpb.NewStringValue(reporter),
	})
	for n, c := range l.GetFilterChains() {
		if err := i.chain(c); err != nil {
			return nil, fmt.Errorf("listener %s: filter_chains[%d].%w", l.GetName(), n, err)
		}
	}
	if c := l.GetDefaultFilterChain(); c != nil {
		if err := i.chain(c); err != nil {
			return nil, fmt.Errorf("listener %s: default_filter_chain.%w", l.GetName(), err)
		}
	}
	l.AccessLog = append(l.AccessLog, i.unmatched())
	return l, nil
}

// InstrumentRoutes returns a copy of a route configuration whose routes tell how many copies they
// make of a request; r itself when no route makes any.
func InstrumentRoutes(r *routev3.RouteConfiguration) *routev3.RouteConfiguration {
	mirrors := func(r *routev3.Route) bool {
		return len(r.GetRoute().GetRequestMirrorPolicies()) > 0
	}
	if !slices.ContainsFunc(r.GetVirtualHosts(), func(v *routev3.VirtualHost) bool {
		return slices.ContainsFunc(v.GetRoutes(), mirrors)
	}) {
		return r
	}
	r = proto.CloneOf(r)
	for _, v := range r.GetVirtualHosts() {
		for _, t := range v.GetRoutes() {
			if mirrors(t) {
				t.Metadata = mark(t.GetMetadata(), map[string]*structpb.Value{
					"mirrors": structpb.NewStringValue(copies(t.GetRoute())),
				})
			}
		}
	}
	return r
}

// perhaps is behind a number of copies when a request may have fewer: chance decides.
const perhaps = "?"

// copies says how many copies a route makes of a request.
func copies(r *routev3.RouteAction) string {
	n := fmt.Sprint(len(r.GetRequestMirrorPolicies()))
	for _, p := range r.GetRequestMirrorPolicies() {
		f := p.GetRuntimeFraction().GetDefaultValue()
		if f != nil && f.GetNumerator() < denominators[f.GetDenominator()] {
			return n + perhaps
		}
	}
	return n
}

var denominators = map[typev3.FractionalPercent_DenominatorType]uint32{
	typev3.FractionalPercent_HUNDRED:      100,
	typev3.FractionalPercent_TEN_THOUSAND: 10_000,
	typev3.FractionalPercent_MILLION:      1_000_000,
}

// mark adds our metadata.
func mark(m *corev3.Metadata, fields map[string]*structpb.Value) *corev3.Metadata {
	if m == nil {
		m = &corev3.Metadata{}
	}
	if m.FilterMetadata == nil {
		m.FilterMetadata = map[string]*structpb.Struct{}
	}
	m.FilterMetadata[namespace] = &structpb.Struct{Fields: fields}
	return m
}

type instrument struct {
	cluster string
	keep    []string
}

// chain adds access logs to the filters of a chain that end it.
func (i instrument) chain(c *listenerv3.FilterChain) error {
	for n, f := range c.GetFilters() {
		if err := i.filter(f); err != nil {
			return fmt.Errorf("filters[%d].typed_config: %w", n, err)
		}
	}
	return nil
}

func (i instrument) filter(f *listenerv3.Filter) error {
	a := f.GetTypedConfig()
	m, err := open(a, &hcmv3.HttpConnectionManager{}, &tcpproxyv3.TcpProxy{})
	switch m := m.(type) {
	case *hcmv3.HttpConnectionManager:
		err = i.http(m)
	case *tcpproxyv3.TcpProxy:
		m.AccessLog = append(m.AccessLog, i.tcp())
	}
	if err != nil || m == nil {
		return err
	}
	return a.MarshalFrom(m)
}

// http adds the log of requests and, in the router, that of attempts.
func (i instrument) http(m *hcmv3.HttpConnectionManager) error {
	m.AccessLog = append(m.AccessLog, i.requests())
	for n, f := range m.GetHttpFilters() {
		a := f.GetTypedConfig()
		o, err := open(a, &routerv3.Router{})
		if err != nil {
			return fmt.Errorf("http_filters[%d].typed_config: %w", n, err)
		}
		if r, ok := o.(*routerv3.Router); ok {
			r.UpstreamLog = append(r.UpstreamLog, i.attempts())
			if err := a.MarshalFrom(r); err != nil {
				return err
			}
		}
	}
	m.HttpFilters = slices.Insert(m.HttpFilters, 0, i.note())
	return nil
}

// open unpacks a, if it is one of these.
func open(a *anypb.Any, kinds ...proto.Message) (proto.Message, error) {
	for _, m := range kinds {
		if a.MessageIs(m) {
			return m, a.UnmarshalTo(m)
		}
	}
	return nil, nil
}

// note is a filter that remembers the request.
func (i instrument) note() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: "envoy.filters.http.set_filter_state",
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(&setstatev3.Config{
			OnRequestHeaders: []*statev3.FilterStateValue{{
				Key:        &statev3.FilterStateValue_ObjectKey{ObjectKey: namespace},
				FactoryKey: "envoy.string",
				Value: &statev3.FilterStateValue_FormatString{
					FormatString: &corev3.SubstitutionFormatString{
						Format: &corev3.SubstitutionFormatString_TextFormatSource{
							TextFormatSource: &corev3.DataSource{
								Specifier: &corev3.DataSource_InlineString{
									InlineString: requestFormat(i.keep),
								},
							},
						},
						OmitEmptyValues: true,
					},
				},
			}},
		})},
	}
}

func pack(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic("als: " + err.Error()) // of our own making
	}
	return a
}

func (i instrument) common(rest string) *grpclogv3.CommonGrpcAccessLogConfig {
	return &grpclogv3.CommonGrpcAccessLogConfig{
		LogName:             namespace,
		TransportApiVersion: corev3.ApiVersion_V3,
		GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: i.cluster},
			},
		},
		BufferFlushInterval: durationpb.New(flushInterval),
		BufferSizeBytes:     wrapperspb.UInt32(16 << 10),
		CustomTags: []*tracingv3.CustomTag{{
			Tag: namespace, Type: &tracingv3.CustomTag_Value{Value: tagFormat(rest)},
		}},
	}
}

// requests is the log of requests; it has the headers that records keep, since what the first
// filter notes does not tell one without a value from one that is not there.
func (i instrument) requests() *accesslogv3.AccessLog {
	return i.logged(&grpclogv3.HttpGrpcAccessLogConfig{AdditionalRequestHeadersToLog: i.keep})
}

// attempts is the log of attempts and copies.
func (i instrument) attempts() *accesslogv3.AccessLog {
	return i.logged(&grpclogv3.HttpGrpcAccessLogConfig{
		AdditionalResponseHeadersToLog: []string{grpcStatus}})
}

const grpcStatus = "grpc-status"

func (i instrument) logged(c *grpclogv3.HttpGrpcAccessLogConfig) *accesslogv3.AccessLog {
	c.CommonConfig = i.common("%FILTER_STATE(mesh-lab:PLAIN)%")
	return &accesslogv3.AccessLog{
		Name:       "envoy.access_loggers.http_grpc",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(c)},
	}
}

func (i instrument) tcp() *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.tcp_grpc",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{
			TypedConfig: pack(&grpclogv3.TcpGrpcAccessLogConfig{
				CommonConfig: i.common("%UPSTREAM_HOSTS_ATTEMPTED%"),
			}),
		},
	}
}

// unmatched is the log of connections that no filter chain takes.
func (i instrument) unmatched() *accesslogv3.AccessLog {
	l := i.tcp()
	l.Filter = &accesslogv3.AccessLogFilter{
		FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}},
		},
	}
	return l
}
