package istio

import (
	"cmp"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	klabels "k8s.io/apimachinery/pkg/labels"
)

// CrossCheck warns of what is certain to be a mistake although Istio takes it: names of things that
// do not exist. It looks at a whole configuration, so it belongs behind Merge; Read alone does not
// call it.
func CrossCheck(c *Config) []Diagnostic {
	x := newCrossChecker(c)
	for _, o := range c.Objects {
		check := newChecker(o, &x.diags)
		switch body := o.Body.(type) {
		case *networkingv1alpha3.VirtualService:
			x.virtualService(check, body)
		case *networkingv1alpha3.DestinationRule:
			x.destinationRule(check, body)
		case *networkingv1alpha3.Gateway:
			x.gateway(check, body)
		}
	}
	x.unserved(c)
	var files []string
	for _, o := range c.Objects {
		if !slices.Contains(files, o.file) {
			files = append(files, o.file)
		}
	}
	return sorted(x.diags, files)
}

// crossChecker knows what exists.
type crossChecker struct {
	services  map[string]*corev1.Service // by full host name
	external  map[string]bool            // hosts outside, and of ServiceEntries, wildcards too
	gateways  map[string]bool            // NAMESPACE/NAME
	delegates map[string]*networkingv1alpha3.VirtualService
	subsets   map[string]map[string]bool // by full host name
	pods      []pods
	diags     []Diagnostic
}

// pods is what a workload's pods, or a pod, are labelled with.
type pods struct {
	namespace string
	labels    klabels.Set
}

func newCrossChecker(c *Config) *crossChecker {
	x := &crossChecker{
		services: map[string]*corev1.Service{}, external: map[string]bool{},
		gateways: map[string]bool{}, subsets: map[string]map[string]bool{},
		delegates: map[string]*networkingv1alpha3.VirtualService{},
	}
	for _, o := range c.Objects {
		switch body := o.Body.(type) {
		case *corev1.Service:
			x.services[fullHost(o.Name, o.Namespace)] = body
		case *networkingv1alpha3.ServiceEntry:
			for _, host := range body.Hosts {
				x.external[host] = true
			}
		case *networkingv1alpha3.Gateway:
			x.gateways[o.Namespace+"/"+o.Name] = true
		case *networkingv1alpha3.VirtualService:
			if len(body.Hosts) == 0 {
				x.delegates[o.Namespace+"/"+o.Name] = body
			}
		case *networkingv1alpha3.DestinationRule:
			host := fullHost(body.Host, o.Namespace)
			if x.subsets[host] == nil {
				x.subsets[host] = map[string]bool{}
			}
			for _, s := range body.Subsets {
				x.subsets[host][s.Name] = true
			}
		}
		if meta, annotations, ok := podsOf(o); ok {
			x.pods = append(x.pods, pods{o.Namespace, meta})
			if host := annotations["mesh-lab.dev/external-host"]; host != "" {
				x.external[host] = true
			}
		}
	}
	return x
}

// fullHost returns the full name of a short host: Istio completes names without dots in the
// namespace of the object that they are in (pilot/pkg/model/config.go ResolveShortnameToFQDN).
func fullHost(host, namespace string) string {
	if strings.ContainsAny(host, ".*") {
		return strings.TrimSuffix(host, ".")
	}
	return host + "." + namespace + ".svc.cluster.local"
}

// known reports whether there is a host. Wildcards may stand for hosts that nobody can list.
func (x *crossChecker) known(host string) bool {
	if strings.Contains(host, "*") || x.services[host] != nil || x.external[host] {
		return true
	}
	for _, pattern := range sortedNames(x.external) {
		if strings.HasPrefix(pattern, "*") && overlap(pattern, host) {
			return true
		}
	}
	return false
}

// nearest suggests an existing host for one that does not exist: a like name in the same namespace,
// or the same name in another.
func (x *crossChecker) nearest(host string) string {
	short, rest, _ := strings.Cut(host, ".")
	var names []string
	elsewhere := ""
	for _, full := range sortedNames(x.services) {
		name, namespace, _ := strings.Cut(full, ".")
		switch {
		case namespace == rest:
			names = append(names, name)
		case name == short:
			elsewhere = full
		}
	}
	if s := suggest(short, names); s != "" {
		return "; did you mean " + s + "." + rest + "?"
	}
	if elsewhere != "" {
		return "; did you mean " + elsewhere + "?"
	}
	return ""
}

func (x *crossChecker) virtualService(c *checker, vs *networkingv1alpha3.VirtualService) {
	ns := c.object.Namespace
	gateways := func(field string, names []string) {
		for i, name := range names {
			if full := gatewayRef(name, ns); name != meshGateway && !x.gateways[full] {
				c.warnf(at(field, i), "there is no Gateway %s%s", full,
					didYouMean(full, sortedNames(x.gateways)))
			}
		}
	}
	gateways("spec.gateways", vs.Gateways)
	if len(vs.Gateways) == 0 || slices.Equal(vs.Gateways, []string{meshGateway}) {
		for i, h := range vs.Hosts {
			if full := fullHost(h, ns); !x.known(full) && !isIP(h) {
				c.warnf(
					at("spec.hosts", i),
					"there is no Service %s: Istio serves such rules on port 80 only%s",
					full,
					x.nearest(full),
				)
			}
		}
	}
	for i, r := range vs.Http {
		f := at("spec.http", i)
		for j, m := range r.Match {
			gateways(at(f+".match", j)+".gateways", m.Gateways)
		}
		for j, d := range r.Route {
			x.destination(c, at(f+".route", j)+".destination", d.Destination)
		}
		for j, m := range r.Mirrors {
			x.destination(c, at(f+".mirrors", j)+".destination", m.Destination)
		}
		x.destination(c, f+".mirror", r.Mirror)
	}
	for i, r := range vs.Tls {
		f := at("spec.tls", i)
		for j, m := range r.Match {
			gateways(at(f+".match", j)+".gateways", m.Gateways)
		}
		x.l4Destinations(c, f+".route", r.Route)
	}
	for i, r := range vs.Tcp {
		f := at("spec.tcp", i)
		for j, m := range r.Match {
			gateways(at(f+".match", j)+".gateways", m.Gateways)
		}
		x.l4Destinations(c, f+".route", r.Route)
	}
}

