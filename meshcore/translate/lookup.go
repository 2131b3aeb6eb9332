package translate

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// Endpoints returns the ready pods' addresses behind a port of a Service with a selector: what
// kube-proxy balances over where no sidecar does.
func (r *Registry) Endpoints(s *Service, number uint16) []netip.AddrPort {
	sp := servicePort(s, func(p *corev1.ServicePort) bool { return p.Port == int32(number) })
	if sp == nil {
		return nil
	}
	var out []netip.AddrPort
	for _, p := range r.Selected(s) {
		t, ok := (&port{spec: sp, number: uint32(number)}).target(p)
		if ok && (p.Ready || s.Spec.Spec.PublishNotReadyAddresses) {
			out = append(out, netip.AddrPortFrom(p.IP, uint16(t)))
		}
	}
	return out
}

// Selected returns the pods that a Service selects; none without a selector.
func (r *Registry) Selected(s *Service) []*Pod {
	var out []*Pod
	for _, p := range r.Pods {
		if p.Namespace == s.Namespace && len(s.Spec.Spec.Selector) > 0 &&
			Selects(s.Spec.Spec.Selector, p.Labels) {
			out = append(out, p)
		}
	}
	return out
}

// servicePort returns the first port of a Service that matches.
func servicePort(s *Service, match func(*corev1.ServicePort) bool) *corev1.ServicePort {
	for i := range s.Spec.Spec.Ports {
		if p := &s.Spec.Spec.Ports[i]; match(p) {
			return p
		}
	}
	return nil
}

// TargetPort returns the pod's port behind a port number of any Service that selects the pod.
func (r *Registry) TargetPort(p *Pod, number uint16) (uint16, bool) {
	_, target, ok := r.portOf(p, func(sp *corev1.ServicePort, _ uint32) bool {
		return sp.Port == int32(number)
	})
	return target, ok
}

// ServicePort returns the Service's port number behind which a pod's port is reached.
func (r *Registry) ServicePort(p *Pod, target uint16) (uint16, bool) {
	number, _, ok := r.portOf(p, func(_ *corev1.ServicePort, t uint32) bool {
		return t == uint32(target)
	})
	return number, ok
}

func (r *Registry) portOf(
	p *Pod, match func(sp *corev1.ServicePort, target uint32) bool,
) (number, target uint16, ok bool) {
	for _, s := range r.Services {
		if s.Namespace != p.Namespace || !Selects(s.Spec.Spec.Selector, p.Labels) ||
			len(s.Spec.Spec.Selector) == 0 {
			continue
		}
		for i := range s.Spec.Spec.Ports {
			sp := &s.Spec.Spec.Ports[i]
			t, found := (&port{spec: sp, number: uint32(sp.Port)}).target(p)
			if found && match(sp, t) {
				return uint16(sp.Port), uint16(t), true
			}
		}
	}
	return 0, 0, false
}
