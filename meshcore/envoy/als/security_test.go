package als

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// TestPolicy reads what refused a request out of Envoy's details, as the corpus has them.
func TestPolicy(t *testing.T) {
	for details, want := range map[string]string{
		"rbac_access_denied_matched_policy[none]":                            "none",
		"rbac_access_denied_matched_policy[ns[office]-policy[deny]-rule[0]]": "ns[office]-policy[deny]-rule[0]",
		"jwt_authn_access_denied{Jwt_is_missing}":                            "Jwt is missing",
		"jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}":          "Audiences in Jwt are not allowed",
		"ext_authz_denied": "ext_authz",
		"ext_authz_error":  "ext_authz",
		"via_upstream":     "",
		"upstream_reset_before_response_started{remote_connection_failure|TLS}": "",
		"": "",
	} {
		if got := policy(details); got != want {
			t.Errorf("%s: %q, want %q", details, got, want)
		}
	}
}

// TestDryRun: of a policy in dry run the decision is told; a refusal counts for more.
func TestDryRun(t *testing.T) {
	const deny, allow = "istio_dry_run_deny_shadow_", "istio_dry_run_allow_shadow_"
	for want, fields := range map[string]map[string]any{
		"":                {"istio_ext_authz_shadow_engine_result": "denied"},
		"allowed none":    {deny + "engine_result": "allowed"},
		"denied p":        {deny + "engine_result": "denied", deny + "effective_policy_id": "p"},
		"denied d":        {deny + "engine_result": "denied", deny + "effective_policy_id": "d", allow + "engine_result": "allowed", allow + "effective_policy_id": "a"},
		"denied none":     {deny + "engine_result": "allowed", allow + "engine_result": "denied"},
		"allowed allowed": {allow + "engine_result": "allowed", allow + "effective_policy_id": "allowed"},
	} {
		s, err := structpb.NewStruct(fields)
		if err != nil {
			t.Fatal(err)
		}
		if got := dryRun(s); got != want {
			t.Errorf("%v: %q, want %q", fields, got, want)
		}
	}
}

// TestSecurity: of several names of a peer the first counts, and "-" is nothing.
func TestSecurity(t *testing.T) {
	n := newNode(&Options{})
	tag := tag{tagSNI: "a.b", tagTLS: "TLSv1.3", tagPeer: "spiffe://a/b,spiffe://c/d",
		tagUpstreamTLS: "-", tagUpstreamPeer: "", tagUpstreamFailure: "TLS_error:|1:x:TLS_error_end"}
	c := &datav3.AccessLogCommon{Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		"envoy.filters.network.rbac": {Fields: map[string]*structpb.Value{
			"istio_dry_run_deny_shadow_engine_result": structpb.NewStringValue("denied")}}}}}
	got := observe.Request{}
	n.security(&got, c, &tag)
	if got.SNI != "a.b" || got.TLS != "TLSv1.3" || got.Peer != "spiffe://a/b" ||
		got.UpstreamTLS != "" || got.UpstreamPeer != "" || got.Shadow != "denied none" ||
		got.UpstreamFailure != "TLS_error:|1:x:TLS_error_end" {
		t.Errorf("%+v", got)
	}
}
