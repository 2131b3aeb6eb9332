package translate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httpextauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkextauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	securityv1 "istio.io/api/security/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// An external authorizer is asked only where a CUSTOM policy matches: an RBAC filter in front of
// ext_authz evaluates the policies without enforcing them, and writes the name of the one that
// matched into metadata; ext_authz is enabled by that name.
const (
	customStatPrefix = "istio_ext_authz_"
	customPolicyKey  = customStatPrefix + "shadow_effective_policy_id"
	customPrefix     = "istio-ext-authz-"
	badCustomSuffix  = "-deny-due-to-bad-CUSTOM-action"
)

type extensionProvider = meshconfig.MeshConfig_ExtensionProvider

type extAuthzHTTP = meshconfig.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationHttpProvider

type extAuthzGRPC = meshconfig.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationGrpcProvider

type extAuthzBody = meshconfig.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationRequestBody

// authorizer asks an external service: network is nil where it can be asked about HTTP only.
type authorizer struct {
	http    *httpextauthzv3.ExtAuthz
	network *networkextauthzv3.ExtAuthz
}

// customFilters makes the filters of the CUSTOM policies. Where their provider can not be asked, or
// where a workload has several, whatever they match is denied. Istio
// pilot/pkg/security/authz/builder/builder.go buildHTTP, buildTCP.
func (ix *index) customFilters(policies []*istio.Object) *guard {
	byProvider := map[string][]*istio.Object{}
	for _, o := range policies {
		name := providerName(o)
		byProvider[name] = append(byProvider[name], o)
	}
	out := &guard{}
	for _, name := range slices.Sorted(maps.Keys(byProvider)) {
		asked, problem := ix.authorizer(name)
		if problem != "" || len(byProvider) > 1 {
			out.add(ix.denyCustom(name, byProvider[name]))
			continue
		}
		out.add(ix.askAuthorizer(name, asked, byProvider[name]))
	}
	return out
}

func providerName(o *istio.Object) string {
	return o.Body.(*securityv1.AuthorizationPolicy).GetProvider().GetName()
}

// customRules translates the CUSTOM policies of a provider.
func (ix *index) customRules(provider string, policies []*istio.Object, tcp bool) *rbacv3.RBAC {
	out := newRBAC(rbacv3.RBAC_DENY)
	for _, o := range policies {
		ix.addRules(out, o, customPrefix+provider+"-", tcp)
	}
	return out
}

func (ix *index) askAuthorizer(
	provider string, asked authorizer, policies []*istio.Object,
) *guard {
	out := &guard{}
	asked.http.FilterEnabledMetadata = enabledBy(httpRBAC, provider)
	out.http = append(out.http,
		httpFilter(httpRBAC, &httprbacv3.RBAC{
			ShadowRules:           ix.customRules(provider, policies, false),
			ShadowRulesStatPrefix: customStatPrefix,
		}),
		httpFilter("envoy.filters.http.ext_authz", asked.http),
	)
	if asked.network == nil {
		return out
	}
	asked.network.FilterEnabledMetadata = enabledBy(networkRBAC, provider)
	out.network = append(out.network,
		networkFilter(networkRBAC, &networkrbacv3.RBAC{
			ShadowRules:           ix.customRules(provider, policies, true),
			ShadowRulesStatPrefix: customStatPrefix, StatPrefix: "tcp.",
		}),
		networkFilter("envoy.filters.network.ext_authz", asked.network),
	)
	return out
}

// denyCustom denies what the policies match.
func (ix *index) denyCustom(provider string, policies []*istio.Object) *guard {
	denied := func(tcp bool) *rbacv3.RBAC {
		out := newRBAC(rbacv3.RBAC_DENY)
		for name, p := range ix.customRules(provider, policies, tcp).Policies {
			out.Policies[name+badCustomSuffix] = p
		}
		return out
	}
	out := &guard{}
	out.http = append(out.http, httpFilter(httpRBAC, &httprbacv3.RBAC{Rules: denied(false)}))
	out.network = append(out.network, networkFilter(networkRBAC, &networkrbacv3.RBAC{
		Rules: denied(true), StatPrefix: "tcp.",
	}))
	return out
}

