package engine

import "google.golang.org/protobuf/reflect/protoreflect"

const rbacPackage = "envoy.config.rbac.v3."

// policyFields is what the engine carries out of the security filters.
var policyFields = map[protoreflect.FullName]fields{
	"envoy.extensions.filters.http.rbac.v3.RBAC": yes("rules", "rules_stat_prefix",
		"shadow_rules", "shadow_rules_stat_prefix").
		because(stats, "track_per_rule_stats"),
	"envoy.extensions.filters.http.rbac.v3.RBACPerRoute": yes("rbac"),
	rbacPackage + "RBAC":   yes("action", "policies"),
	rbacPackage + "Policy": yes("permissions", "principals"),
	rbacPackage + "Permission": yes("and_rules", "or_rules", "any", "header", "url_path",
		"destination_ip", "destination_port", "destination_port_range", "metadata", "not_rule",
		"requested_server_name", "uri_template", "sourced_metadata"),
	rbacPackage + "Permission.Set": yes("rules"),
	rbacPackage + "Principal": yes("and_ids", "or_ids", "any", "authenticated", "source_ip",
		"direct_remote_ip", "remote_ip", "header", "url_path", "metadata", "filter_state",
		"not_id", "sourced_metadata", "custom"),
	rbacPackage + "Principal.Set":           yes("ids"),
	rbacPackage + "Principal.Authenticated": yes("principal_name"),
	rbacPackage + "SourcedMetadata":         yes("metadata_matcher", "metadata_source"),
	"envoy.extensions.rbac.principals.mtls_authenticated.v3.Config": yes("san_matcher",
		"any_validated_client_certificate"),
	"envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": yes(
		"path_template"),

	"envoy.type.matcher.v3.PathMatcher":                 yes("path"),
	"envoy.type.matcher.v3.MetadataMatcher":             yes("filter", "path", "value", "invert"),
	"envoy.type.matcher.v3.MetadataMatcher.PathSegment": yes("key"),
	"envoy.type.matcher.v3.ValueMatcher": yes("null_match", "double_match", "string_match",
		"bool_match", "present_match", "list_match", "or_match"),
	"envoy.type.matcher.v3.ValueMatcher.NullMatch": {},
	"envoy.type.matcher.v3.DoubleMatcher":          yes("range", "exact"),
	"envoy.type.matcher.v3.ListMatcher":            yes("one_of"),
	"envoy.type.matcher.v3.OrMatcher":              yes("value_matchers"),
	"envoy.type.matcher.v3.FilterStateMatcher":     yes("key", "string_match"),
	"envoy.type.v3.DoubleRange":                    yes("start", "end"),
}
