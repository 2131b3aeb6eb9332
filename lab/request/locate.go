package request

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// locate finds the sending pod and, for a client from outside, the gateway to connect to.
func locate(m topology.Mesh, p *plan) (from string, err error) {
	if p.From == "" {
		return "", fmt.Errorf("from: want WORKLOAD[.NAMESPACE] or outside; workloads here: %s",
			workloads(m.Registry()))
	}
	p.podAddress(m.Registry())
	if p.From != topology.Outside {
		if p.Gateway != "" {
			return "", fmt.Errorf("gateway is for requests from outside")
		}
		pod, err := Pod(m.Registry(), p.From)
		if err != nil {
			return "", err
		}
		return pod.ID(), nil
	}
	if p.Connect != "" {
		return topology.Outside, nil
	}
	gw, err := gateway(m, p.Gateway)
	if err != nil {
		return "", err
	}
	port := p.port()
	if tp, ok := m.Registry().TargetPort(gw, port); ok {
		port = tp
	}
	p.address = net.JoinHostPort(gw.IP.String(), strconv.Itoa(int(port)))
	return topology.Outside, nil
}

// podAddress lets --connect name a pod, POD.NAMESPACE, in place of its address.
func (p *plan) podAddress(r *translate.Registry) {
	host, port, err := net.SplitHostPort(p.Connect)
	if err != nil {
		return
	}
	for _, pod := range r.Pods {
		if pod.ID() == host {
			p.address = net.JoinHostPort(pod.IP.String(), port)
		}
	}
}

// Pod finds a pod by its ID, its workload's name, or its app's, each with or without the namespace.
func Pod(r *translate.Registry, name string) (*translate.Pod, error) {
	for _, key := range []func(*translate.Pod) string{
		func(p *translate.Pod) string { return p.Name },
		func(p *translate.Pod) string { return p.Workload },
		func(p *translate.Pod) string { return p.Labels["app"] },
		func(p *translate.Pod) string { return p.Host },
	} {
		var found []*translate.Pod
		for _, p := range r.Pods {
			if k := key(p); k != "" && (k == name || k+"."+p.Namespace == name) {
				found = append(found, p)
			}
		}
		if len(found) > 0 {
			if i := slices.IndexFunc(found, func(p *translate.Pod) bool {
				return p.Namespace != found[0].Namespace
			}); i > 0 && !strings.Contains(name, ".") {
				a, b := found[0].Namespace, found[i].Namespace
				return nil, fmt.Errorf("workload %q is in several namespaces: %s and %s; "+
					"write %[1]s.%[2]s", name, a, b)
			}
			return found[0], nil
		}
	}
	return nil, fmt.Errorf("no workload %q in the lab; there are: %s", name, workloads(r))
}

// gateway finds a gateway pod; without a name the only one.
func gateway(m topology.Mesh, name string) (*translate.Pod, error) {
	selector := selectorOf(m.Config(), name)
	var all []*translate.Pod
	for _, p := range m.Registry().Pods {
		if p.Role != translate.Gateway {
			continue
		}
		all = append(all, p)
		if name != "" && (p.Workload == name || p.Workload+"."+p.Namespace == name ||
			p.Name == name || p.ID() == name) ||
			selector != nil && translate.Selects(selector, p.Labels) {
			return p, nil
		}
	}
	switch {
	case name != "":
		var names []string
		for _, p := range all {
			names = append(names, p.Workload+"."+p.Namespace)
		}
		return nil, fmt.Errorf("no gateway %q in the lab; there are: %s", name,
			strings.Join(names, ", "))
	case len(all) == 0:
		return nil, fmt.Errorf("no gateway in the lab: a Gateway makes one")
	case len(all) > 1 && all[0].Workload != all[1].Workload:
		return nil, fmt.Errorf("several gateways in the lab: name one with --gateway, such as %s",
			all[0].Workload+"."+all[0].Namespace)
	}
	return all[0], nil
}

// selectorOf returns the selector of a Gateway, NAME or NAME.NAMESPACE; nil when there is none.
func selectorOf(c *istio.Config, name string) map[string]string {
	for _, o := range c.Kind("Gateway") {
		g, ok := o.Body.(*networkingv1alpha3.Gateway)
		if ok && name != "" && (o.Name == name || o.Name+"."+o.Namespace == name) {
			return g.Selector
		}
	}
	return nil
}

// workloads lists the names of all workloads, each once.
func workloads(r *translate.Registry) string {
	var names []string
	for _, p := range r.Pods {
		if n := p.Workload + "." + p.Namespace; !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// Locate finds the sender of requests to a URL and, for a client from outside, the gateway's
// address to connect to (empty: the URL's own).
func Locate(m topology.Mesh, from, gateway, url string) (sender, connect string, err error) {
	p, err := Spec{From: from, Gateway: gateway, URL: url}.check()
	if err != nil {
		return "", "", err
	}
	was := p.address
	sender, err = locate(m, &p)
	if p.address != was {
		connect = p.address
	}
	return sender, connect, err
}
