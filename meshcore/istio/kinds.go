package istio

import (
	"fmt"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	securityv1 "istio.io/api/security/v1"
	securityv1beta1 "istio.io/api/security/v1beta1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// kind says what becomes of the objects of a kind.
type kind struct {
	name, group string
	versions    []string
	cluster     bool                // cluster-scoped
	body        func() any          // nil: not carried out
	named       func(string) string // what a name violates; nil: a DNS subdomain
	validate    func(*checker)
	notYet      string // not carried out: the way out, if there is one
	noEffect    string // left out with a warning, because of this
}

var (
	v1     = []string{"v1"}
	istio3 = []string{"v1", "v1beta1", "v1alpha3"}
	istio2 = []string{"v1", "v1beta1"}
)

// API groups.
const (
	core       = ""
	apps       = "apps"
	networking = "networking.istio.io"
	security   = "security.istio.io"
	gatewayAPI = "gateway.networking.k8s.io"
	rbac       = "rbac.authorization.k8s.io"
)

// kinds is every kind that is known.
var kinds = slices.Concat(carriedKinds(), laterKinds(), unfeltKinds())

func body[T any]() func() any { return func() any { return new(T) } }

// carriedKinds lists what is carried out.
func carriedKinds() []kind {
	return []kind{
		{name: "Namespace", versions: v1, cluster: true, named: dnsLabel,
			body: body[corev1.Namespace]()},
		{name: "Service", versions: v1, named: dnsLabel,
			body: body[corev1.Service](), validate: (*checker).service},
		{name: "Pod", versions: v1, body: body[corev1.Pod](), validate: (*checker).pod},
		{name: "ServiceAccount", versions: v1, body: body[corev1.ServiceAccount]()},
		{name: "Secret", versions: v1,
			body: body[corev1.Secret](), validate: (*checker).secret},
		{name: "ConfigMap", versions: v1, body: body[corev1.ConfigMap]()},
		{name: "Endpoints", versions: v1,
			body: body[corev1.Endpoints](), validate: (*checker).endpoints},
		{name: "EndpointSlice", group: "discovery.k8s.io", versions: v1,
			body: body[discoveryv1.EndpointSlice](), validate: (*checker).endpointSlice},
		{name: "Deployment", group: apps, versions: v1,
			body: body[appsv1.Deployment](), validate: (*checker).deployment},
		{name: "StatefulSet", group: apps, versions: v1,
			body: body[appsv1.StatefulSet](), validate: (*checker).statefulSet},
		{name: "ReplicaSet", group: apps, versions: v1,
			body: body[appsv1.ReplicaSet](), validate: (*checker).replicaSet},
		{name: "VirtualService", group: networking, versions: istio3,
			body: body[networkingv1alpha3.VirtualService](), validate: (*checker).virtualService},
		{name: "DestinationRule", group: networking, versions: istio3,
			body: body[networkingv1alpha3.DestinationRule](), validate: (*checker).destinationRule},
		{name: "Gateway", group: networking, versions: istio3, named: gatewayName,
			body: body[networkingv1alpha3.Gateway](), validate: (*checker).gateway},
		{name: "ServiceEntry", group: networking, versions: istio3,
			body: body[networkingv1alpha3.ServiceEntry](), validate: (*checker).serviceEntry},
		{name: "WorkloadEntry", group: networking, versions: istio3,
			body: body[networkingv1alpha3.WorkloadEntry](), validate: (*checker).workloadEntry},
		{name: "PeerAuthentication", group: security, versions: istio2,
			body:     body[securityv1beta1.PeerAuthentication](),
			validate: (*checker).peerAuthentication},
		{name: "AuthorizationPolicy", group: security, versions: istio2,
			body:     body[securityv1.AuthorizationPolicy](),
			validate: (*checker).authorizationPolicy},
		{name: "RequestAuthentication", group: security, versions: istio2,
			body:     body[securityv1.RequestAuthentication](),
			validate: (*checker).requestAuthentication},
	}
}

// laterKinds lists what touches traffic and is not carried out yet.
func laterKinds() []kind {
	var out []kind
	add := func(group string, versions []string, names, way string) {
		for name := range strings.FieldsSeq(names) {
			out = append(out, kind{name: name, group: group, versions: versions, notYet: way})
		}
	}
	const (
		pods    = "a Deployment makes pods"
		ingress = "use a Gateway of networking.istio.io/v1 and a VirtualService"
		policy  = "every pod may talk to every other"
		secret  = "give the Secret that it would make"

		certManager = "Certificate CertificateRequest Issuer ClusterIssuer"
	)
	add(networking, istio3, "Sidecar", "")
	add(networking, istio2, "WorkloadGroup ProxyConfig", "")
	add(networking, []string{"v1alpha3"}, "EnvoyFilter", "")
	add("telemetry.istio.io", []string{"v1", "v1alpha1"}, "Telemetry", "")
	add("extensions.istio.io", []string{"v1alpha1"}, "WasmPlugin TrafficExtension", "")
	add("install.istio.io", []string{"v1alpha1"}, "IstioOperator",
		"give its spec.meshConfig as --mesh-config or as the ConfigMap istio-system/istio")
	add(gatewayAPI, []string{"v1", "v1beta1", "v1alpha2"}, `Gateway GatewayClass HTTPRoute GRPCRoute
		TLSRoute TCPRoute UDPRoute ReferenceGrant BackendTLSPolicy XBackendTrafficPolicy
		ListenerSet`,
		ingress)
	add("gateway.networking.x-k8s.io", []string{"v1alpha1"},
		"XBackendTrafficPolicy XListenerSet XMesh", ingress)
	add("networking.k8s.io", v1, "Ingress IngressClass", ingress)
	add("networking.k8s.io", v1, "NetworkPolicy", policy)
	add("projectcalico.org", []string{"v3"}, "NetworkPolicy GlobalNetworkPolicy", policy)
	add("cilium.io", []string{"v2"}, "CiliumNetworkPolicy CiliumClusterwideNetworkPolicy", policy)
	add("route.openshift.io", v1, "Route", ingress)
	add("apps.openshift.io", v1, "DeploymentConfig", pods)
	add(apps, v1, "DaemonSet", pods)
	add("batch", v1, "Job CronJob", pods)
	add(core, v1, "ReplicationController PodTemplate", pods)
	add("serving.knative.dev", v1, "Service Revision Configuration Route", pods)
	add("argoproj.io", []string{"v1alpha1"}, "Rollout", pods)
	add("flagger.app", []string{"v1beta1"}, "Canary", "")
	add("cert-manager.io", []string{"v1", "v1beta1", "v1alpha3", "v1alpha2"}, certManager, secret)
	add("certmanager.k8s.io", []string{"v1alpha1"}, certManager, secret)
	return out
}

// unfeltKinds lists what real manifests carry and no request can feel here: they are left out.
func unfeltKinds() []kind {
	var out []kind
	add := func(why, group string, versions []string, names string) {
		for name := range strings.FieldsSeq(names) {
			out = append(out, kind{name: name, group: group, versions: versions, noEffect: why})
		}
	}
	const (
		noAPI     = "the lab has no API server for pods to ask"
		noScaling = "the lab does not scale by itself"
		noMetrics = "the lab exports no traces or metrics"
	)
	add(noAPI, rbac, istio2, "Role RoleBinding ClusterRole ClusterRoleBinding")
	add(noAPI, "apiextensions.k8s.io", istio2, "CustomResourceDefinition")
	add(noAPI, "admissionregistration.k8s.io", istio2, `MutatingWebhookConfiguration
		ValidatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding`)
	add(noAPI, "coordination.k8s.io", v1, "Lease")
	add(noAPI, core, v1, "Event ComponentStatus Binding")
	add(noAPI, "events.k8s.io", v1, "Event")
	add(
		noScaling,
		"autoscaling",
		[]string{"v1", "v2", "v2beta1", "v2beta2"},
		"HorizontalPodAutoscaler",
	)
	add(noScaling, "autoscaling.k8s.io", v1, "VerticalPodAutoscaler")
	add("the lab evicts no pods", "policy", istio2, "PodDisruptionBudget")
	add(noKernel, "policy", istio2, "PodSecurityPolicy")
	add(noStorage, core, v1, "PersistentVolume PersistentVolumeClaim")
	add(noStorage, "storage.k8s.io", v1, "StorageClass")
	add(noLimits, core, v1, "LimitRange ResourceQuota")
	add(oneNode, core, v1, "Node")
	add(oneNode, "scheduling.k8s.io", v1, "PriorityClass")
	add(oneNode, "node.k8s.io", v1, "RuntimeClass")
	add(noMetrics, "monitoring.coreos.com", v1, "ServiceMonitor PodMonitor PrometheusRule")
	add("it describes an application", "app.k8s.io", []string{"v1beta1"}, "Application")
	add("it describes how kustomize builds files", "kustomize.config.k8s.io",
		[]string{"v1beta1", "v1alpha1"}, "Kustomization")
	return out
}

// KnownKinds lists the kinds that are carried out.
func KnownKinds() []string {
	var out []string
	for _, k := range kinds {
		if k.body != nil {
			out = append(out, k.name)
		}
	}
	return out
}

func (k *kind) apiVersion() string {
	if k.group == core {
		return k.versions[0]
	}
	return k.group + "/" + k.versions[0]
}

// splitVersion cuts "apps/v1" and "v1".
func splitVersion(apiVersion string) (group, version string) {
	group, version, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return core, apiVersion
	}
	return group, version
}

