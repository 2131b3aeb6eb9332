package translate

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// Annotations of pod templates that the lab reads; the second spelling of a pair is the short one.
const (
	ipAnnotation       = "mesh-lab.dev/ip"            // chooses the pod's address
	ipShort            = "mesh-lab/ip"                //
	readyAnnotation    = "mesh-lab.dev/ready"         // "false": the pod is never ready
	readyShort         = "mesh-lab/ready"             //
	externalAnnotation = "mesh-lab.dev/external-host" // a server outside, with this name
)

// maxPods bounds what one process is asked to start.
const maxPods = 5000

// Where addresses are drawn from, the first free one first.
var (
	firstPodIP     = netip.MustParseAddr("10.244.0.2")
	firstServiceIP = netip.MustParseAddr("10.96.0.10")
)

// NewRegistry lists the pods and Services of a configuration and gives them addresses, in the order
// of the input. What was in prev (which may be nil) keeps its address; an address is not given
// again while prev is handed on. A Gateway that selects no gateway pod gets one, with a warning.
func NewRegistry(c *istio.Config, prev *Registry) (*Registry, []istio.Diagnostic) {
	b := &registryBuilder{
		config:   c,
		out:      &Registry{nextPod: firstPodIP, nextService: firstServiceIP},
		old:      map[string]netip.Addr{},
		used:     map[netip.Addr]bool{},
		holder:   map[netip.Addr]string{},
		ids:      map[string]*istio.Object{},
		excluded: map[string]bool{},
	}
	b.remember(prev)
	for _, o := range c.Kind("Namespace") {
		b.excluded[o.Name] = o.Labels["istio-injection"] == "disabled"
	}
	b.reserve()
	for _, o := range c.Objects {
		switch body := o.Body.(type) {
		case *corev1.Service:
			b.addService(o, body)
		case *corev1.Pod:
			if !b.owned(o, body.OwnerReferences) {
				b.addPod(o, o.Name, podSource{body.ObjectMeta, body.Spec, o.Name, o.Namespace})
			}
		case *appsv1.Deployment:
			b.addReplicas(o, body.Spec.Replicas, body.Spec.Template)
		case *appsv1.StatefulSet:
			b.addReplicas(o, body.Spec.Replicas, body.Spec.Template)
		case *appsv1.ReplicaSet:
			if !b.owned(o, body.OwnerReferences) {
				b.addReplicas(o, body.Spec.Replicas, body.Spec.Template)
			}
		}
	}
	b.makeGateways()
	return b.out, b.diagnostics
}

type registryBuilder struct {
	config      *istio.Config
	out         *Registry
	old         map[string]netip.Addr    // by "pod/NAME.NS", "service/NAME.NS"
	used        map[netip.Addr]bool      // not to be drawn
	holder      map[netip.Addr]string    // who has an address now
	ids         map[string]*istio.Object // of the pods, by what they come from
	excluded    map[string]bool          // namespaces with istio-injection: disabled
	diagnostics []istio.Diagnostic
}

// remember takes over the addresses of the registry before.
func (b *registryBuilder) remember(prev *Registry) {
	if prev == nil {
		return
	}
	if prev.nextPod.IsValid() {
		b.out.nextPod, b.out.nextService = prev.nextPod, prev.nextService
	}
	for _, p := range prev.Pods {
		b.old["pod/"+p.ID()] = p.IP
	}
	for _, s := range prev.Services {
		if s.VIP.IsValid() {
			b.old["service/"+s.Name+"."+s.Namespace] = s.VIP
		}
	}
}

// reserve keeps the addresses that the input spells out from being drawn.
func (b *registryBuilder) reserve() {
	for _, o := range b.config.Objects {
		var text string
		switch body := o.Body.(type) {
		case *corev1.Service:
			text = body.Spec.ClusterIP
		case *corev1.Pod:
			text = chosenIP(body.Annotations)
		case *appsv1.Deployment:
			text = chosenIP(body.Spec.Template.Annotations)
		case *appsv1.StatefulSet:
			text = chosenIP(body.Spec.Template.Annotations)
		case *appsv1.ReplicaSet:
			text = chosenIP(body.Spec.Template.Annotations)
		}
		if ip, err := netip.ParseAddr(text); err == nil {
			b.used[ip] = true
		}
	}
	for _, ip := range b.old {
		b.used[ip] = true
	}
}

