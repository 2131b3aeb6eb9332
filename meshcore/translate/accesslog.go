package translate

import (
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	withoutqueryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/req_without_query/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	meshconfig "istio.io/api/mesh/v1alpha1"
)

// accessLogs are what meshConfig.accessLogFile asks for: nothing when it is empty. Istio
// pilot/pkg/networking/core/accesslog.go.
type accessLogs struct {
	traffic  []*accesslogv3.AccessLog // of connection managers and tcp_proxies
	listener []*accesslogv3.AccessLog // of the listeners that catch all
}

func newAccessLogs(mesh *meshconfig.MeshConfig) accessLogs {
	if mesh.GetAccessLogFile() == "" {
		return accessLogs{}
	}
	log := func(filter *accesslogv3.AccessLogFilter) []*accesslogv3.AccessLog {
		file := &filelogv3.FileAccessLog{
			Path: mesh.GetAccessLogFile(),
			AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{
				LogFormat: accessLogFormat(mesh),
			},
		}
		return []*accesslogv3.AccessLog{{
			Name: "envoy.access_loggers.file", Filter: filter,
			ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: typed(file)},
		}}
	}
	out := accessLogs{traffic: log(nil)}
	if !mesh.GetDisableEnvoyListenerLog() {
		// What no filter chain takes has no other log.
		out.listener = log(&accesslogv3.AccessLogFilter{
			FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
				ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}},
			},
		})
	}
	return out
}

// accessLogFormat follows accessLogEncoding and accessLogFormat. Istio
// pilot/pkg/model/telemetry_logging.go FileAccessLogFromMeshConfig.
func accessLogFormat(mesh *meshconfig.MeshConfig) *corev3.SubstitutionFormatString {
	text := mesh.GetAccessLogFormat()
	out := &corev3.SubstitutionFormatString{}
	if mesh.GetAccessLogEncoding() == meshconfig.MeshConfig_JSON {
		format := &structpb.Struct{}
		loose := protojson.UnmarshalOptions{DiscardUnknown: true}
		if text == "" || loose.Unmarshal([]byte(text), format) != nil {
			format = defaultJSONLog() // also for what can not be read
		}
		out.Format = &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: format}
		out.JsonFormatOptions = &corev3.JsonFormatOptions{}
		for _, v := range format.GetFields() { // nested values are not looked at
			if strings.Contains(v.GetStringValue(), withoutQuery) {
				out.Formatters = withoutQueryFormatter()
			}
		}
		return out
	}
	if text == "" {
		text = defaultTextLog
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	out.Format = &corev3.SubstitutionFormatString_TextFormatSource{
		TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: text},
		},
	}
	if strings.Contains(text, withoutQuery) {
		out.Formatters = withoutQueryFormatter()
	}
	return out
}

const withoutQuery = "%REQ_WITHOUT_QUERY"

// withoutQueryFormatter is the extension that knows that operator.
func withoutQueryFormatter() []*corev3.TypedExtensionConfig {
	return []*corev3.TypedExtensionConfig{{
		Name:        "envoy.formatter.req_without_query",
		TypedConfig: typed(&withoutqueryv3.ReqWithoutQuery{}),
	}}
}

// defaultTextLog is what is written when no format is configured. Istio
// pilot/pkg/model/telemetry_logging.go EnvoyTextLogFormat.
const defaultTextLog = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% ` +
	`%PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% ` +
	`%CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% ` +
	`%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" ` +
	`"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" ` +
	`%UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% ` +
	`%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n"

// defaultJSONLog is the same as an object (EnvoyJSONLogFormatIstio).
func defaultJSONLog() *structpb.Struct {
	out := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for key, format := range map[string]string{
		"start_time":                        "%START_TIME%",
		"route_name":                        "%ROUTE_NAME%",
		"method":                            "%REQ(:METHOD)%",
		"path":                              "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
		"protocol":                          "%PROTOCOL%",
		"response_code":                     "%RESPONSE_CODE%",
		"response_flags":                    "%RESPONSE_FLAGS%",
		"response_code_details":             "%RESPONSE_CODE_DETAILS%",
		"connection_termination_details":    "%CONNECTION_TERMINATION_DETAILS%",
		"bytes_received":                    "%BYTES_RECEIVED%",
		"bytes_sent":                        "%BYTES_SENT%",
		"duration":                          "%DURATION%",
		"upstream_service_time":             "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
		"x_forwarded_for":                   "%REQ(X-FORWARDED-FOR)%",
		"user_agent":                        "%REQ(USER-AGENT)%",
		"request_id":                        "%REQ(X-REQUEST-ID)%",
		"authority":                         "%REQ(:AUTHORITY)%",
		"upstream_host":                     "%UPSTREAM_HOST%",
		"upstream_cluster":                  "%UPSTREAM_CLUSTER_RAW%",
		"upstream_local_address":            "%UPSTREAM_LOCAL_ADDRESS%",
		"downstream_local_address":          "%DOWNSTREAM_LOCAL_ADDRESS%",
		"downstream_remote_address":         "%DOWNSTREAM_REMOTE_ADDRESS%",
		"requested_server_name":             "%REQUESTED_SERVER_NAME%",
		"upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
	} {
		out.Fields[key] = structpb.NewStringValue(format)
	}
	return out
}
