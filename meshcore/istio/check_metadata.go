package istio

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	meshconfig "istio.io/api/mesh/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// metadata checks names, labels and annotations.
func (c *checker) metadata(k *kind) {
	o := c.object
	named := k.named
	if named == nil {
		named = dnsSubdomain
	}
	if o.Name == "" {
		c.errorf("metadata.name", "is required")
	} else if msg := named(o.Name); msg != "" {
		c.errorf("metadata.name", "%q: %s", clip(o.Name), msg)
	}
	if msg := dnsLabel(o.Namespace); !k.cluster && msg != "" {
		c.errorf("metadata.namespace", "%q: %s", clip(o.Namespace), msg)
	}
	c.tags("metadata", o.Labels, o.Annotations)
	c.dryRunElsewhere(k)
}

// template checks the metadata of a pod template.
func (c *checker) template(meta *metav1.ObjectMeta) {
	c.tags("spec.template.metadata", meta.Labels, meta.Annotations)
}

func (c *checker) tags(field string, labels, annotations map[string]string) {
	c.labels(field+".labels", labels)
	for _, name := range sortedNames(labels) {
		c.tag(in(field+".labels", name), "label", name, labels[name], istioLabels)
	}
	for _, name := range sortedNames(annotations) {
		c.tag(
			in(field+".annotations", name),
			"annotation",
			name,
			annotations[name],
			istioAnnotations,
		)
	}
}

// tag decides on a label or annotation. Those of other systems are nobody's business; of Istio's
// and of our own each has its rule.
func (c *checker) tag(field, what, name, value string, table map[string]fieldRule) {
	if name == proxyConfigAnnotation {
		c.proxyConfig(field, value)
		return
	}
	if strings.HasPrefix(name, "sidecar.istio.io/userVolume") && !json.Valid([]byte(value)) {
		c.errorf(field, "must be JSON: an object of volumes or mounts by name, or a list of them")
	}
	rule, known := table[name]
	if !known {
		domain, _, _ := strings.Cut(name, "/")
		known := sortedNames(table)
		switch {
		case domain == "mesh-lab.dev" || domain == "mesh-lab":
			c.errorf(field, "unknown %s%s", what, didYouMean(name, known))
		case domain == "istio.io" || strings.HasSuffix(domain, ".istio.io"):
			c.warnf(
				field,
				"unknown %s of Istio; nothing here reads it%s",
				what,
				didYouMean(name, known),
			)
		}
		return
	}
	if rule.verdict != notCarriedOut {
		return
	}
	for _, v := range rule.unless {
		if v == value {
			return
		}
	}
	if len(rule.unless) > 0 {
		what = strconv.Quote(clip(value))
	}
	c.errorf(field, "%s is not carried out yet%s", what, wayOut(rule.why))
}

func didYouMean(word string, known []string) string {
	if s := suggest(word, known); s != "" {
		return fmt.Sprintf("; did you mean %s?", s)
	}
	return ""
}

// proxyConfigAnnotation has a ProxyConfig for one pod, as YAML.
const proxyConfigAnnotation = "proxy.istio.io/config"

// proxyConfig checks the ProxyConfig of a pod: nothing in it that has an effect is carried out for
// one pod alone.
func (c *checker) proxyConfig(field, text string) {
	d := &decoder{
		file: c.object.file, object: c.ref, diags: c.diags, fields: fields, goType: goTypes{},
		meant: &[]string{}, place: func(Place) Place { return c.at(field) },
	}
	p := (*path)(nil).field(field)
	budget := aliasBudget
	for doc, bad := range documents(File{Data: []byte(text)}) {
		if bad == nil {
			bad = bounded(doc, &budget)
		}
		if bad != nil {
			c.errorf(field, "%s", bad.Msg)
			return
		}
		var config meshconfig.ProxyConfig
		d.message(deref(doc.root), config.ProtoReflect(), p)
		if config.ProxyHeaders != nil {
			c.errorf(field+".proxyHeaders", "proxyHeaders is not carried out for one pod yet; "+
				"set it for all proxies under defaultConfig of MeshConfig")
		}
	}
}

const ambientLater = "the lab has sidecars and gateways only"

// istioLabels decides on the labels of Istio that its API knows.
var istioLabels = rules(
	carried(`sidecar.istio.io/inject istio-injection topology.istio.io/locality
		topology.istio.io/subzone service.istio.io/canonical-name
		service.istio.io/canonical-revision service.istio.io/workload-name
		gateway.networking.k8s.io/gateway-name security.istio.io/tlsMode
		experimental.istio.io/disable-gateway-port-translation`),
	noEffect("the lab has one control plane", `istio.io/rev istio.io/tag operator.istio.io/component
		operator.istio.io/managed operator.istio.io/version gateway.istio.io/managed
		install.operator.istio.io/owning-resource
		install.operator.istio.io/owning-resource-namespace topology.istio.io/cluster
		gateway.networking.k8s.io/gateway-class-name`),
	noEffect("proxies use addresses of their own for ServiceEntries only where they capture DNS",
		"networking.istio.io/enable-autoallocate-ip"),
	noEffect(ambientLater, "istio.io/waypoint-for istio.io/ingress-use-waypoint"),
	notYetUnless("none", ambientLater, "istio.io/dataplane-mode"),
	notYetUnless("none", ambientLater, `istio.io/use-waypoint istio.io/use-waypoint-namespace
		istio.io/use-waypoint-canary istio.io/use-waypoint-canary-namespace`),
	notYet("the lab is one network", "topology.istio.io/network networking.istio.io/gatewayPort"),
)