func (x *crossChecker) l4Destinations(
	c *checker, field string, routes []*networkingv1alpha3.RouteDestination,
) {
	for i, d := range routes {
		x.destination(c, at(field, i)+".destination", d.Destination)
	}
}

// gatewayRef completes NAME and NAME.NAMESPACE to NAMESPACE/NAME.
func gatewayRef(name, namespace string) string {
	if strings.Contains(name, "/") {
		return name
	}
	short, rest, dotted := strings.Cut(name, ".")
	if dotted {
		namespace, _, _ = strings.Cut(rest, ".")
	}
	return namespace + "/" + short
}

// destination warns of a host, port or subset that does not exist: requests get 503
// (cluster_not_found).
func (x *crossChecker) destination(c *checker, field string, d *networkingv1alpha3.Destination) {
	if d == nil {
		return
	}
	host := fullHost(d.Host, c.object.Namespace)
	if !x.known(host) {
		c.warnf(field+".host", "there is no Service %s: requests get 503%s", host, x.nearest(host))
		return
	}
	if s := x.services[host]; s != nil && d.Port != nil {
		number := int32(d.Port.Number)
		if !slices.ContainsFunc(
			s.Spec.Ports,
			func(p corev1.ServicePort) bool { return p.Port == number },
		) {
			c.warnf(
				field+".port.number",
				"Service %s has no port %d: requests get 503",
				host,
				number,
			)
		}
	}
	if d.Subset != "" && !x.hasSubset(host, d.Subset) {
		c.warnf(
			field+".subset",
			"no DestinationRule has a subset %s of %s: requests get 503%s",
			d.Subset,
			host,
			didYouMean(d.Subset, sortedNames(x.subsets[host])),
		)
	}
}

// hasSubset looks for a subset in the rules for a host and for wildcards that contain it.
func (x *crossChecker) hasSubset(host, subset string) bool {
	if x.subsets[host][subset] {
		return true
	}
	for _, rule := range sortedNames(x.subsets) {
		if strings.HasPrefix(rule, "*") && overlap(rule, host) && x.subsets[rule][subset] {
			return true
		}
	}
	return false
}

func (x *crossChecker) destinationRule(c *checker, dr *networkingv1alpha3.DestinationRule) {
	host := fullHost(dr.Host, c.object.Namespace)
	if !x.known(host) {
		c.warnf(
			"spec.host",
			"there is no Service %s: the rule does nothing%s",
			host,
			x.nearest(host),
		)
		return
	}
	s := x.services[host]
	if s == nil || len(s.Spec.Selector) == 0 {
		return
	}
	namespace := s.Namespace
	for i, subset := range dr.Subsets {
		want := klabels.SelectorFromSet(klabels.Set(s.Spec.Selector))
		has := func(p pods) bool {
			return p.namespace == namespace && want.Matches(p.labels) &&
				klabels.SelectorFromSet(klabels.Set(subset.Labels)).Matches(p.labels)
		}
		if !slices.ContainsFunc(x.pods, has) {
			c.warnf(
				at("spec.subsets", i)+".labels",
				"no pod of %s has these labels: the subset is empty",
				host,
			)
		}
	}
}

// gateway warns of a selector for which the lab makes a gateway of its own.
func (x *crossChecker) gateway(c *checker, g *networkingv1alpha3.Gateway) {
	if len(g.Selector) == 0 {
		return
	}
	want := klabels.SelectorFromSet(klabels.Set(g.Selector))
	if !slices.ContainsFunc(x.pods, func(p pods) bool { return want.Matches(p.labels) }) {
		c.warnf("spec.selector", "selects no pod: the lab makes a gateway for it")
	}
}

// unserved warns of delegates that do not exist: their rules vanish silently
// (pilot/pkg/model/virtualservice.go mergeVirtualServicesIfNeeded).
func (x *crossChecker) unserved(c *Config) {
	used := map[string]bool{}
	for _, o := range c.Kind("VirtualService") {
		check := newChecker(o, &x.diags)
		for i, r := range o.Body.(*networkingv1alpha3.VirtualService).Http {
			d := r.Delegate
			if d == nil {
				continue
			}
			name := cmp.Or(d.Namespace, o.Namespace) + "/" + d.Name
			used[name] = true
			if x.delegates[name] == nil {
				check.warnf(
					at("spec.http", i)+".delegate",
					"there is no VirtualService %s without hosts: "+
						"Istio drops this rule%s",
					name,
					didYouMean(name, sortedNames(x.delegates)),
				)
			}
		}
	}
	for _, o := range c.Kind("VirtualService") {
		if name := o.Namespace + "/" + o.Name; x.delegates[name] != nil && !used[name] {
			newChecker(
				o,
				&x.diags,
			).warnf("", "has no hosts, and no VirtualService delegates to it: "+
				"it does nothing")
		}
	}
}
