package istio

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	klabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// oneOf checks a word; empty is the default and fine.
func (c *checker) oneOf(field, word string, words ...string) {
	if word != "" && !slices.Contains(words, word) {
		c.errorf(field, "must be one of %s, not %q%s", strings.Join(words, ", "), word,
			didYouMean(word, words))
	}
}

func (c *checker) protocol(field string, p corev1.Protocol) {
	c.oneOf(field, string(p), "TCP", "UDP", "SCTP")
}

// service checks what the API server checks of a Service.
func (c *checker) service() {
	s := &c.object.Body.(*corev1.Service).Spec
	c.oneOf("spec.type", string(s.Type), "ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
	c.labels("spec.selector", s.Selector)
	if s.Type == corev1.ServiceTypeExternalName {
		if msg := domain(s.ExternalName); msg != "" {
			c.errorf("spec.externalName", "%s", msg)
		}
	} else if s.ClusterIP != corev1.ClusterIPNone && len(s.Ports) == 0 {
		c.errorf("spec.ports", "is required")
	}
	if ip := s.ClusterIP; ip != "" && ip != corev1.ClusterIPNone && !isIP(ip) {
		c.errorf("spec.clusterIP", "must be None or an IP address, not %q", ip)
	} else {
		c.ip4("spec.clusterIP", ip)
	}
	c.ipFamilies(s.IPFamilies)
	if d := s.TrafficDistribution; d != nil {
		c.oneOf("spec.trafficDistribution", *d, "PreferClose", "PreferSameZone", "PreferSameNode",
			"PreferAnyEndpoint", "PreferSameRegion", "PreferSameNetwork", "Any")
	}
	names, numbers := map[string]bool{}, map[portKey]bool{}
	for i := range s.Ports {
		p, f := &s.Ports[i], at("spec.ports", i)
		c.servicePort(f, p)
		if p.Name == "" && len(s.Ports) > 1 {
			c.errorf(f+".name", "is required when there is more than one port")
		} else if names[p.Name] {
			c.errorf(f+".name", "is given twice: %s", p.Name)
		}
		key := portKey{cmp.Or(p.Protocol, corev1.ProtocolTCP), p.Port}
		if numbers[key] {
			c.errorf(f+".port", "is given twice: %d", p.Port)
		}
		names[p.Name], numbers[key] = true, true
	}
}

// ipFamilies checks the families of a Service's addresses: it has one of each where it can.
func (c *checker) ipFamilies(families []corev1.IPFamily) {
	const field = "spec.ipFamilies"
	for i, f := range families {
		c.oneOf(at(field, i), string(f), "IPv4", "IPv6")
	}
	switch ip6 := slices.Contains(families, corev1.IPv6Protocol); {
	case ip6 && slices.Contains(families, corev1.IPv4Protocol):
		c.warnf(field, "it has no IPv6 address: the lab's addresses are IPv4")
	case ip6:
		c.errorf(field, "IPv6 alone is not carried out yet; add IPv4")
	}
}

type portKey struct {
	protocol corev1.Protocol
	number   int32
}

func (c *checker) servicePort(field string, p *corev1.ServicePort) {
	c.port(field+".port", int64(p.Port))
	c.protocol(field+".protocol", p.Protocol)
	if p.Name != "" {
		if msg := dnsLabel(p.Name); msg != "" {
			c.errorf(field+".name", "%q: %s", p.Name, msg)
		}
	}
	switch t := p.TargetPort; {
	case t.Type == intstr.Int && t.IntVal != 0:
		c.port(field+".targetPort", int64(t.IntVal))
	case t.Type == intstr.String:
		for _, msg := range validation.IsValidPortName(t.StrVal) {
			c.errorf(field+".targetPort", "%q is no name of a port: %s", t.StrVal, msg)
		}
	}
}

// secret checks that a Secret for TLS has the keys of one.
func (c *checker) secret() {
	s := c.object.Body.(*corev1.Secret)
	if s.Type != corev1.SecretTypeTLS {
		return
	}
	for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		_, binary := s.Data[key]
		if _, text := s.StringData[key]; !binary && !text {
			c.errorf("data", "a Secret of type %s must have the key %s", s.Type, key)
		}
	}
}

func (c *checker) pod() {
	c.podSpec("spec", &c.object.Body.(*corev1.Pod).Spec)
}