func (b *registryBuilder) problem(o *istio.Object, field, format string, args ...any) {
	b.diagnostics = append(b.diagnostics, istio.Diagnostic{
		Place: o.At(field), Object: o.Ref(), Field: field, Msg: fmt.Sprintf(format, args...),
	})
}

func chosenIP(annotations map[string]string) string {
	if ip := annotations[ipAnnotation]; ip != "" {
		return ip
	}
	return annotations[ipShort]
}

// owned says whether a controller of the object is itself in the input: then it makes this one.
func (b *registryBuilder) owned(o *istio.Object, owners []metav1.OwnerReference) bool {
	for _, ref := range owners {
		for _, other := range b.config.Objects {
			if other.Kind == ref.Kind && other.Name == ref.Name && other.Namespace == o.Namespace {
				return true
			}
		}
	}
	return false
}

func (b *registryBuilder) addService(o *istio.Object, body *corev1.Service) {
	s := &Service{
		Name: o.Name, Namespace: o.Namespace, Object: o, Spec: body, Created: o.Created,
		Host: fqdn(o.Name, o.Namespace),
	}
	headless := body.Spec.ClusterIP == corev1.ClusterIPNone
	if !headless && body.Spec.Type != corev1.ServiceTypeExternalName {
		who := "service/" + s.Name + "." + s.Namespace
		s.VIP = b.address(who, body.Spec.ClusterIP, &b.out.nextService)
		b.take(o, "spec.clusterIP", who, s.VIP)
	}
	b.out.Services = append(b.out.Services, s)
}

// address returns the chosen address, else the old one, else the next free one.
func (b *registryBuilder) address(who, chosen string, next *netip.Addr) netip.Addr {
	if ip, err := netip.ParseAddr(chosen); err == nil {
		return ip
	}
	if ip, ok := b.old[who]; ok {
		return ip
	}
	for {
		ip := *next
		*next = ip.Next()
		if last := ip.As4()[3]; last != 0 && last != 255 && !b.used[ip] {
			b.used[ip] = true
			return ip
		}
	}
}

// take notes who has an address; two cannot.
func (b *registryBuilder) take(o *istio.Object, field, who string, ip netip.Addr) {
	if other := b.holder[ip]; other != "" {
		b.problem(o, field, "%s and %s cannot both have the address %s", other, who, ip)
	}
	b.holder[ip] = who
}

// podSource is what a pod is made of.
type podSource struct {
	meta     metav1.ObjectMeta
	spec     corev1.PodSpec
	workload string
	at       string // namespace
}

func (b *registryBuilder) addReplicas(o *istio.Object, replicas *int32, t corev1.PodTemplateSpec) {
	n := int32(1)
	if replicas != nil {
		n = *replicas
	}
	if int(n)+len(b.out.Pods) > maxPods {
		b.problem(o, "spec.replicas", "%d replicas: the lab runs at most %d pods", n, maxPods)
		return
	}
	for i := range n {
		src := podSource{t.ObjectMeta, t.Spec, o.Name, o.Namespace}
		b.addPod(o, fmt.Sprintf("%s-%d", o.Name, i), src)
	}
}

func (b *registryBuilder) addPod(o *istio.Object, name string, src podSource) {
	p := &Pod{
		Name: name, Namespace: src.at, Workload: src.workload,
		Labels: src.meta.Labels, Annotations: src.meta.Annotations,
		ServiceAccount: cmp.Or(
			src.spec.ServiceAccountName, src.spec.DeprecatedServiceAccount, "default"),
		Host:       src.meta.Annotations[externalAnnotation],
		Hostname:   src.spec.Hostname,
		Subdomain:  src.spec.Subdomain,
		Locality:   localityOf(src),
		Containers: src.spec.Containers,
		Volumes:    src.spec.Volumes,
		Created:    o.Created, Object: o,
	}
	if other := b.ids[p.ID()]; other != nil {
		b.problem(o, "metadata.name",
			"its pod %s is also one of %s: rename one of them", p.ID(), other.Ref())
		return
	}
	b.ids[p.ID()] = o
	p.Ready = b.ready(o, p)
	p.Role = b.role(p, src.spec)
	chosen := chosenIP(p.Annotations)
	field := templateField(o) + "annotations"
	if a, err := netip.ParseAddr(chosen); err != nil && chosen != "" {
		b.problem(o, field, "%s: %q is not an IP address", ipAnnotation, chosen)
	} else if err == nil && !a.Is4() {
		b.problem(o, field, "%s: the IPv6 address %s is not carried out yet (only IPv4)",
			ipAnnotation, chosen)
	}
	p.IP = b.address("pod/"+p.ID(), chosen, &b.out.nextPod)
	b.take(o, field, "pod/"+p.ID(), p.IP)
	b.out.Pods = append(b.out.Pods, p)
}

