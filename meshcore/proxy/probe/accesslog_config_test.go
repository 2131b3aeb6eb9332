package probe

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/req_without_query/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// logOperators are all operators that are carried out, alone, and their parameters.
const logOperators = `REQ(x-b) REQ(nope?x-b) REQ(x-b):2 REQ(x-b):0 REQ(:path) REQ(host)
	REQ(X-FORWARDED-PROTO) REQ(connection) REQ(transfer-encoding) REQ(content-length) REQ(?x-b)
	REQUEST_HEADER(:authority) STREAM_INFO_REQ(x-a) RESP(X-RESP) RESP(:status) RESP(content-length)
	RESP(transfer-encoding) RESP(server) RESP(location) RESPONSE_HEADER(x-r) TRAILER(x-t)
	RESPONSE_TRAILER(x-t) LOCAL_REPLY_BODY ACCESS_LOG_TYPE GRPC_STATUS GRPC_STATUS(SNAKE_STRING)
	GRPC_STATUS(NUMBER) GRPC_STATUS(CAMEL_STRING) GRPC_STATUS_NUMBER QUERY_PARAM(q)
	QUERY_PARAM(q):1 QUERY_PARAM(kA) QUERY_PARAM(k) QUERY_PARAM(nope) QUERY_PARAMS
	QUERY_PARAMS(ORIG):4 PATH PATH(NQ) PATH(NQ:PATH) PATH(WQ:ORIG) PATH(WQ:ORIG_OR_PATH):4 PATH(:PATH)
	REQ_WITHOUT_QUERY(x-envoy-original-path?:path) REQ_WITHOUT_QUERY(:path):3 REQ_WITHOUT_QUERY(nope)
	REQUEST_DURATION REQUEST_TX_DURATION RESPONSE_DURATION RESPONSE_TX_DURATION
	DURATION
	UPSTREAM_CONNECTION_POOL_READY_DURATION COMMON_DURATION(DS_RX_BEG:DS_RX_END)
	COMMON_DURATION(DS_RX_BEG:DS_TX_END:us) COMMON_DURATION(DS_RX_BEG:DS_TX_BEG:ns)
	COMMON_DURATION(US_CX_BEG:US_CX_END:ms) COMMON_DURATION(US_TX_BEG:US_TX_END)
	COMMON_DURATION(US_RX_BEG:US_RX_END) COMMON_DURATION(DS_RX_BEG:nope) COMMON_DURATION(US_HS_END:DS_TX_END)
	COMMON_DURATION(DS_RX_BEG:US_RX_BODY_BEG) COMMON_DURATION(DS_CX_BEG:DS_CX_END) COMMON_DURATION(DS_CX_BEG:DS_RX_END)
	COMMON_DURATION(DS_RX_BEG:DS_CX_END) COMMON_DURATION(DS_CX_BEG:US_RX_BEG)
	BYTES_RECEIVED BYTES_SENT BYTES_RETRANSMITTED PACKETS_RETRANSMITTED PROTOCOL UPSTREAM_PROTOCOL
	RESPONSE_CODE RESPONSE_CODE_DETAILS RESPONSE_CODE_DETAILS(X) 	CUSTOM_FLAGS RESPONSE_FLAGS RESPONSE_FLAGS_LONG UPSTREAM_HOST UPSTREAM_HOST_NAME
	UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT
	UPSTREAM_HOST_NAMES_ATTEMPTED UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT
	UPSTREAM_CONNECTION_IDS_ATTEMPTED UPSTREAM_CONNECTION_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW
	UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(16)
	UPSTREAM_LOCAL_PORT UPSTREAM_REMOTE_ADDRESS UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
	UPSTREAM_REMOTE_PORT UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID UPSTREAM_REQUEST_ATTEMPT_COUNT
	UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_METADATA(ns) UPSTREAM_METADATA(ns:k)
	CLUSTER_METADATA(ns) CLUSTER_METADATA(ns:k) CLUSTER_METADATA(no:k) DYNAMIC_METADATA(ns:k):3
	METADATA(ROUTE:ns) METADATA(ROUTE:ns:k):3 METADATA(ROUTE:ns:o) METADATA(ROUTE:ns:o:i)
	METADATA(ROUTE:ns:o:l):5 METADATA(ROUTE:ns:o:nul) METADATA(ROUTE:ns:no) METADATA(VIRTUAL_HOST:ns)
	METADATA(LISTENER:ns) METADATA(LISTENER_FILTER_CHAIN:ns:k) METADATA(CLUSTER:ns):4
	METADATA(UPSTREAM_HOST:ns:k) METADATA(DYNAMIC:ns) FILTER_STATE(mine) FILTER_STATE(mine:PLAIN):3
	UPSTREAM_FILTER_STATE(mine:FIELD:f) DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT
	DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(8) DOWNSTREAM_LOCAL_PORT
	DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID
	DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT
	DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(X) DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(99)
	DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(-1) DOWNSTREAM_REMOTE_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS
	DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_PORT CONNECTION_ID
	REQUESTED_SERVER_NAME ROUTE_NAME HOSTNAME FILTER_CHAIN_NAME 	UNIQUE_ID STREAM_ID START_TIME
	START_TIME_LOCAL EMIT_TIME EMIT_TIME_LOCAL START_TIME(%ET) ENVIRONMENT(MESHLAB_PROBE)
	ENVIRONMENT(MESHLAB_PROBE):3 ENVIRONMENT(MESHLAB_NOPE)`

