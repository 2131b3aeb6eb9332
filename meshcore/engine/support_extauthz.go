package engine

import "google.golang.org/protobuf/reflect/protoreflect"

const extAuthzPackage = "envoy.extensions.filters.http.ext_authz.v3."

// extAuthzFields is what the engine carries out of external authorization.
var extAuthzFields = map[protoreflect.FullName]fields{
	extAuthzPackage + "ExtAuthz": yes("grpc_service", "http_service", "transport_api_version",
		"failure_mode_allow", "failure_mode_allow_header_add", "with_request_body",
		"clear_route_cache", "status_on_error", "filter_enabled_metadata", "deny_at_disable",
		"include_peer_certificate", "allowed_headers", "disallowed_headers",
		"include_tls_session", "max_denied_response_body_bytes",
		"metadata_context_namespaces", "route_metadata_context_namespaces").
		because(stats, "stat_prefix", "charge_cluster_response_stats").
		because(traces, "emit_client_span"),
	"envoy.extensions.filters.network.ext_authz.v3.ExtAuthz": yes("grpc_service",
		"failure_mode_allow", "include_peer_certificate", "transport_api_version",
		"filter_enabled_metadata", "include_tls_session").
		because(stats, "stat_prefix"),
	extAuthzPackage + "BufferSettings": yes("max_request_bytes", "allow_partial_message",
		"pack_as_bytes"),
	extAuthzPackage + "HttpService": yes("server_uri", "path_prefix", "authorization_request",
		"authorization_response"),
	extAuthzPackage + "AuthorizationRequest": yes("allowed_headers", "headers_to_add"),
	extAuthzPackage + "AuthorizationResponse": yes("allowed_upstream_headers",
		"allowed_upstream_headers_to_append", "allowed_client_headers",
		"allowed_client_headers_on_success", "dynamic_metadata_from_headers"),
	extAuthzPackage + "ExtAuthzPerRoute": yes("disabled", "check_settings"),
	extAuthzPackage + "CheckSettings": yes("context_extensions",
		"disable_request_body_buffering", "with_request_body").
		because(traces, "emit_client_span"),
	"envoy.config.core.v3.HttpUri": yes("cluster", "timeout").
		because("the cluster says where, and the request which path", "uri"),
	"envoy.config.core.v3.GrpcService":           yes("envoy_grpc", "timeout"),
	"envoy.config.core.v3.GrpcService.EnvoyGrpc": yes("cluster_name", "authority"),
	"envoy.config.core.v3.RuntimeFeatureFlag": yes("default_value").
		because("there is no runtime layer", "runtime_key"),
	"envoy.type.v3.HttpStatus":                yes("code"),
	"envoy.type.matcher.v3.ListStringMatcher": yes("patterns"),
}