// templateField is where the metadata of an object's pods is written.
func templateField(o *istio.Object) string {
	if o.Kind == "Pod" {
		return "metadata."
	}
	return "spec.template.metadata."
}

func (b *registryBuilder) ready(o *istio.Object, p *Pod) bool {
	for _, name := range []string{readyAnnotation, readyShort} {
		switch value := p.Annotations[name]; value {
		case "", "true":
		case "false":
			return false
		default:
			b.problem(o, templateField(o)+"annotations",
				"%s: %q must be true or false", name, value)
		}
	}
	return !slices.ContainsFunc(p.Containers, saysUnready)
}

// Variables of containers that say the same as the annotation; the second is echo's.
var readyVariables = []string{"MESHLAB_READY", "ECHO_READY"}

// saysUnready: a container's environment has its pod never be ready. What is neither true nor false
// is for the app to refuse.
func saysUnready(c corev1.Container) bool {
	return slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
		ready, err := strconv.ParseBool(strings.TrimSpace(e.Value))
		return slices.Contains(readyVariables, e.Name) && err == nil && !ready
	})
}

func (b *registryBuilder) role(p *Pod, spec corev1.PodSpec) Role {
	const inject = "sidecar.istio.io/inject"
	switch {
	case p.Host != "":
		return External
	case onlyProxy(spec.Containers):
		return Gateway
	case p.Labels[inject] != "":
		if p.Labels[inject] == "false" {
			return Bare
		}
	case p.Annotations[inject] == "false", spec.HostNetwork, b.excluded[p.Namespace]:
		return Bare
	}
	return Sidecar
}

// onlyProxy: the pod has Istio's proxy and no application.
func onlyProxy(containers []corev1.Container) bool {
	return len(containers) > 0 && !slices.ContainsFunc(containers, func(c corev1.Container) bool {
		return !isProxyImage(c.Image)
	})
}

// isProxyImage: "auto" (the injector's placeholder), or istio/proxyv2 of any registry and tag.
func isProxyImage(image string) bool {
	if image == "auto" {
		return true
	}
	image, _, _ = strings.Cut(image, "@")
	if slash := strings.LastIndexByte(image, '/'); slash >= 0 {
		image = image[slash+1:]
	}
	image, _, _ = strings.Cut(image, ":")
	return image == "proxyv2"
}

// localityOf reads Istio's own label ("region.zone.subzone", also with slashes), then the usual
// topology labels; in a real cluster these are the node's, so a nodeSelector counts too.
func localityOf(src podSource) Locality {
	for _, label := range []string{"topology.istio.io/locality", "istio-locality"} {
		if text := src.meta.Labels[label]; text != "" {
			if !strings.Contains(text, "/") {
				text = strings.ReplaceAll(text, ".", "/")
			}
			parts := append(strings.SplitN(text, "/", 3), "", "")
			return Locality{Region: parts[0], Zone: parts[1], Subzone: parts[2]}
		}
	}
	label := func(name string) string {
		if v := src.meta.Labels[name]; v != "" {
			return v
		}
		return src.spec.NodeSelector[name]
	}
	return Locality{
		Region:  label("topology.kubernetes.io/region"),
		Zone:    label("topology.kubernetes.io/zone"),
		Subzone: label("topology.istio.io/subzone"),
	}
}

// sortedLabels prints labels as a selector, for messages and keys.
func sortedLabels(labels map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k+"="+labels[k])
	}
	return strings.Join(parts, ",")
}