func (c *checker) deployment() {
	s := &c.object.Body.(*appsv1.Deployment).Spec
	c.workload(s.Replicas, s.Selector, &s.Template)
}

func (c *checker) replicaSet() {
	s := &c.object.Body.(*appsv1.ReplicaSet).Spec
	c.workload(s.Replicas, s.Selector, &s.Template)
}

func (c *checker) statefulSet() {
	s := &c.object.Body.(*appsv1.StatefulSet).Spec
	c.workload(s.Replicas, s.Selector, &s.Template)
}

// workload checks what makes pods.
func (c *checker) workload(
	replicas *int32, selector *metav1.LabelSelector, template *corev1.PodTemplateSpec,
) {
	if replicas != nil && *replicas < 0 {
		c.errorf("spec.replicas", "must not be negative")
	}
	switch s, err := metav1.LabelSelectorAsSelector(selector); {
	case selector == nil:
		c.errorf("spec.selector", "is required")
	case err != nil:
		c.errorf("spec.selector", "%v", err)
	case s.Empty():
		c.errorf("spec.selector", "must not be empty")
	case !s.Matches(klabels.Set(template.Labels)):
		c.errorf("spec.template.metadata.labels", "do not match spec.selector (%s)", s)
	}
	c.template(&template.ObjectMeta)
	c.podSpec("spec.template.spec", &template.Spec)
}

func (c *checker) podSpec(field string, s *corev1.PodSpec) {
	if len(s.Containers) == 0 {
		c.errorf(field+".containers", "is required")
	}
	if s.ServiceAccountName != "" {
		if msg := dnsSubdomain(s.ServiceAccountName); msg != "" {
			c.errorf(field+".serviceAccountName", "%q: %s", s.ServiceAccountName, msg)
		}
	}
	names := map[string]bool{}
	for i := range s.Containers {
		k, f := &s.Containers[i], at(field+".containers", i)
		switch msg := dnsLabel(k.Name); {
		case k.Name == "":
			c.errorf(f+".name", "is required")
		case msg != "":
			c.errorf(f+".name", "%q: %s", k.Name, msg)
		case names[k.Name]:
			c.errorf(f+".name", "is given twice: %s", k.Name)
		}
		names[k.Name] = true
		if k.Image == "" {
			c.errorf(f+".image", "is required")
		}
		for j, p := range k.Ports {
			c.port(at(f+".ports", j)+".containerPort", int64(p.ContainerPort))
			c.protocol(at(f+".ports", j)+".protocol", p.Protocol)
		}
		for j, e := range k.Env {
			if e.Name == "" {
				c.errorf(at(f+".env", j)+".name", "is required")
			}
		}
	}
}

func (c *checker) endpoints() {
	for i, s := range c.object.Body.(*corev1.Endpoints).Subsets {
		f := at("subsets", i)
		addresses := func(field string, list []corev1.EndpointAddress) {
			for j, a := range list {
				c.ip(at(field, j)+".ip", a.IP)
			}
		}
		addresses(f+".addresses", s.Addresses)
		addresses(f+".notReadyAddresses", s.NotReadyAddresses)
		for j, p := range s.Ports {
			c.port(at(f+".ports", j)+".port", int64(p.Port))
			c.protocol(at(f+".ports", j)+".protocol", p.Protocol)
		}
	}
}

func (c *checker) endpointSlice() {
	s := c.object.Body.(*discoveryv1.EndpointSlice)
	if s.AddressType == "" {
		c.errorf("addressType", "is required")
	}
	for i, e := range s.Endpoints {
		for j, a := range e.Addresses {
			c.ip(at(at("endpoints", i)+".addresses", j), a)
		}
	}
	for i, p := range s.Ports {
		if p.Port != nil {
			c.port(at("ports", i)+".port", int64(*p.Port))
		}
	}
}

func (c *checker) ip(field, address string) {
	if !isIP(address) {
		c.errorf(field, "%q is not an IP address", address)
	}
	c.ip4(field, address)
}

// ip4 refuses an address of IPv6, in the words for an EndpointSlice of them.
func (c *checker) ip4(field, address string) {
	if a, err := netip.ParseAddr(address); err == nil && !a.Is4() {
		c.errorf(field, "the IPv6 address %s is not carried out yet (only IPv4)", address)
	}
}
