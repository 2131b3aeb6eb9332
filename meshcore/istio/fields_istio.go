package istio

const (
	tlsLater = "mutual TLS and TLS origination come with a later step"
	h2Later  = "proxies speak HTTP/1.1 to each other until a later step"
)

// istioFields decides on the messages of VirtualService, DestinationRule and Gateway.
var istioFields = fieldTable{
	"istio.networking.v1alpha3.VirtualService": rules(
		carried("hosts gateways http tls tcp exportTo")),
	"istio.networking.v1alpha3.TLSRoute": rules(carried("match route")),
	"istio.networking.v1alpha3.TLSMatchAttributes": rules(carried(`sniHosts destinationSubnets port
		sourceLabels gateways sourceNamespace`)),
	"istio.networking.v1alpha3.TCPRoute": rules(carried("match route")),
	"istio.networking.v1alpha3.L4MatchAttributes": rules(
		carried("destinationSubnets port sourceLabels gateways sourceNamespace"),
		noEffect("Istio ignores it as well", "sourceSubnet"),
	),
	"istio.networking.v1alpha3.RouteDestination": rules(carried("destination weight")),
	"istio.networking.v1alpha3.HTTPRoute": rules(carried(`name match route redirect directResponse
		delegate rewrite timeout retries fault mirror mirrors mirrorPercent mirrorPercentage
		corsPolicy headers`)),
	"istio.networking.v1alpha3.HTTPMatchRequest": rules(
		carried(`name uri scheme method authority headers port sourceLabels gateways queryParams
			ignoreUriCase withoutHeaders sourceNamespace`),
		noEffect("it names a statistic only", "statPrefix"),
	),
	"istio.networking.v1alpha3.StringMatch":          rules(carried("exact prefix regex")),
	"istio.networking.v1alpha3.HTTPRouteDestination": rules(carried("destination weight headers")),
	"istio.networking.v1alpha3.Destination":          rules(carried("host subset port")),
	"istio.networking.v1alpha3.PortSelector":         rules(carried("number")),
	"istio.networking.v1alpha3.HTTPRedirect": rules(
		carried("uri authority port derivePort scheme redirectCode prefixRewrite")),
	"istio.networking.v1alpha3.HTTPDirectResponse": rules(carried("status body")),
	"istio.networking.v1alpha3.HTTPBody":           rules(carried("string bytes")),
	"istio.networking.v1alpha3.Delegate":           rules(carried("name namespace")),
	"istio.networking.v1alpha3.HTTPRewrite":        rules(carried("uri authority uriRegexRewrite")),
	"istio.networking.v1alpha3.RegexRewrite":       rules(carried("match rewrite")),
	"istio.networking.v1alpha3.HTTPRetry": rules(carried(`attempts perTryTimeout retryOn
		retryRemoteLocalities retryIgnorePreviousHosts backoff`)),
	"istio.networking.v1alpha3.HTTPFaultInjection": rules(carried("delay abort")),
	"istio.networking.v1alpha3.HTTPFaultInjection.Delay": rules(
		carried("percent fixedDelay percentage"),
		notYet("Istio does not carry it out either; use fixedDelay", "exponentialDelay"),
	),
	"istio.networking.v1alpha3.HTTPFaultInjection.Abort": rules(
		carried("httpStatus grpcStatus percentage"),
		notYet("Istio does not carry it out either; use httpStatus", "http2Error"),
	),
	"istio.networking.v1alpha3.Percent":          rules(carried("value")),
	"istio.networking.v1alpha3.HTTPMirrorPolicy": rules(carried("destination percentage")),
	"istio.networking.v1alpha3.CorsPolicy": rules(carried(`allowOrigin allowOrigins allowMethods
		allowHeaders exposeHeaders maxAge allowCredentials unmatchedPreflights`)),
	"istio.networking.v1alpha3.Headers":                  rules(carried("request response")),
	"istio.networking.v1alpha3.Headers.HeaderOperations": rules(carried("set add remove")),

	"istio.networking.v1alpha3.DestinationRule": rules(
		carried("host trafficPolicy subsets exportTo workloadSelector")),
	"istio.type.v1beta1.WorkloadSelector": rules(carried("matchLabels")),
	"istio.networking.v1alpha3.Subset":    rules(carried("name labels trafficPolicy")),
	"istio.networking.v1alpha3.TrafficPolicy": rules(
		carried("loadBalancer connectionPool outlierDetection tls portLevelSettings retryBudget"),
		notYet("", "tunnel proxyProtocol"),
	),
	"istio.networking.v1alpha3.TrafficPolicy.PortTrafficPolicy": rules(
		carried("port loadBalancer connectionPool outlierDetection tls")),
	"istio.networking.v1alpha3.TrafficPolicy.RetryBudget": rules(
		carried("percent minRetryConcurrency"),
		notYet("", "budgetInterval"),
	),
	"istio.networking.v1alpha3.LoadBalancerSettings": rules(
		carried("simple consistentHash localityLbSetting"),
		notYet(
			"remove it: a new endpoint takes its full share at once",
			"warmup warmupDurationSecs",
		),
		notYet("use localityLbSetting", "zoneAwareLbSetting"),
	),
	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB": rules(carried(`httpHeaderName
		httpCookie useSourceIp httpQueryParameterName ringHash maglev minimumRingSize`)),
	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.RingHash": rules(
		carried("minimumRingSize")),
	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.MagLev": rules(
		carried("tableSize"),
	),
	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.HTTPCookie": rules(
		carried("name path ttl attributes")),
	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.HTTPCookie.Attribute": rules(
		carried("name value")),
	"istio.networking.v1alpha3.LocalityLoadBalancerSetting": rules(
		carried("distribute failover failoverPriority enabled")),
	"istio.networking.v1alpha3.LocalityLoadBalancerSetting.Distribute": rules(carried("from to")),
	"istio.networking.v1alpha3.LocalityLoadBalancerSetting.Failover":   rules(carried("from to")),
	"istio.networking.v1alpha3.ConnectionPoolSettings":                 rules(carried("tcp http")),
	"istio.networking.v1alpha3.ConnectionPoolSettings.TCPSettings": rules(
		carried("maxConnections connectTimeout maxConnectionDuration idleTimeout"),
		noEffect("the lab's connections cannot die unnoticed", "tcpKeepalive"),
	),
	"istio.networking.v1alpha3.ConnectionPoolSettings.HTTPSettings": rules(
		carried(`http1MaxPendingRequests http2MaxRequests maxRequestsPerConnection maxRetries
			idleTimeout`),
		noEffect("it is about HTTP/2 connections, of which there are none yet",
			"maxConcurrentStreams http2KeepAlive"),
		notYetUnless("DEFAULT DO_NOT_UPGRADE", h2Later, "h2UpgradePolicy"),
		notYetUnless("false", h2Later, "useClientProtocol"),
	),
	"istio.networking.v1alpha3.OutlierDetection": rules(
		carried(`splitExternalLocalOriginErrors consecutiveLocalOriginFailures consecutiveErrors
			consecutiveGatewayErrors consecutive5xxErrors interval baseEjectionTime
			maxEjectionPercent minHealthPercent`),
		notYet("use consecutive5xxErrors or consecutiveGatewayErrors",
			"outlierDetectionHttpErrorCodes"),
	),
	"istio.networking.v1alpha3.ClientTLSSettings": rules(
		carried(`mode sni subjectAltNames clientCertificate privateKey caCertificates
			credentialName insecureSkipVerify`),
		notYet("no certificate of the lab is revoked", "caCrl"),
	),

	"istio.networking.v1alpha3.ServiceEntry": rules(carried(`hosts addresses ports location
		resolution endpoints workloadSelector exportTo subjectAltNames`)),
	"istio.networking.v1alpha3.ServicePort": rules(carried("number protocol name targetPort")),
	"istio.networking.v1alpha3.WorkloadEntry": rules(
		carried("address ports labels locality weight serviceAccount"),
		notYet("the lab is one network", "network"),
	),
	"istio.networking.v1alpha3.WorkloadSelector": rules(carried("labels")),

	"istio.security.v1beta1.PeerAuthentication": rules(
		carried("selector mtls portLevelMtls"),
	),
	"istio.security.v1beta1.PeerAuthentication.MutualTLS": rules(carried("mode")),

	"istio.networking.v1alpha3.Gateway": rules(carried("servers selector")),
	"istio.networking.v1alpha3.Server": rules(
		carried("port bind hosts name tls"),
		noEffect("Istio ignores it as well", "defaultEndpoint"),
	),
	"istio.networking.v1alpha3.ServerTLSSettings": rules(
		carried(`httpsRedirect mode serverCertificate privateKey caCertificates tlsCertificates
			credentialName credentialNames caCertCredentialName subjectAltNames
			verifyCertificateSpki verifyCertificateHash minProtocolVersion maxProtocolVersion
			cipherSuites insecureSkipVerify`),
		notYet("give the list in the Secret, under ca.crl", "caCrl"),
	),
	"istio.networking.v1alpha3.ServerTLSSettings.TLSCertificate": rules(
		carried("serverCertificate privateKey"),
		noEffect("Istio ignores it as well", "caCertificates"),
	),
	"istio.networking.v1alpha3.Port": rules(
		carried("number name protocol targetPort"),
	),
}

// meshFields decides on MeshConfig, the defaults of the mesh.
var meshFields = fieldTable{
	"istio.mesh.v1alpha1.MeshConfig": rules(
		carried(
			`connectTimeout protocolDetectionTimeout outboundTrafficPolicy defaultServiceExportTo
			defaultVirtualServiceExportTo defaultDestinationRuleExportTo rootNamespace
			localityLbSetting pathNormalization defaultHttpRetryPolicy defaultTrafficPolicy
			defaultConfig accessLogFile accessLogFormat accessLogEncoding disableEnvoyListenerLog
			extensionProviders`,
		),
		notYetUnless("false", "use accessLogFile", "enableEnvoyAccessLogService"),
		noEffect("the lab exports no traces or metrics", `enableTracing enablePrometheusMerge
			defaultProviders inboundClusterStatName outboundClusterStatName`),
		noEffect("the lab reads no Ingress", `ingressClass ingressService ingressControllerMode
			ingressSelector`),
		carried("enableAutoMtls trustDomain trustDomainAliases meshMTLS tlsDefaults"),
		noEffect("clients check certificates by default", "verifyCertificateAtClient"),
		noEffect("the lab has its own certificate authority", "certificates ca"),
		notYet("the lab has its own certificate authority", "caCertificates"),
		noEffect("the lab's connections cannot die unnoticed", "tcpKeepalive"),
		noEffect(
			"the lab is one cluster without waypoints",
			"hboneIdleTimeout serviceScopeConfigs",
		),
		noEffect("the lab resolves names itself", "dnsRefreshRate"),
		notYetUnless("15001", "", "proxyListenPort"),
		notYetUnless("15006", "", "proxyInboundListenPort"),
		notYetUnless("0", "", "proxyHttpPort"),
		notYetUnless("DO_NOT_UPGRADE", h2Later, "h2UpgradePolicy"),
		notYet("use localityLbSetting", "zoneAwareLbSetting"),
		notYet("", `inboundTrafficPolicy configSources serviceSettings discoverySelectors
			serviceEntryVisibility`),
	),
	"istio.mesh.v1alpha1.MeshConfig.OutboundTrafficPolicy": rules(
		notYetUnless("ALLOW_ANY REGISTRY_ONLY", "", "mode"),
		notYet(tlsLater, "tls"),
	),
	"istio.mesh.v1alpha1.MeshConfig.TLSConfig": rules(
		carried("minProtocolVersion cipherSuites ecdhCurves")),
	"istio.mesh.v1alpha1.MeshConfig.ProxyPathNormalization": rules(carried("normalization")),
	"istio.mesh.v1alpha1.MeshConfig.DefaultTrafficPolicy": rules(
		carried("connectionPool outlierDetection")),
	"istio.mesh.v1alpha1.ProxyConfig": rules(
		carried("proxyHeaders"),
		noEffect("the lab starts its proxies itself", `configPath binaryPath serviceCluster
			tracingServiceName discoveryAddress discoveryRefreshDelay proxyAdminPort
			controlPlaneAuthPolicy customConfigFile proxyBootstrapTemplatePath concurrency
			statusPort image holdApplicationUntilProxyStarts readinessProbe meshId availabilityZone
			privateKeyProvider caCertificatesPem sds drainDuration terminationDrainDuration`),
		noEffect("the lab exports no traces or metrics", `zipkinAddress statsdUdpAddress
			envoyMetricsServiceAddress envoyMetricsService envoyAccessLogService tracing
			statNameLength extraStatTags proxyStatsMatcher statsCompression`),
		noEffect("the lines of access logs are shown as they come",
			"fileFlushInterval fileFlushMinSizeKb"),
		notYetUnless("REDIRECT", "", "interceptionMode"),
		notYet("", "gatewayTopology proxyMetadata runtimeValues connectionSettings"),
	),
	"istio.mesh.v1alpha1.ProxyConfig.ProxyHeaders": rules(
		carried("attemptCount xForwardedHost"),
		noEffect("metadata is exchanged for statistics only", "metadataExchangeHeaders"),
		notYet(
			"",
			`forwardedClientCert setCurrentClientCertDetails requestId server envoyDebugHeaders
			preserveHttp1HeaderCase xForwardedPort`,
		),
	),
	"istio.mesh.v1alpha1.ProxyConfig.ProxyHeaders.AttemptCount":   rules(carried("disabled")),
	"istio.mesh.v1alpha1.ProxyConfig.ProxyHeaders.XForwardedHost": rules(carried("enabled")),
}
