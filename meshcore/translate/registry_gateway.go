package translate

import (
	"maps"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// makeGateways adds a gateway pod for each selector of a Gateway that finds none. A Gateway without a
// selector applies to every gateway pod.
func (b *registryBuilder) makeGateways() {
	for _, o := range b.config.Kind("Gateway") {
		gw, ok := o.Body.(*networkingv1alpha3.Gateway)
		if !ok || b.selected(gw.Selector) {
			continue
		}
		src := madeGateway(o, gw)
		b.addPod(o, src.workload+"-0", src)
		// The pod stands where Istio's default installation puts it, not where the Gateway is.
		p := b.out.Pods[len(b.out.Pods)-1]
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
		if p.Role == Gateway && selects(selector, p.Labels) {
			return true
		}
	}
	return false
}

// madeGateway describes the pod of a Gateway without one. It is named like those of Istio's default
// installation: istio-ingressgateway for the label istio: ingressgateway.
func madeGateway(o *istio.Object, gw *networkingv1alpha3.Gateway) podSource {
	name := o.Name + "-gateway"
	if kind := gw.Selector["istio"]; kind != "" {
		name = "istio-" + kind
	}
	return podSource{
		meta:     metav1.ObjectMeta{Labels: maps.Clone(gw.Selector)},
		spec:     corev1.PodSpec{Containers: []corev1.Container{{Name: "istio-proxy", Image: "auto"}}},
		workload: name,
	}
}