// istioAnnotations decides on the annotations of Istio that its API knows, and on our own.
var istioAnnotations = rules(
	carried(
		`mesh-lab.dev/app mesh-lab.dev/command mesh-lab.dev/command-dir mesh-lab.dev/forward-to
		mesh-lab.dev/external-host mesh-lab.dev/ip mesh-lab.dev/ready mesh-lab/ip
		mesh-lab/ready sidecar.istio.io/inject sidecar.istio.io/userVolume
		sidecar.istio.io/userVolumeMount networking.istio.io/exportTo istio.io/dry-run`,
	),
	notYetUnless("gateway sidecar", "", "inject.istio.io/templates"),
	noEffect("the lab starts its proxies itself", `sidecar.istio.io/agentLogLevel
		sidecar.istio.io/componentLogLevel sidecar.istio.io/logLevel sidecar.istio.io/nativeSidecar
		sidecar.istio.io/discoveryAddress sidecar.istio.io/proxyCPU sidecar.istio.io/proxyCPULimit
		sidecar.istio.io/proxyImage sidecar.istio.io/proxyImageType sidecar.istio.io/proxyMemory
		sidecar.istio.io/proxyMemoryLimit sidecar.istio.io/status
		status.sidecar.istio.io/port proxy.istio.io/overrides
		traffic.istio.io/nodeSelector sidecar.istio.io/enableCoreDump`),
	noEffect(noProbes, `sidecar.istio.io/rewriteAppHTTPProbers
		readiness.status.sidecar.istio.io/applicationPorts
		readiness.status.sidecar.istio.io/failureThreshold
		readiness.status.sidecar.istio.io/initialDelaySeconds
		readiness.status.sidecar.istio.io/periodSeconds`),
	noEffect("the lab exports no traces or metrics", `sidecar.istio.io/extraStatTags
		sidecar.istio.io/statsCompression sidecar.istio.io/statsEvictionInterval
		sidecar.istio.io/statsFlushInterval sidecar.istio.io/statsHistogramBins
		sidecar.istio.io/statsHistogramBuckets sidecar.istio.io/statsInclusionPrefixes
		sidecar.istio.io/statsInclusionRegexps sidecar.istio.io/statsInclusionSuffixes
		prometheus.istio.io/merge-metrics`),
	noEffect("the lab has one control plane", `istio.io/rev istio.io/autoRegistrationGroup
		istio.io/connectedAt istio.io/disconnectedAt istio.io/workloadController
		gateway.istio.io/controller-version gateway.istio.io/name-override
		gateway.istio.io/service-account networking.istio.io/service-type
		topology.istio.io/controlPlaneClusters alpha.istio.io/canonical-serviceaccounts
		alpha.istio.io/kubernetes-serviceaccounts galley.istio.io/analyze-suppress
		install.operator.istio.io/chart-owner install.operator.istio.io/owner-generation`),
	noEffect(ambientLater, `ambient.istio.io/bypass-inbound-capture ambient.istio.io/dns-capture
		ambient.istio.io/waypoint-inbound-binding istio.io/reroute-virtual-interfaces
		istio.io/use-waypoint-canary-weight traffic.sidecar.istio.io/kubevirtInterfaces`),
	noEffect("the lab reads no Ingress", "kubernetes.io/ingress.class"),
	notYetUnless("REDIRECT TPROXY", "", "sidecar.istio.io/interceptionMode"),
	notYetUnless("disabled", ambientLater, "ambient.istio.io/redirection"),
	carried(`traffic.sidecar.istio.io/includeInboundPorts
		traffic.sidecar.istio.io/includeOutboundIPRanges
		traffic.sidecar.istio.io/includeOutboundPorts traffic.sidecar.istio.io/excludeInboundPorts
		traffic.sidecar.istio.io/excludeInterfaces traffic.sidecar.istio.io/excludeOutboundIPRanges
		traffic.sidecar.istio.io/excludeOutboundPorts`), // package intercept
	carried(proxyConfigAnnotation),
	notYet(
		"write trafficDistribution in the Service's spec",
		"networking.istio.io/traffic-distribution",
	),
	notYet("", "sidecar.istio.io/bootstrapOverride"),
)
