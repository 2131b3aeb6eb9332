package translate

import (
	"maps"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// makeGateways adds a gateway pod for each selector of a Gateway that finds none. A Gateway without
// a selector applies to every gateway pod.
func (b *registryBuilder) makeGateways() {
	for _, o := range b.config.Kind("Gateway") {
		gw, ok := o.Body.(*networkingv1alpha3.Gateway)
		if !ok || b.selected(gw.Selector) {
			continue
		}
		src := madeGateway(o, gw, b.config.Mesh.GetRootNamespace())
		before := len(b.out.Pods)
		b.addPod(o, src.workload+"-0", src)
		if len(b.out.Pods) == before {
			continue // its name is taken: reported
		}
		p := b.out.Pods[before]
		b.diagnostics = append(b.diagnostics, istio.Diagnostic{
			Severity: istio.Warning, Place: o.At("spec.selector"), Object: o.Ref(),
			Field: "spec.selector",
			Msg: "no gateway pod has the labels " + sortedLabels(gw.Selector) +
				"; the lab makes one: " + p.ID(),
		})
	}
}

func (b *registryBuilder) selected(selector map[string]string) bool {
	for _, p := range b.out.Pods {
		if p.Role == Gateway && Selects(selector, p.Labels) {
			return true
		}
	}
	return false
}

// madeGateway describes the pod of a Gateway without one: for Istio's own gateways it stands and is
// named as in Istio's default installation, others stand beside their Gateway.
func madeGateway(o *istio.Object, gw *networkingv1alpha3.Gateway, root string) podSource {
	proxy := corev1.Container{Name: "istio-proxy", Image: "auto"}
	src := podSource{
		meta:     metav1.ObjectMeta{Labels: maps.Clone(gw.Selector)},
		spec:     corev1.PodSpec{Containers: []corev1.Container{proxy}},
		workload: o.Name + "-gateway",
		at:       o.Namespace,
	}
	switch kind := gw.Selector["istio"]; kind {
	case "ingressgateway", "egressgateway":
		src.workload, src.at = "istio-"+kind, root
	}
	return src
}