// enabledBy holds when the RBAC filter has found a policy of the provider to match.
func enabledBy(filter, provider string) *matcherv3.MetadataMatcher {
	value := stringValue(prefixMatch(customPrefix + provider))
	return metadataMatch(filter, []string{customPolicyKey}, value)
}

// authorizer makes what asks a provider of meshConfig.extensionProviders; the problem says why it
// can not be asked. Istio pilot/pkg/security/authz/builder/extauthz.go.
func (ix *index) authorizer(name string) (out authorizer, problem string) {
	i := slices.IndexFunc(ix.mesh.GetExtensionProviders(), func(p *extensionProvider) bool {
		return p.Name == name
	})
	if i < 0 {
		return out, fmt.Sprintf("meshConfig.extensionProviders has no %q", name)
	}
	if msg := badProviderName(name); msg != "" {
		return out, msg
	}
	switch p := ix.mesh.ExtensionProviders[i].Provider.(type) {
	case *meshconfig.MeshConfig_ExtensionProvider_EnvoyExtAuthzHttp:
		return ix.httpAuthorizer(p.EnvoyExtAuthzHttp)
	case *meshconfig.MeshConfig_ExtensionProvider_EnvoyExtAuthzGrpc:
		return ix.grpcAuthorizer(p.EnvoyExtAuthzGrpc)
	}
	return out, fmt.Sprintf("provider %q is no external authorizer: "+
		"envoyExtAuthzHttp and envoyExtAuthzGrpc are", name)
}

// badProviderName: istiod makes names of policies of it.
func badProviderName(name string) string {
	strange := strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
	if strange || len(name) > 63 || strings.Trim(name, "-") != name {
		return fmt.Sprintf("istiod does not take the provider's name %q: it must be lower-case "+
			"letters, digits and '-', at most 63 of them", name)
	}
	return ""
}

// loneWildcard: istiod takes wildcards at either end of a header's name only.
func loneWildcard(p *extAuthzHTTP) string {
	for _, list := range [][]string{
		p.IncludeRequestHeadersInCheck,
		p.IncludeHeadersInCheck, //nolint:staticcheck // the old name
		p.HeadersToDownstreamOnDeny, p.HeadersToDownstreamOnAllow, p.HeadersToUpstreamOnAllow,
	} {
		if slices.Contains(list, "*") {
			return `istiod does not take the header "*" of the provider: write names, with a ` +
				"wildcard at either end"
		}
	}
	return ""
}

// providerService finds the service of a provider, given as HOST or NAMESPACE/HOST. Istio
// pilot/pkg/model/telemetry_logging.go LookupCluster.
func (ix *index) providerService(name string) (*service, string) {
	namespace, host, ok := strings.Cut(name, "/")
	if !ok {
		namespace, host = "", name
	}
	s := ix.byHost[host]
	if s == nil || namespace != "" && s.Namespace != namespace {
		return nil, fmt.Sprintf("there is no Service %s", name)
	}
	return s, ""
}

