package engine

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	networkextauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// The network filter (source/extensions/filters/network/ext_authz/ext_authz.cc) asks once for each
// connection, when its first bytes come.

const networkExtAuthz = "envoy.filters.network.ext_authz"

func (c *compiler) networkExtAuthz(m *networkextauthzv3.ExtAuthz) *extAuthz {
	a := &extAuthz{failureAllow: m.GetFailureModeAllow(),
		certificate: m.GetIncludePeerCertificate(), session: m.GetIncludeTlsSession()}
	c.authzCommon(a, m.GetTransportApiVersion(), m.GetFilterEnabledMetadata())
	leave := c.in("grpc_service")
	a.service = c.grpcAuthorizer(m.GetGrpcService())
	leave()
	return a
}

// askNetwork asks about a connection; stop: it waits for the answer, or is closed.
func (x *Exchange) askNetwork(a *extAuthz, now clock.Instant) (out Admission, stop bool) {
	if a.enabled != nil && !a.enabled.Match(&x.dynamic) {
		return out, false
	}
	x.authz.asking = a
	if !x.beginCall(now) {
		out = x.judgedNetwork(&judgement{})
		return out, out.Denied
	}
	out = Admission{Ask: true, Deadline: noDeadline}
	if t := a.service.timeout; t > 0 {
		out.Deadline = now.Add(t)
	}
	return out, true
}

// networkAttributes tells an authorizer of a connection (check_request_utils.cc createTcpCheck).
func (x *Exchange) networkAttributes(a *extAuthz) *authv3.AttributeContext {
	out := x.peers(a)
	out.Destination.Service = x.ci.SNI
	out.MetadataContext = &corev3.Metadata{}
	return out
}

// judgedNetwork carries a verdict on a connection out.
func (x *Exchange) judgedNetwork(v *judgement) Admission {
	if v.metadata != nil {
		x.dynamic.set(networkExtAuthz, v.metadata)
	}
	switch {
	case v.outcome == authzAllowed, v.outcome == authzError && x.authz.asking.failureAllow:
		return Admission{}
	case v.outcome == authzDenied:
		x.authz.closed = "ext_authz_denied"
	default:
		x.authz.closed = "ext_authz_error"
	}
	x.flag("UAEX")
	x.Record.Policy = "ext_authz"
	return Admission{Denied: true}
}
