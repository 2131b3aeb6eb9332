package graph

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	securityv1beta1 "istio.io/api/security/v1beta1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// Of draws a configuration: services, the versions behind them, the rules between.
func Of(c *istio.Config, reg *translate.Registry) *Graph {
	b := &builder{g: &Graph{}, c: c, reg: reg, plain: plainText(c)}
	for _, p := range reg.Pods {
		b.pod(p)
	}
	for _, o := range c.Kind("ServiceEntry") {
		for _, h := range o.Body.(*networkingv1alpha3.ServiceEntry).Hosts {
			b.g.add(Node{ID: h, Kind: External, Label: h})
		}
	}
	for _, s := range reg.Services {
		b.service(s)
	}
	for _, o := range c.Kind("VirtualService") {
		b.virtualService(o, o.Body.(*networkingv1alpha3.VirtualService))
	}
	return b.g.sort()
}

type builder struct {
	g     *Graph
	c     *istio.Config
	reg   *translate.Registry
	plain []string // namespaces where mutual TLS is off; "" is the mesh
}

// plainText lists where PeerAuthentications turn mutual TLS off for all.
func plainText(c *istio.Config) []string {
	var out []string
	for _, o := range c.Kind("PeerAuthentication") {
		p, ok := o.Body.(interface {
			GetMtls() *securityv1beta1.PeerAuthentication_MutualTLS
		})
		if !ok || p.GetMtls().GetMode() != securityv1beta1.PeerAuthentication_MutualTLS_DISABLE {
			continue
		}
		namespace := o.Namespace
		if namespace == c.Mesh.GetRootNamespace() {
			namespace = ""
		}
		out = append(out, namespace)
	}
	return out
}

func (b *builder) pod(p *translate.Pod) {
	switch p.Role {
	case translate.Gateway:
		b.g.add(Node{ID: "outside", Kind: Outside, Label: "outside"})
		id := workloadID(p.Workload, p.Namespace)
		b.g.add(Node{ID: id, Kind: Gateway, Label: p.Workload})
		b.g.edge(Edge{From: "outside", To: id, Is: Calls})
	case translate.External:
		b.g.add(Node{ID: p.Host, Kind: External, Label: p.Host})
	default:
		b.g.add(Node{ID: workloadID(p.Workload, p.Namespace), Kind: Workload, Label: p.Workload})
	}
}

// secured says that calls to a pod are mutual TLS, as it is where nobody says otherwise.
func (b *builder) secured(p *translate.Pod) bool {
	return p.Role == translate.Sidecar && !slices.Contains(b.plain, "") &&
		!slices.Contains(b.plain, p.Namespace)
}

// service adds a Service and what is behind it, each with the name of its subset.
func (b *builder) service(s *translate.Service) {
	pods := b.reg.Selected(s)
	if len(pods) > 0 && !slices.ContainsFunc(pods, func(p *translate.Pod) bool {
		return p.Role != translate.Gateway
	}) {
		return // that of a gateway says nothing more
	}
	b.g.add(Node{ID: s.Host, Kind: Service, Label: shortHost(s.Host)})
	for _, p := range pods {
		var names []string
		for _, sub := range b.subsets(s.Host) {
			if len(sub.Labels) > 0 && translate.Selects(sub.Labels, p.Labels) {
				names = append(names, sub.Name)
			}
		}
		b.g.edge(Edge{From: s.Host, To: workloadID(p.Workload, p.Namespace), Is: Routes,
			Label: subsetLabel(names), MTLS: b.secured(p)})
	}
}

// subsets are those of the rules for a host.
func (b *builder) subsets(host string) []*networkingv1alpha3.Subset {
	var out []*networkingv1alpha3.Subset
	for _, o := range b.c.Kind("DestinationRule") {
		r := o.Body.(*networkingv1alpha3.DestinationRule)
		if fqdn(r.Host, o.Namespace) == host {
			out = append(out, r.Subsets...)
		}
	}
	return out
}

func fqdn(host, namespace string) string {
	if strings.Contains(host, ".") || host == "*" {
		return host
	}
	return host + "." + namespace + ".svc.cluster.local"
}

func (b *builder) virtualService(o *istio.Object, v *networkingv1alpha3.VirtualService) {
	for _, from := range b.sources(o, v) {
		for i, rule := range v.Http {
			b.rule(o.Namespace, from, i, len(v.Http), rule)
		}
		for _, rule := range v.Tcp {
			for _, r := range rule.Route {
				b.route(o.Namespace, from, r.Destination, r.Weight, "tcp")
			}
		}
		for _, rule := range v.Tls {
			for _, r := range rule.Route {
				b.route(o.Namespace, from, r.Destination, r.Weight, "tls")
			}
		}
	}
}