// kind finds the kind of an object, or reports why it has none.
func (c *checker) kind() *kind {
	o := c.object
	switch {
	case o.Kind == "" && o.APIVersion == "":
		c.errorf("", "the document is no object: it has neither apiVersion nor kind")
		return nil
	case o.Kind == "":
		c.errorf("kind", "is required%s", oneOfKinds(o.APIVersion))
		return nil
	}
	group, version := splitVersion(o.APIVersion)
	var sameName []string
	var near *kind
	for i := range kinds {
		k := &kinds[i]
		if k.name != o.Kind {
			continue
		}
		if k.group == group && slices.Contains(k.versions, version) {
			return k
		}
		sameName = append(sameName, k.apiVersion())
		if k.group == group || near == nil {
			near = k
		}
	}
	if k := c.modernize(); k != nil {
		return k
	}
	if modern := c.oldKind(group); modern != "" {
		c.errorf("kind", "Istio 1.6 removed %s; %s", o.Kind, modern)
		return nil
	}
	switch {
	case o.APIVersion == "" && near != nil:
		c.errorf(
			"apiVersion",
			"is required; for a %s it is %s",
			o.Kind,
			strings.Join(sameName, " or "),
		)
	case near != nil:
		c.errorf(
			"apiVersion",
			"%s has no kind %s; write %s",
			o.APIVersion,
			o.Kind,
			near.apiVersion(),
		)
	default:
		c.errorf("kind", "%s is not a kind that mesh-lab knows%s", o.Kind, kindHint(group, o.Kind))
	}
	return nil
}

func oneOfKinds(apiVersion string) string {
	group, version := splitVersion(apiVersion)
	var names []string
	for _, k := range kinds {
		if k.body != nil && k.group == group && slices.Contains(k.versions, version) {
			names = append(names, k.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; " + apiVersion + " has " + strings.Join(names, ", ")
}

// gone are the API groups of old Istio, which tutorials still show.
var gone = map[string]string{
	"config.istio.io":         "Istio 1.8 removed Mixer with its kinds",
	"rbac.istio.io":           "Istio 1.6 removed it; its AuthorizationPolicy took its place",
	"authentication.istio.io": "Istio 1.6 removed it; its PeerAuthentication took its place",
}

func kindHint(group, word string) string {
	if why := gone[group]; why != "" {
		return "; " + why
	}
	names := []string{graphKind}
	for _, k := range kinds {
		names = append(names, k.name)
	}
	if s := suggest(word, names); s != "" {
		return fmt.Sprintf("; did you mean %s?", s)
	}
	return "; it carries out " + strings.Join(KnownKinds(), ", ")
}
