package als

import (
	"strings"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// security fills in what handshakes and policies in dry run told.
func (n *node) security(r *observe.Request, c *datav3.AccessLogCommon, t *tag) {
	r.SNI, r.TLS = n.name(t.text(tagSNI)), n.name(t.text(tagTLS))
	r.Peer = n.name(first(t.text(tagPeer)))
	r.UpstreamTLS = n.name(t.text(tagUpstreamTLS))
	r.UpstreamPeer = n.name(first(t.text(tagUpstreamPeer)))
	r.UpstreamFailure = n.name(t.text(tagUpstreamFailure))
	for _, filter := range []string{"envoy.filters.http.rbac", "envoy.filters.network.rbac"} {
		if s := c.GetMetadata().GetFilterMetadata()[filter]; s != nil {
			r.Shadow = n.name(dryRun(s))
		}
	}
}

// first returns the first of several names.
func first(names string) string {
	name, _, _ := strings.Cut(names, ",")
	return name
}

// policy returns what refused a request or a connection, as its details name it (Envoy
// source/extensions/filters/common/rbac/utility.cc responseDetail, source/extensions/filters/http/
// jwt_authn/filter.cc, http/ext_authz/ext_authz.h); empty where nothing did. Details have
// underscores for spaces.
func policy(details string) string {
	if rest, ok := strings.CutPrefix(details, "rbac_access_denied_matched_policy["); ok {
		return strings.TrimSuffix(rest, "]")
	}
	if rest, ok := strings.CutPrefix(details, "jwt_authn_access_denied{"); ok {
		return strings.ReplaceAll(strings.TrimSuffix(rest, "}"), "_", " ")
	}
	switch details {
	case "ext_authz_denied", "ext_authz_error", "ext_authz_invalid":
		return "ext_authz"
	}
	return ""
}

// dryRun returns what policies in dry run would have done: "denied POLICY" or "allowed POLICY".
// istiod has one filter for DENY and, behind it, one for ALLOW (Istio pilot/pkg/security/authz/
// builder/builder.go); a refusal counts for more than what the other allows.
func dryRun(metadata *structpb.Struct) string {
	verdict := ""
	for _, prefix := range []string{"istio_dry_run_deny_", "istio_dry_run_allow_"} {
		result := metadata.GetFields()[prefix+"shadow_engine_result"].GetStringValue()
		if result == "" || verdict != "" && result == "allowed" {
			continue
		}
		id := metadata.GetFields()[prefix+"shadow_effective_policy_id"].GetStringValue()
		if id == "" {
			id = "none"
		}
		verdict = result + " " + id
	}
	return verdict
}