// absentOperators never have a value here.
const absentOperators = `DOWNSTREAM_TLS_CIPHER DOWNSTREAM_TLS_GROUP
	DOWNSTREAM_TLS_VERSION DOWNSTREAM_PEER_ISSUER DOWNSTREAM_PEER_CERT
	DOWNSTREAM_PEER_SUBJECT DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_PEER_DNS_SAN DOWNSTREAM_PEER_IP_SAN
	DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_IP_SAN
	DOWNSTREAM_PEER_EMAIL_SAN DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_PEER_FINGERPRINT_256
	DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_SERIAL
	DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_PEER_CERT_V_END(%Y) DOWNSTREAM_TRANSPORT_FAILURE_REASON
	UPSTREAM_TLS_CIPHER UPSTREAM_TLS_GROUP UPSTREAM_TLS_VERSION
	UPSTREAM_PEER_ISSUER UPSTREAM_PEER_CERT UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN
	UPSTREAM_PEER_DNS_SAN UPSTREAM_PEER_IP_SAN UPSTREAM_LOCAL_URI_SAN UPSTREAM_LOCAL_DNS_SAN
	UPSTREAM_LOCAL_IP_SAN UPSTREAM_PEER_CERT_V_START UPSTREAM_PEER_CERT_V_END
	TRACE_ID SPAN_ID DOWNSTREAM_HANDSHAKE_DURATION ROUNDTRIP_DURATION VIRTUAL_CLUSTER_NAME
	CONNECTION_TERMINATION_DETAILS TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT UPSTREAM_SERVER_NAME`

// byteOperators depend on every byte; x-envoy-upstream-service-time must not be among them.
const byteOperators = `REQUEST_HEADERS_BYTES RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES
	DOWNSTREAM_WIRE_BYTES_RECEIVED DOWNSTREAM_WIRE_BYTES_SENT DOWNSTREAM_HEADER_BYTES_RECEIVED
	DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED
	DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT UPSTREAM_WIRE_BYTES_RECEIVED UPSTREAM_WIRE_BYTES_SENT
	UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT
	UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT
	RESPONSE_CODE`

