package remote

import (
	"fmt"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// Headings returns the columns that kubectl prints after NAME for a kind.
func Headings(kind string) []string {
	switch kind {
	case "VirtualService":
		return []string{"GATEWAYS", "HOSTS"}
	case "DestinationRule":
		return []string{"HOST"}
	case "Service":
		return []string{"TYPE", "PORT(S)"}
	}
	return nil
}

// columns returns an object's values under Headings.
func columns(o *istio.Object) []string {
	switch b := o.Body.(type) {
	case *networkingv1alpha3.VirtualService:
		return []string{list(b.Gateways), list(b.Hosts)}
	case *networkingv1alpha3.DestinationRule:
		return []string{b.Host}
	case *corev1.Service:
		var ports []string
		for _, p := range b.Spec.Ports {
			proto := string(p.Protocol)
			if proto == "" {
				proto = "TCP"
			}
			ports = append(ports, fmt.Sprintf("%d/%s", p.Port, proto))
		}
		t := string(b.Spec.Type)
		if t == "" {
			t = "ClusterIP"
		}
		return []string{t, strings.Join(ports, ",")}
	}
	return nil
}

func list(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return `["` + strings.Join(s, `","`) + `"]`
}