func (ix *index) httpAuthorizer(p *extAuthzHTTP) (out authorizer, problem string) {
	s, problem := ix.providerService(p.Service)
	if problem = cmp.Or(problem, loneWildcard(p)); problem != "" {
		return out, problem
	}
	service := &httpextauthzv3.HttpService{
		PathPrefix: p.PathPrefix,
		ServerUri: &corev3.HttpUri{
			Uri:     "http://" + s.Host, // nobody reads it
			Timeout: authorizerTimeout(p.Timeout),
			HttpUpstreamType: &corev3.HttpUri_Cluster{
				Cluster: clusterName("outbound", p.Port, "", s.Host),
			},
		},
	}
	for _, key := range slices.Sorted(maps.Keys(p.IncludeAdditionalHeadersInCheck)) {
		if service.AuthorizationRequest == nil {
			service.AuthorizationRequest = &httpextauthzv3.AuthorizationRequest{}
		}
		service.AuthorizationRequest.HeadersToAdd = append(
			service.AuthorizationRequest.HeadersToAdd,
			&corev3.HeaderValue{Key: key, Value: p.IncludeAdditionalHeadersInCheck[key]})
	}
	answer := &httpextauthzv3.AuthorizationResponse{
		AllowedUpstreamHeaders:        headerNames(p.HeadersToUpstreamOnAllow),
		AllowedClientHeaders:          headerNames(p.HeadersToDownstreamOnDeny),
		AllowedClientHeadersOnSuccess: headerNames(p.HeadersToDownstreamOnAllow),
	}
	if cmp.Or(answer.AllowedUpstreamHeaders, answer.AllowedClientHeaders,
		answer.AllowedClientHeadersOnSuccess) != nil {
		service.AuthorizationResponse = answer
	}
	included := p.IncludeRequestHeadersInCheck
	if len(included) == 0 {
		included = p.IncludeHeadersInCheck //nolint:staticcheck // the old name
	}
	out.http = &httpextauthzv3.ExtAuthz{
		Services:            &httpextauthzv3.ExtAuthz_HttpService{HttpService: service},
		AllowedHeaders:      headerNames(included),
		FailureModeAllow:    p.FailOpen,
		StatusOnError:       statusOnError(p.StatusOnError),
		TransportApiVersion: corev3.ApiVersion_V3,
		WithRequestBody:     requestBody(p.IncludeRequestBodyInCheck),
	}
	return out, ""
}

func (ix *index) grpcAuthorizer(p *extAuthzGRPC) (out authorizer, problem string) {
	s, problem := ix.providerService(p.Service)
	if problem != "" {
		return out, problem
	}
	service := &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
			ClusterName: clusterName("outbound", p.Port, "", s.Host), Authority: s.Host,
		}},
		Timeout: authorizerTimeout(p.Timeout),
	}
	out.http = &httpextauthzv3.ExtAuthz{
		Services:            &httpextauthzv3.ExtAuthz_GrpcService{GrpcService: service},
		FailureModeAllow:    p.FailOpen,
		StatusOnError:       statusOnError(p.StatusOnError),
		TransportApiVersion: corev3.ApiVersion_V3,
		WithRequestBody:     requestBody(p.IncludeRequestBodyInCheck),
	}
	out.network = &networkextauthzv3.ExtAuthz{
		StatPrefix: "tcp.", GrpcService: service,
		FailureModeAllow:    p.FailOpen,
		TransportApiVersion: corev3.ApiVersion_V3,
	}
	return out, ""
}

// authorizerTimeout: ten minutes unless said.
func authorizerTimeout(d *durationpb.Duration) *durationpb.Duration {
	if d == nil {
		return &durationpb.Duration{Seconds: 600}
	}
	return d
}

// statusOnError parses the status of an answer when the authorizer fails; the reader has checked
// it.
func statusOnError(code string) *typev3.HttpStatus {
	n, err := strconv.Atoi(code)
	if err != nil {
		return nil
	}
	return &typev3.HttpStatus{Code: typev3.StatusCode(n)}
}

func requestBody(b *extAuthzBody) *httpextauthzv3.BufferSettings {
	if b == nil {
		return nil
	}
	return &httpextauthzv3.BufferSettings{
		MaxRequestBytes: b.MaxRequestBytes, AllowPartialMessage: b.AllowPartialMessage,
		PackAsBytes: b.PackAsBytes,
	}
}

// headerNames matches names of headers in any case, with a wildcard at either end.
func headerNames(names []string) *matcherv3.ListStringMatcher {
	if len(names) == 0 {
		return nil
	}
	out := &matcherv3.ListStringMatcher{}
	for _, name := range names {
		m := wildcardMatch(name, "")
		m.IgnoreCase = true
		out.Patterns = append(out.Patterns, m)
	}
	return out
}
