package engine

import "google.golang.org/protobuf/reflect/protoreflect"

const routePackage = "envoy.config.route.v3."

// routeFields is what the engine carries out of route configurations.
var routeFields = map[protoreflect.FullName]fields{
	routePackage + "RouteConfiguration": yes("name", "virtual_hosts", "request_headers_to_add",
		"request_headers_to_remove", "response_headers_to_add", "response_headers_to_remove",
		"internal_only_headers", "most_specific_header_mutations_wins",
		"ignore_port_in_host_matching", "max_direct_response_body_size_bytes").
		because("clusters may come later, as istiod says", "validate_clusters").
		because(describe, "metadata"),
	routePackage + "VirtualHost": yes("name", "domains", "routes", "require_tls",
		"request_headers_to_add", "request_headers_to_remove", "response_headers_to_add",
		"response_headers_to_remove", "typed_per_filter_config", "include_request_attempt_count",
		"include_attempt_count_in_response", "include_is_timeout_retry_header", "retry_policy").
		because(describe, "metadata"),
	routePackage + "Route": yes("name", "match", "route", "redirect", "direct_response",
		"metadata", "decorator", "typed_per_filter_config", "request_headers_to_add",
		"request_headers_to_remove", "response_headers_to_add", "response_headers_to_remove").
		because(stats, "stat_prefix").
		because(traces, "tracing"),
	routePackage + "Decorator": yes("operation", "propagate"),
	routePackage + "RouteMatch": yes("prefix", "path", "safe_regex", "path_separated_prefix",
		"case_sensitive", "runtime_fraction", "headers", "query_parameters", "grpc",
		"dynamic_metadata", "tls_context"),
	routePackage + "RouteMatch.TlsContextMatchOptions": yes("presented", "validated"),
	routePackage + "RouteMatch.GrpcRouteMatchOptions":  {},
	routePackage + "HeaderMatcher": yes("name", "exact_match", "safe_regex_match",
		"range_match", "present_match", "prefix_match", "suffix_match", "contains_match",
		"string_match", "invert_match", "treat_missing_header_as_empty"),
	routePackage + "QueryParameterMatcher": yes("name", "string_match", "present_match"),
	routePackage + "RouteAction": yes("cluster", "weighted_clusters",
		"cluster_not_found_response_code", "prefix_rewrite", "regex_rewrite",
		"host_rewrite_literal", "append_x_forwarded_host", "timeout", "idle_timeout",
		"retry_policy", "request_mirror_policies", "hash_policy", "max_grpc_timeout",
		"grpc_timeout_offset", "upgrade_configs", "max_stream_duration", "priority"),
	routePackage + "RouteAction.MaxStreamDuration": yes("max_stream_duration",
		"grpc_timeout_header_max", "grpc_timeout_header_offset"),
	routePackage + "RouteAction.RequestMirrorPolicy": yes("cluster", "runtime_fraction",
		"disable_shadow_host_suffix_append").
		because(traces, "trace_sampled"),
	routePackage + "RouteAction.HashPolicy": yes("header", "cookie", "connection_properties",
		"query_parameter", "terminal"),
	routePackage + "RouteAction.HashPolicy.Header": yes("header_name"),
	routePackage + "RouteAction.HashPolicy.Cookie": yes("name", "ttl", "path",
		"attributes"),
	routePackage + "RouteAction.HashPolicy.CookieAttribute":      yes("name", "value"),
	routePackage + "RouteAction.HashPolicy.ConnectionProperties": yes("source_ip"),
	routePackage + "RouteAction.HashPolicy.QueryParameter":       yes("name"),
	routePackage + "RouteAction.UpgradeConfig":                   yes("upgrade_type", "enabled"),
	routePackage + "WeightedCluster": yes("clusters",
		"header_name").
		because("deprecated: the sum of the weights counts", "total_weight"),
	routePackage + "WeightedCluster.ClusterWeight": yes("name", "weight",
		"request_headers_to_add", "request_headers_to_remove", "response_headers_to_add",
		"response_headers_to_remove", "host_rewrite_literal", "typed_per_filter_config"),
	routePackage + "RetryPolicy": yes("retry_on", "num_retries", "per_try_timeout",
		"retry_host_predicate", "host_selection_retry_max_attempts",
		"retriable_status_codes", "retry_back_off", "retriable_headers",
		"retriable_request_headers", "retry_priority"),
	routePackage + "RetryPolicy.RetryHostPredicate": yes("name",
		"typed_config"),
	routePackage + "RetryPolicy.RetryPriority": yes("name",
		"typed_config"),
	routePackage + "RetryPolicy.RetryBackOff": yes("base_interval",
		"max_interval"),
	"envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate": {},
	"envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig": yes(
		"update_frequency"),
	routePackage + "RedirectAction": yes("https_redirect", "scheme_redirect", "host_redirect",
		"port_redirect", "path_redirect", "prefix_rewrite", "regex_rewrite", "response_code",
		"strip_query"),
	routePackage + "DirectResponseAction": yes("status", "body"),
}