// istioText and istioJSON are what istiod writes when nothing is said (pilot/pkg/model/
// telemetry_logging.go).
const (
	istioText = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ` +
		`%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% ` +
		`%CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% ` +
		`%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ` +
		`"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" ` +
		`"%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% ` +
		`%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n"
	istioJSON = `{"start_time":"%START_TIME%","route_name":"%ROUTE_NAME%","method":"%REQ(:METHOD)%",
		"path":"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%","protocol":"%PROTOCOL%",
		"response_code":"%RESPONSE_CODE%","response_flags":"%RESPONSE_FLAGS%",
		"response_code_details":"%RESPONSE_CODE_DETAILS%",
		"connection_termination_details":"%CONNECTION_TERMINATION_DETAILS%",
		"bytes_received":"%BYTES_RECEIVED%","bytes_sent":"%BYTES_SENT%","duration":"%DURATION%",
		"upstream_service_time":"%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
		"x_forwarded_for":"%REQ(X-FORWARDED-FOR)%","user_agent":"%REQ(USER-AGENT)%",
		"request_id":"%REQ(X-REQUEST-ID)%","authority":"%REQ(:AUTHORITY)%",
		"upstream_host":"%UPSTREAM_HOST%","upstream_cluster":"%UPSTREAM_CLUSTER_RAW%",
		"upstream_local_address":"%UPSTREAM_LOCAL_ADDRESS%",
		"downstream_local_address":"%DOWNSTREAM_LOCAL_ADDRESS%",
		"downstream_remote_address":"%DOWNSTREAM_REMOTE_ADDRESS%",
		"requested_server_name":"%REQUESTED_SERVER_NAME%",
		"upstream_transport_failure_reason":"%UPSTREAM_TRANSPORT_FAILURE_REASON%"}`
	nestedJSON = `{"z":"%PROTOCOL%","a":{"y":"%REQ(zz)%","x":{"w":"%REQ(zz)%"},"lit":null},
		"l":["%REQ(zz)%",1,"x",true,null,{"q":"%REQ(x-b)%"}],"n1":1.5,"n2":100000,"n3":1e21,"n4":0.00001,
		"s":"pl\"ain","k\"e\\yé":"%BYTES_SENT%","pp":"%%","m":"%REQ(zz)%%REQ(x-b)%","m2":"é%REQ(user-agent)%",
		"B":"%BYTES_RECEIVED%","o":{},"e":[],"f":"%RESPONSE_FLAGS%%REQ(zz)%",
		"c":"%COALESCE({\"operators\":[\"ROUTE_NAME\",{\"command\":\"REQ\",\"param\":\":path\",\"max_length\":3}]}):6%",
		"c2":"%COALESCE({\"operators\":[\"REQUESTED_SERVER_NAME\",\"BYTES_SENT\"]}):1%"}`
)

// logFormats are the logs of each HTTP connection, by file name.
func logFormats() map[string]string {
	line := func(ops string) string {
		var b strings.Builder
		for _, op := range strings.Fields(ops) {
			fmt.Fprintf(&b, "%s=%%%s%%\n", strings.ReplaceAll(op, "%", "%%"), op)
		}
		return b.String()
	}
	object := func(ops string) string {
		m := map[string]string{}
		for _, op := range strings.Fields(ops) {
			m[op] = "%" + op + "%"
		}
		data, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		return string(data)
	}
	quoted := func(s string) string {
		data, err := json.Marshal(s)
		if err != nil {
			panic(err)
		}
		return string(data)
	}
	const without = `,"formatters":[{"name":"w","typedConfig":{"@type":
		"type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"}}]`
	text := func(s string) string {
		return `{"logFormat":{"textFormatSource":{"inlineString":` + quoted(s) + `}` + without + `}}`
	}
	return map[string]string{
		"default":       `{}`,
		"deprecated":    `{"format":"%PROTOCOL% %REQ(zz)%\n"}`,
		"typed-json":    `{"typedJsonFormat":{"p":"%PROTOCOL%","z":"%REQ(zz)%"}}`,
		"istio-text":    text(istioText),
		"istio-json":    `{"logFormat":{"jsonFormat":` + istioJSON + `}}`,
		"operators":     text("---\n" + line(logOperators)),
		"json":          `{"logFormat":{"jsonFormat":` + object(logOperators) + without + `}}`,
		"json-omitted":  `{"logFormat":{"omitEmptyValues":true,"jsonFormat":` + object(logOperators) + without + `}}`,
		"omitted":       `{"logFormat":{"omitEmptyValues":true,"textFormat":"%REQ(zz)%|%PROTOCOL%|%%|%ENVIRONMENT(NOPE)%|%COALESCE({\"operators\":[\"REQUESTED_SERVER_NAME\",\"BYTES_RECEIVED\"]}):1%\n"}}`,
		"nested":        `{"logFormat":{"jsonFormat":` + nestedJSON + `,"jsonFormatOptions":{"sortProperties":true}}}`,
		"nested-omit":   `{"logFormat":{"omitEmptyValues":true,"jsonFormat":` + nestedJSON + `}}`,
		"bytes":         text("---\n" + line(byteOperators)),
		"absent":        text("%" + strings.Join(strings.Fields(absentOperators), "% %") + "%\n"),
		"filter-flags":  text("%RESPONSE_CODE% %RESPONSE_FLAGS%\n"),
		"filter-any":    text("%RESPONSE_CODE% %RESPONSE_FLAGS%\n"),
		"filter-status": text("%RESPONSE_CODE% %RESPONSE_FLAGS%\n"),
		"tcp":           text("---\n" + line(logOperators)),
		"tcp-json":      `{"logFormat":{"jsonFormat":` + istioJSON + `}}`,
		"tcp-bytes":     text("---\n" + line(byteOperators)),
		"nochain":       text("---\n" + line(logOperators)),
		"nochain-text":  text(istioText),
	}
}

func logNames() []string { return slices.Sorted(maps.Keys(logFormats())) }

var logFilters = map[string]string{
	"filter-flags":  `{"responseFlagFilter":{"flags":["UF","NR"]}}`,
	"filter-any":    `{"orFilter":{"filters":[{"responseFlagFilter":{}},{"responseFlagFilter":{"flags":["DI"]}}]}}`,
	"filter-status": `{"andFilter":{"filters":[{"statusCodeFilter":{"comparison":{"op":"GE","value":{"defaultValue":400,"runtimeKey":"x"}}}},{"statusCodeFilter":{"comparison":{"op":"LE","value":{"defaultValue":499,"runtimeKey":"x"}}}}]}}`,
	"nochain":       `{"responseFlagFilter":{"flags":["NR"]}}`,
	"nochain-text":  `{"responseFlagFilter":{"flags":["NR"]}}`,
}

// logs are the access logs of these names.
func (b *logBed) logs(t *testing.T, names ...string) []*accesslogv3.AccessLog {
	t.Helper()
	var out []*accesslogv3.AccessLog
	for _, n := range names {
		f := &filelogv3.FileAccessLog{}
		decode(t, logFormats()[n], f)
		f.Path = filepath.Join(b.dir, n)
		l := &accesslogv3.AccessLog{Name: "envoy.access_loggers.file",
			ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: typed(f)}}
		if text, ok := logFilters[n]; ok {
			l.Filter = &accesslogv3.AccessLogFilter{}
			decode(t, text, l.Filter)
		}
		out = append(out, l)
	}
	return out
}

func decode(t *testing.T, text string, m proto.Message) {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

const loggedRoutes = `{"statPrefix":"x","normalizePath":true,"delayedCloseTimeout":"0s","routeConfig":{"name":"r","validateClusters":false,
	"virtualHosts":[{"name":"vh","domains":["*"],"metadata":{"filterMetadata":{"ns":{"k":"vh"}}},"routes":[
	{"name":"missing","match":{"prefix":"/nocluster"},"route":{"cluster":"none"}},
	{"name":"empty","match":{"prefix":"/empty"},"route":{"cluster":"empty"}},
	{"name":"refused","match":{"prefix":"/refused"},"route":{"cluster":"refused",
		"retryPolicy":{"retryOn":"connect-failure","numRetries":1}}},
	{"name":"direct","match":{"prefix":"/direct"},"directResponse":{"status":418,"body":{"inlineString":"tea"}}},
	{"name":"redirect","match":{"prefix":"/redirect"},"redirect":{"pathRedirect":"/there"}},
	{"match":{"prefix":"/abort"},"route":{"cluster":"up"},"typedPerFilterConfig":{"envoy.filters.http.fault":{
		"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
		"abort":{"httpStatus":418,"percentage":{"numerator":100}}}}},
	{"name":"rewrite","match":{"prefix":"/rw"},"route":{"cluster":"up","prefixRewrite":"/new"}},
	{"name":"ok","match":{"prefix":"/ok"},"metadata":{"filterMetadata":{"ns":{"k":"route","o":{
		"l":[1,true,null,"x"],"a":1.5,"i":100000,"nul":null,"big":123456789,"q":"\""}}}},
		"route":{"cluster":"up","timeout":"1s","retryPolicy":{"retryOn":"5xx","numRetries":2,
		"retryBackOff":{"baseInterval":"0.001s"}}}}]}]},
	"httpFilters":[{"name":"envoy.filters.http.fault","typedConfig":{
		"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"}},
	{"name":"envoy.filters.http.router","typedConfig":{"suppressEnvoyHeaders":%t,
		"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}`

// snapshot is what both proxies get.
func (b *logBed) snapshot(t *testing.T) *xds.Snapshot {
	t.Helper()
	s := xds.NewSnapshot()
	add := func(name string, filter proto.Message, own ...string) *listenerv3.Listener {
		l := &listenerv3.Listener{}
		decode(t, fmt.Sprintf(`{"name":%q,"metadata":{"filterMetadata":{"ns":{"k":"listener"}}},
			"address":{"socketAddress":{"address":"127.0.0.1","portValue":%d}},"filterChains":[{
			"name":"chain","metadata":{"filterMetadata":{"ns":{"k":"chain"}}}}]}`, name, 20000+len(s.Listeners)), l)
		l.FilterChains[0].Filters = []*listenerv3.Filter{{Name: "f",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: typed(filter)}}}
		l.AccessLog = b.logs(t, own...)
		s.Listeners[name] = l
		return l
	}
	hcm := func(suppress bool, names ...string) *hcmv3.HttpConnectionManager {
		m := &hcmv3.HttpConnectionManager{}
		decode(t, fmt.Sprintf(loggedRoutes, suppress), m)
		m.AccessLog = b.logs(t, names...)
		return m
	}
	tcp := func(cluster string) *tcpv3.TcpProxy {
		return &tcpv3.TcpProxy{StatPrefix: "x", MaxConnectAttempts: wrapperspb.UInt32(2), AccessLog: b.logs(t, "tcp", "tcp-json", "tcp-bytes"),
			ClusterSpecifier: &tcpv3.TcpProxy_Cluster{Cluster: cluster}}
	}
	add("http", hcm(false, "default", "deprecated", "typed-json", "istio-text", "istio-json",
		"operators", "absent", "json", "json-omitted", "omitted", "nested", "nested-omit", "filter-flags",
		"filter-any", "filter-status"))
	add("bytes", hcm(true, "bytes"))
	add("tcp", tcp("up"), "nochain")
	add("tcp-refused", tcp("refused"))
	add("tcp-none", tcp("none"))
	decode(t, `{"sourcePrefixRanges":[{"addressPrefix":"10.0.0.1","prefixLen":32}]}`, chainMatch(
		add("nochain", tcp("up"), "nochain", "nochain-text")))
	for name, port := range map[string]string{
		"up": b.s.l.Addr().String(), "refused": "127.0.0.1:1", "empty": ""} {
		c := &clusterv3.Cluster{}
		at := ""
		if _, p, ok := strings.Cut(port, ":"); ok {
			at = fmt.Sprintf(`{"metadata":{"filterMetadata":{"ns":{"k":"host"}}},"endpoint":{"address":{
				"socketAddress":{"address":"127.0.0.1","portValue":%s}}}}`, p)
		}
		decode(t, fmt.Sprintf(`{"name":%q,"altStatName":"alt_%[1]s","type":"STATIC","connectTimeout":"5s",
			"metadata":{"filterMetadata":{"ns":{"k":"cluster"}}},"loadAssignment":{"clusterName":%[1]q,
			"endpoints":[{"lbEndpoints":[%[2]s]}]}}`, name, at), c)
		s.Clusters[name] = c
	}
	return s
}

func chainMatch(l *listenerv3.Listener) *listenerv3.FilterChainMatch {
	l.FilterChains[0].FilterChainMatch = &listenerv3.FilterChainMatch{}
	return l.FilterChains[0].FilterChainMatch
}
