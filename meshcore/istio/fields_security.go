package istio

// securityFields decides on the messages of AuthorizationPolicy and RequestAuthentication, and of
// the providers of MeshConfig that authorize.
var securityFields = fieldTable{
	"istio.security.v1beta1.AuthorizationPolicy": rules(
		carried("selector targetRef targetRefs rules action provider")),
	"istio.security.v1beta1.AuthorizationPolicy.ExtensionProvider": rules(carried("name")),
	"istio.security.v1beta1.Rule":                                  rules(carried("from to when")),
	"istio.security.v1beta1.Rule.From":                             rules(carried("source")),
	"istio.security.v1beta1.Rule.To":                               rules(carried("operation")),
	"istio.security.v1beta1.Source": rules(carried(`principals notPrincipals requestPrincipals
		notRequestPrincipals namespaces notNamespaces serviceAccounts notServiceAccounts
		trustDomains notTrustDomains ipBlocks notIpBlocks remoteIpBlocks notRemoteIpBlocks`)),
	"istio.security.v1beta1.Operation": rules(
		carried("hosts notHosts ports notPorts methods notMethods paths notPaths")),
	"istio.security.v1beta1.Condition": rules(carried("key values notValues")),
	"istio.type.v1beta1.PolicyTargetReference": rules(
		carried("group kind name namespace")),

	"istio.security.v1beta1.RequestAuthentication": rules(
		carried("selector targetRef targetRefs jwtRules")),
	"istio.security.v1beta1.JWTRule": rules(carried(`issuer audiences jwksUri jwks fromHeaders
		fromParams fromCookies outputPayloadToHeader forwardOriginalToken outputClaimToHeaders
		spaceDelimitedClaims timeout`)),
	"istio.security.v1beta1.JWTHeader":     rules(carried("name prefix")),
	"istio.security.v1beta1.ClaimToHeader": rules(carried("header claim")),

	"istio.mesh.v1alpha1.MeshConfig.ExtensionProvider": rules(
		carried("name envoyExtAuthzHttp envoyExtAuthzGrpc"),
		noEffect("the lab exports no traces or metrics", `zipkin lightstep datadog stackdriver
			opencensus skywalking opentelemetry prometheus envoyFileAccessLog envoyHttpAls
			envoyTcpAls envoyOtelAls`),
		noEffect("it is about certificates of other systems", "sds"),
	),
	extAuthz + "HttpProvider": rules(
		carried(`service port timeout pathPrefix failOpen statusOnError includeHeadersInCheck
			includeRequestHeadersInCheck includeAdditionalHeadersInCheck includeRequestBodyInCheck
			headersToUpstreamOnAllow headersToDownstreamOnDeny headersToDownstreamOnAllow`),
		notYetUnless("false", "istiod does not carry it out either", "clearRouteCache"),
	),
	extAuthz + "GrpcProvider": rules(
		carried("service port timeout failOpen statusOnError includeRequestBodyInCheck"),
		notYetUnless("false", "istiod does not carry it out either", "clearRouteCache"),
	),
	extAuthz + "RequestBody": rules(carried("maxRequestBytes allowPartialMessage packAsBytes")),
}

const extAuthz = "istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.EnvoyExternalAuthorization"