// sources are the nodes for which a VirtualService rules: gateways, or the hosts it names.
func (b *builder) sources(o *istio.Object, v *networkingv1alpha3.VirtualService) []string {
	var out []string
	for _, g := range v.Gateways {
		if g == "mesh" {
			continue
		}
		namespace, name, ok := strings.Cut(g, "/")
		if !ok {
			namespace, name = o.Namespace, g
		}
		out = append(out, b.gateways(namespace, name)...)
	}
	if len(v.Gateways) > 0 && !slices.Contains(v.Gateways, "mesh") {
		return out
	}
	for _, h := range v.Hosts {
		id := fqdn(h, o.Namespace)
		kind := External
		if strings.HasSuffix(id, ".svc.cluster.local") {
			kind = Service
		}
		b.g.add(Node{ID: id, Kind: kind, Label: shortHost(id)})
		out = append(out, id)
	}
	return out
}

// gateways are the workloads that a Gateway selects.
func (b *builder) gateways(namespace, name string) []string {
	var out []string
	for _, o := range b.c.Kind("Gateway") {
		g, ok := o.Body.(*networkingv1alpha3.Gateway)
		if !ok || o.Name != name || o.Namespace != namespace {
			continue
		}
		for _, p := range b.reg.Pods {
			id := workloadID(p.Workload, p.Namespace)
			if p.Role == translate.Gateway && translate.Selects(g.Selector, p.Labels) &&
				!slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}

// rule draws one HTTP rule.
func (b *builder) rule(
	namespace, from string, i, of int, r *networkingv1alpha3.HTTPRoute,
) {
	when := r.Name
	if when == "" && of > 1 {
		when = "rule " + strconv.Itoa(i+1)
	}
	for _, d := range r.Route {
		b.route(namespace, from, d.Destination, d.Weight, when)
	}
	first := from
	if len(r.Route) > 0 {
		first = b.dest(namespace, r.Route[0].Destination)
	}
	note := func(is Relation, text string) {
		if when != "" {
			text = when + ": " + text
		}
		b.g.edge(Edge{From: from, To: first, Is: is, Label: text})
	}
	if d := r.Fault.GetDelay(); d != nil {
		note(Fault, fmt.Sprintf("%v %% delayed by %s", d.Percentage.GetValue(),
			d.GetFixedDelay().AsDuration()))
	}
	if a := r.Fault.GetAbort(); a != nil {
		note(Fault, fmt.Sprintf("%v %% aborted with %d", a.Percentage.GetValue(),
			a.GetHttpStatus()))
	}
	if n := r.Retries.GetAttempts(); n > 0 {
		note(Retry, fmt.Sprintf("%d retries on %s", n, r.Retries.GetRetryOn()))
	}
	if r.Mirror != nil {
		percent := 100.0
		if p := r.MirrorPercentage; p != nil {
			percent = p.Value
		}
		b.mirror(namespace, from, r.Mirror, percent)
	}
	for _, m := range r.Mirrors {
		percent := 100.0
		if m.Percentage != nil {
			percent = m.Percentage.Value
		}
		b.mirror(namespace, from, m.Destination, percent)
	}
}

func (b *builder) mirror(
	namespace, from string, d *networkingv1alpha3.Destination, percent float64,
) {
	b.g.edge(Edge{From: from, To: b.dest(namespace, d), Is: Mirror,
		Label: strconv.FormatFloat(percent, 'g', 4, 64) + " % copied"})
}

// route draws the way to a destination. The share of the only one is not said.
func (b *builder) route(
	namespace, from string, d *networkingv1alpha3.Destination, weight int32, when string,
) {
	label := when
	if weight > 0 {
		label = strings.TrimSpace(when + " " + strconv.Itoa(int(weight)) + " %")
	}
	to := b.dest(namespace, d)
	if to == from && label == "" {
		return // the Service's own way
	}
	mtls := slices.ContainsFunc(b.g.Edges, func(e Edge) bool { return e.To == to && e.MTLS })
	b.g.edge(Edge{From: from, To: to, Is: Routes, Label: label, MTLS: mtls})
}

// dest is the node of a destination: the only workload of its subset, or the service.
func (b *builder) dest(namespace string, d *networkingv1alpha3.Destination) string {
	host := fqdn(d.GetHost(), namespace)
	for _, s := range b.reg.Services {
		if s.Host != host {
			continue
		}
		var found []string
		for _, sub := range b.subsets(host) {
			if sub.Name != d.GetSubset() || d.GetSubset() == "" {
				continue
			}
			for _, p := range b.reg.Selected(s) {
				id := workloadID(p.Workload, p.Namespace)
				if translate.Selects(sub.Labels, p.Labels) && !slices.Contains(found, id) {
					found = append(found, id)
				}
			}
		}
		if len(found) == 1 {
			return found[0]
		}
	}
	kind := Service
	if !strings.HasSuffix(host, ".svc.cluster.local") {
		kind = External
	}
	b.g.add(Node{ID: host, Kind: kind, Label: shortHost(host)})
	return host
}

// subsetLabel says of which subsets a version is.
func subsetLabel(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "subset " + strings.Join(names, ", ")
}
