package engine

import "google.golang.org/protobuf/reflect/protoreflect"

const (
	rbacPackage = "envoy.config.rbac.v3."
	jwtPackage  = "envoy.extensions.filters.http.jwt_authn.v3."
)

// policyFields is what the engine carries out of the security filters.
var policyFields = map[protoreflect.FullName]fields{
	"envoy.extensions.filters.http.rbac.v3.RBAC": yes("rules", "rules_stat_prefix",
		"shadow_rules", "shadow_rules_stat_prefix").
		because(stats, "track_per_rule_stats"),
	"envoy.extensions.filters.http.rbac.v3.RBACPerRoute": yes("rbac"),
	jwtPackage + "JwtAuthentication": yes("providers", "rules", "bypass_cors_preflight",
		"requirement_map", "strip_failure_response").
		because(stats, "stat_prefix"),
	jwtPackage + "JwtProvider": yes("issuer", "audiences", "subjects", "require_expiration",
		"max_lifetime", "local_jwks", "forward", "from_headers", "from_params", "from_cookies",
		"forward_payload_header", "pad_forward_payload_header", "payload_in_metadata",
		"normalize_payload_in_metadata", "header_in_metadata", "failed_status_in_metadata",
		"clock_skew_seconds", "claim_to_headers", "clear_route_cache").
		because("saves work, and changes no answer", "jwt_cache_config"),
	jwtPackage + "JwtProvider.NormalizePayload": yes("space_delimited_claims"),
	jwtPackage + "JwtHeader":                    yes("name", "value_prefix"),
	jwtPackage + "JwtClaimToHeader":             yes("header_name", "claim_name", "claim_path"),
	jwtPackage + "JwtClaimToHeader.PathSegment": yes("key"),
	jwtPackage + "RequirementRule":              yes("match", "requires", "requirement_name"),
	jwtPackage + "JwtRequirement": yes("provider_name", "provider_and_audiences", "requires_any",
		"requires_all", "allow_missing", "allow_missing_or_failed"),
	jwtPackage + "JwtRequirementOrList":  yes("requirements"),
	jwtPackage + "JwtRequirementAndList": yes("requirements"),
	jwtPackage + "ProviderWithAudiences": yes("provider_name", "audiences"),
	jwtPackage + "PerRouteConfig":        yes("disabled", "requirement_name"),
	"google.protobuf.Empty":              {},

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