// filterFields is what the engine carries out of HTTP filters and their per-route settings.
var filterFields = map[protoreflect.FullName]fields{
	"envoy.extensions.filters.http.router.v3.Router": yes("suppress_envoy_headers").
		because(stats, "dynamic_stats", "suppress_grpc_request_failure_code_stats").
		because(traces, "start_child_span"),
	"envoy.extensions.filters.http.grpc_stats.v3.FilterConfig": fields{}.because(stats,
		"emit_filter_state", "stats_for_all_methods", "individual_method_stats_allowlist",
		"enable_upstream_stats"),
	"envoy.extensions.filters.http.cors.v3.Cors": {},
	"envoy.extensions.filters.http.cors.v3.CorsPolicy": yes("allow_origin_string_match",
		"allow_methods", "allow_headers", "expose_headers", "max_age", "allow_credentials",
		"filter_enabled", "allow_private_network_access", "forward_not_matching_preflights"),
	"envoy.extensions.filters.http.fault.v3.HTTPFault": yes("delay", "abort", "upstream_cluster",
		"headers", "downstream_nodes", "max_active_faults").
		because(stats, "disable_downstream_cluster_stats"),
	"envoy.extensions.filters.http.fault.v3.FaultAbort": yes("http_status", "grpc_status",
		"percentage"),
	"envoy.extensions.filters.common.fault.v3.FaultDelay": yes("fixed_delay", "percentage"),
}

// clusterFields is what the engine carries out of clusters and endpoints.
var clusterFields = map[protoreflect.FullName]fields{
	clusterPackage + "Cluster": yes("name", "type", "eds_cluster_config", "connect_timeout",
		"lb_policy", "load_assignment", "max_requests_per_connection", "circuit_breakers",
		"typed_extension_protocol_options", "http2_protocol_options", "outlier_detection",
		"cleanup_interval", "upstream_bind_config", "ring_hash_lb_config", "maglev_lb_config",
		"original_dst_lb_config", "least_request_lb_config", "round_robin_lb_config",
		"common_lb_config", "transport_socket", "transport_socket_matches").
		because(stats, "alt_stat_name", "track_cluster_stats", "track_timeout_budgets").
		because(sockets, "per_connection_buffer_limit_bytes", "upstream_connection_options").
		because(describe, "metadata"),
	clusterPackage + "Cluster.EdsClusterConfig": yes("eds_config", "service_name"),
	clusterPackage + "Cluster.RingHashLbConfig": yes("minimum_ring_size", "maximum_ring_size",
		"hash_function"),
	clusterPackage + "Cluster.MaglevLbConfig":       yes("table_size"),
	clusterPackage + "Cluster.OriginalDstLbConfig":  yes("use_http_header", "http_header_name"),
	clusterPackage + "Cluster.LeastRequestLbConfig": yes("choice_count", "active_request_bias"),
	clusterPackage + "Cluster.RoundRobinLbConfig":   {},
	clusterPackage + "Cluster.CommonLbConfig": yes("healthy_panic_threshold",
		"locality_weighted_lb_config", "update_merge_window").
		because("pools are per endpoint and closed with it",
			"close_connections_on_host_set_change"),
	clusterPackage + "Cluster.CommonLbConfig.LocalityWeightedLbConfig": {},
	clusterPackage + "CircuitBreakers":                                 yes("thresholds"),
	clusterPackage + "CircuitBreakers.Thresholds": yes("priority", "max_connections",
		"max_pending_requests", "max_requests", "max_retries", "retry_budget").
		because(stats, "track_remaining"),
	clusterPackage + "CircuitBreakers.Thresholds.RetryBudget": yes("budget_percent",
		"min_retry_concurrency"),
	clusterPackage + "OutlierDetection": yes("consecutive_5xx", "interval",
		"base_ejection_time", "max_ejection_percent", "enforcing_consecutive_5xx",
		"enforcing_success_rate", "success_rate_minimum_hosts", "success_rate_request_volume",
		"success_rate_stdev_factor", "consecutive_gateway_failure",
		"enforcing_consecutive_gateway_failure", "split_external_local_origin_errors",
		"consecutive_local_origin_failure", "enforcing_consecutive_local_origin_failure",
		"enforcing_local_origin_success_rate", "failure_percentage_threshold",
		"enforcing_failure_percentage", "enforcing_failure_percentage_local_origin",
		"failure_percentage_minimum_hosts", "failure_percentage_request_volume",
		"max_ejection_time", "max_ejection_time_jitter", "always_eject_one_host"),
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": yes("common_http_protocol_options",
		"upstream_http_protocol_options", "explicit_http_config", "use_downstream_protocol_config"),
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig": yes(
		"http_protocol_options", "http2_protocol_options"),
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig": yes(
		"http_protocol_options", "http2_protocol_options"),
	"envoy.config.core.v3.UpstreamHttpProtocolOptions": yes("auto_sni",
		"auto_san_validation"),
	"envoy.config.core.v3.Http2ProtocolOptions": fields{}.because(sockets,
		"max_concurrent_streams", "initial_stream_window_size", "initial_connection_window_size"),
	"envoy.config.core.v3.TransportSocket":                       yes("name", "typed_config"),
	"envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer": {},
	"envoy.config.endpoint.v3.ClusterLoadAssignment": yes("cluster_name", "endpoints",
		"policy"),
	"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy": yes("overprovisioning_factor",
		"weighted_priority_health"),
	"envoy.config.endpoint.v3.LocalityLbEndpoints": yes("locality", "lb_endpoints",
		"load_balancing_weight", "priority", "metadata"),
	"envoy.config.endpoint.v3.LbEndpoint": yes("endpoint", "health_status", "metadata",
		"load_balancing_weight"),
	"envoy.config.endpoint.v3.Endpoint": yes("address", "hostname"),
}

const clusterPackage = "envoy.config.cluster.v3."
