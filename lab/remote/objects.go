package remote

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// Headings returns the columns that kubectl prints after NAME for a kind.
func Headings(kind string) []string {
	switch kind {
	case "VirtualService":
		return []string{"GATEWAYS", "HOSTS"}
	case "DestinationRule":
		return []string{"HOST"}
	case "Service":
		return []string{"TYPE", "CLUSTER-IP", "PORT(S)"}
	case "Pod":
		return []string{"READY", "STATUS", "IP", "ROLE"}
	case "Deployment", "StatefulSet", "ReplicaSet":
		return []string{"READY"}
	case "Gateway":
		return []string{"SELECTOR", "SERVERS"}
	case "ConfigMap", "Secret":
		return []string{"DATA"}
	}
	return nil
}

// handleObjects lists the configuration, and the pods that the lab runs.
func (s *Server) handleObjects(w http.ResponseWriter, _ *http.Request) {
	c, reg := s.mesh.Config(), s.mesh.Registry()
	out := []Object{}
	for _, o := range c.Objects {
		if o.Kind == "Pod" {
			continue // it is among the pods that run
		}
		x, err := object(o)
		if err != nil {
			refuse(w, err, false)
			return
		}
		x.Columns = columns(o, reg)
		out = append(out, x)
	}
	for _, p := range reg.Pods {
		x, err := object(podObject(p))
		if err != nil {
			refuse(w, err, false)
			return
		}
		x.Columns = podColumns(p)
		out = append(out, x)
	}
	answer(w, out)
}

func object(o *istio.Object) (Object, error) {
	y, err := istio.Encode(o, istio.YAML)
	if err != nil {
		return Object{}, err
	}
	j, err := istio.Encode(o, istio.JSON)
	return Object{
		APIVersion: o.APIVersion, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name,
		YAML: string(y), JSON: j,
	}, err
}

// podObject describes a running pod as Kubernetes would.
func podObject(p *translate.Pod) *istio.Object {
	ready := corev1.ConditionFalse
	if p.Ready {
		ready = corev1.ConditionTrue
	}
	body := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		Spec:     corev1.PodSpec{Containers: p.Containers},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: p.IP.String(),
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}},
		},
	}
	body.Name, body.Namespace = p.Name, p.Namespace
	body.Labels, body.Annotations = p.Labels, p.Annotations
	return &istio.Object{
		APIVersion: "v1", Kind: "Pod", Name: p.Name, Namespace: p.Namespace, Labels: p.Labels,
		Annotations: p.Annotations, Body: body,
	}
}

// podColumns are READY, STATUS, IP and ROLE.
func podColumns(p *translate.Pod) []string {
	roles := map[translate.Role]string{
		translate.Sidecar: "sidecar", translate.Gateway: "gateway",
		translate.Bare: "bare", translate.External: "external",
	}
	n := 1
	if p.Role == translate.Sidecar {
		n = 2
	}
	up, status := n, "Running"
	if !p.Ready {
		up, status = n-1, "NotReady"
	}
	return []string{fmt.Sprintf("%d/%d", up, n), status, p.IP.String(), roles[p.Role]}
}

// columns returns an object's values under Headings.
func columns(o *istio.Object, reg *translate.Registry) []string {
	switch b := o.Body.(type) {
	case *networkingv1alpha3.VirtualService:
		return []string{list(b.Gateways), list(b.Hosts)}
	case *networkingv1alpha3.DestinationRule:
		return []string{b.Host}
	case *networkingv1alpha3.Gateway:
		return gatewayColumns(b)
	case *corev1.Service:
		return serviceColumns(o, b, reg)
	case *appsv1.Deployment:
		return []string{ready(o, reg)}
	case *appsv1.StatefulSet:
		return []string{ready(o, reg)}
	case *appsv1.ReplicaSet:
		return []string{ready(o, reg)}
	case *corev1.ConfigMap:
		return []string{fmt.Sprint(len(b.Data) + len(b.BinaryData))}
	case *corev1.Secret:
		return []string{fmt.Sprint(len(b.Data) + len(b.StringData))}
	}
	return nil
}

// ready counts a workload's pods: "1/2".
func ready(o *istio.Object, reg *translate.Registry) string {
	up, all := 0, 0
	for _, p := range reg.Pods {
		if p.Workload == o.Name && p.Namespace == o.Namespace {
			all++
			if p.Ready {
				up++
			}
		}
	}
	return fmt.Sprintf("%d/%d", up, all)
}

func gatewayColumns(g *networkingv1alpha3.Gateway) []string {
	var selector, servers []string
	for _, k := range slices.Sorted(maps.Keys(g.Selector)) {
		selector = append(selector, k+"="+g.Selector[k])
	}
	for _, s := range g.Servers {
		servers = append(servers, fmt.Sprintf("%d/%s %s", s.GetPort().GetNumber(),
			s.GetPort().GetProtocol(), strings.Join(s.Hosts, " ")))
	}
	return []string{strings.Join(selector, ","), strings.Join(servers, ", ")}
}

func serviceColumns(o *istio.Object, b *corev1.Service, reg *translate.Registry) []string {
	kind, ip := string(b.Spec.Type), "None"
	if kind == "" {
		kind = string(corev1.ServiceTypeClusterIP)
	}
	for _, s := range reg.Services {
		if s.Name == o.Name && s.Namespace == o.Namespace && s.VIP.IsValid() {
			ip = s.VIP.String()
		}
	}
	var ports []string
	for _, p := range b.Spec.Ports {
		proto := string(p.Protocol)
		if proto == "" {
			proto = "TCP"
		}
		ports = append(ports, fmt.Sprintf("%d/%s", p.Port, proto))
	}
	return []string{kind, ip, strings.Join(ports, ",")}
}

func list(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return `["` + strings.Join(s, `","`) + `"]`
}
