package engine

import "google.golang.org/protobuf/reflect/protoreflect"

// listenerFields is what the engine carries out of listeners and network filters.
var listenerFields = map[protoreflect.FullName]fields{
	"envoy.config.listener.v3.Listener": yes("name", "address", "additional_addresses",
		"filter_chains", "use_original_dst", "default_filter_chain", "listener_filters",
		"listener_filters_timeout",
		"continue_on_listener_filters_timeout", "traffic_direction", "bind_to_port",
		"per_connection_buffer_limit_bytes", "access_log").
		because(stats, "stat_prefix").
		because(describe, "metadata").
		because(sockets, "max_connections_to_accept_per_socket_event", "enable_reuse_port",
			"tcp_backlog_size", "connection_balance_config", "deprecated_v1", "transparent",
			"freebind"),
	"envoy.config.listener.v3.AdditionalAddress": yes("address"),
	"envoy.config.listener.v3.FilterChain": yes("filter_chain_match", "filters", "name",
		"transport_socket", "transport_socket_connect_timeout").
		because(describe, "metadata"),
	"envoy.config.listener.v3.FilterChainMatch": yes("destination_port", "prefix_ranges",
		"source_type", "source_prefix_ranges", "source_ports", "direct_source_prefix_ranges",
		"server_names", "transport_protocol", "application_protocols"),
	"envoy.config.listener.v3.Filter":         yes("name", "typed_config"),
	"envoy.config.listener.v3.ListenerFilter": yes("name", "typed_config", "filter_disabled"),
	"envoy.config.listener.v3.ListenerFilterChainMatchPredicate": yes("or_match", "and_match",
		"not_match", "any_match", "destination_port_range"),
	"envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet": yes("rules"),
	"envoy.extensions.filters.listener.http_inspector.v3.HttpInspector":   {},
	"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector": fields{}.because(sockets,
		"initial_read_buffer_size"),
	"envoy.extensions.filters.listener.original_dst.v3.OriginalDst":     {},
	"envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol": {},
	"envoy.extensions.filters.network.rbac.v3.RBAC": yes("rules", "shadow_rules",
		"shadow_rules_stat_prefix", "enforcement_type", "delay_deny").
		because(stats, "stat_prefix"),
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster": yes("clusters"),
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight": yes(
		"name", "weight"),
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy": yes("cluster", "weighted_clusters",
		"idle_timeout", "max_connect_attempts", "max_downstream_connection_duration",
		"hash_policy", "access_log").
		because(stats, "stat_prefix"),
}

// httpFields is what the engine carries out of the HTTP connection manager.
var httpFields = map[protoreflect.FullName]fields{
	hcmPackage + "HttpConnectionManager": yes("codec_type", "rds", "route_config",
		"http_filters", "add_user_agent", "common_http_protocol_options", "http_protocol_options",
		"server_name", "server_header_transformation", "max_request_headers_kb",
		"stream_idle_timeout", "request_timeout", "request_headers_timeout", "drain_timeout",
		"delayed_close_timeout", "use_remote_address", "xff_num_trusted_hops", "skip_xff_append",
		"via", "generate_request_id", "preserve_external_request_id",
		"always_set_request_id_in_response", "proxy_100_continue", "upgrade_configs",
		"normalize_path", "merge_slashes", "path_with_escaped_slashes_action",
		"request_id_extension", "strip_any_host_port", "strip_matching_host_port", "tracing",
		"access_log", "forward_client_cert_details", "set_current_client_cert_details").
		because(stats, "stat_prefix").
		because(sockets, "http2_protocol_options"),
	hcmPackage + "HttpConnectionManager.SetCurrentClientCertDetails": yes("subject", "cert",
		"chain", "dns", "uri"),
	hcmPackage + "Rds":        yes("config_source", "route_config_name"),
	hcmPackage + "HttpFilter": yes("name", "typed_config", "is_optional", "disabled"),
	hcmPackage + "HttpConnectionManager.Tracing": fields{}.because(traces, "client_sampling",
		"random_sampling", "overall_sampling", "verbose", "max_path_tag_length", "custom_tags",
		"provider", "spawn_upstream_span"),
	hcmPackage + "HttpConnectionManager.UpgradeConfig": yes("upgrade_type", "enabled"),
	hcmPackage + "RequestIDExtension":                  yes("typed_config"),
	"envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig": yes("pack_trace_reason").
		because(traces, "use_request_id_for_trace_sampling"),
	"envoy.config.core.v3.HttpProtocolOptions": yes("idle_timeout", "max_connection_duration",
		"max_headers_count", "max_stream_duration", "headers_with_underscores_action",
		"max_requests_per_connection"),
	"envoy.config.core.v3.Http1ProtocolOptions": yes("accept_http_10", "default_host_for_http_10").
		because("names are written in lower case; HTTP names have no case", "header_key_format").
		because("absolute URLs are always taken", "allow_absolute_url"),
}

const hcmPackage = "envoy.extensions.filters.network.http_connection_manager.v3."

// coreFields is what is common to several resources.
var coreFields = map[protoreflect.FullName]fields{
	"envoy.config.core.v3.Address":       yes("socket_address", "pipe"),
	"envoy.config.core.v3.Pipe":          yes("path", "mode"),
	"envoy.config.core.v3.SocketAddress": yes("address", "port_value", "protocol"),
	"envoy.config.core.v3.BindConfig":    yes("source_address"),
	"envoy.config.core.v3.CidrRange":     yes("address_prefix", "prefix_len"),
	"envoy.config.core.v3.ConfigSource": yes("ads").
		because(fetching, "initial_fetch_timeout", "resource_api_version"),
	"envoy.config.core.v3.AggregatedConfigSource": {},
	"envoy.config.core.v3.DataSource":             yes("inline_bytes", "inline_string"),
	"envoy.config.core.v3.HeaderValue":            yes("key", "value", "raw_value"),
	"envoy.config.core.v3.HeaderValueOption": yes("header", "append", "append_action",
		"keep_empty_value"),
	"envoy.config.core.v3.Locality": yes("region", "zone", "sub_zone"),
	"envoy.config.core.v3.Metadata": yes("filter_metadata"),
	"envoy.config.core.v3.RuntimeFractionalPercent": yes("default_value").
		because("there is no runtime layer", "runtime_key"),
	"envoy.config.core.v3.TypedExtensionConfig": yes("name", "typed_config"),
	"envoy.type.v3.FractionalPercent":           yes("numerator", "denominator"),
	"envoy.type.v3.HashPolicy":                  yes("source_ip"),
	"envoy.type.v3.HashPolicy.SourceIp":         {},
	"envoy.type.v3.Percent":                     yes("value"),
	"envoy.type.v3.Int32Range":                  yes("start", "end"),
	"envoy.type.v3.Int64Range":                  yes("start", "end"),
	"envoy.type.matcher.v3.StringMatcher": yes("exact", "prefix", "suffix", "contains",
		"safe_regex", "ignore_case"),
	"envoy.type.matcher.v3.RegexMatcher":            yes("regex", "google_re2"),
	"envoy.type.matcher.v3.RegexMatcher.GoogleRE2":  {},
	"envoy.type.matcher.v3.RegexMatchAndSubstitute": yes("pattern", "substitution"),
}
