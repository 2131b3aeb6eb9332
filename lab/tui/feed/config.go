package feed

import (
	"slices"
	"strings"
	"time"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// Config is what a watcher wants to know of the configuration in effect.
type Config struct {
	Pods     []Pod     `json:"pods"`
	Services []Service `json:"services"`
	Splits   []Split   `json:"splits,omitempty"`
	Limits   []Limit   `json:"limits,omitempty"`
	Faults   []Injured `json:"faults,omitempty"`
}

// Pod is one pod of the lab.
type Pod struct {
	ID       string `json:"id"` // POD.NAMESPACE
	Workload string `json:"workload"`
	App      string `json:"app"` // canonical service
	Version  string `json:"version,omitempty"`
	IP       string `json:"ip"`
	Role     string `json:"role"` // sidecar, gateway, bare, external
	Ready    bool   `json:"ready"`
}

// Service is one Kubernetes Service.
type Service struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Port      int    `json:"port"` // the first
}

// Split is one HTTP rule of a VirtualService that shares requests out.
type Split struct {
	Service   string `json:"service"` // of the destinations
	Namespace string `json:"namespace"`
	Object    string `json:"object"` // NAMESPACE/NAME of the VirtualService
	Rule      int    `json:"rule"`   // index in spec.http
	Name      string `json:"name,omitempty"`
	Parts     []Part `json:"parts"`
	// Mixed says that other rules lead to the same destinations and that records can not tell them
	// apart: shares say nothing of this rule alone.
	Mixed bool   `json:"mixed,omitempty"`
	YAML  string `json:"yaml"` // the VirtualService, as it would be applied
}

// Part is one weighted destination.
type Part struct {
	Subset  string `json:"subset"`
	Version string `json:"version"` // that the subset selects; else the subset's name
	Weight  int    `json:"weight"`
}

// Limit is what a DestinationRule allows, and how it ejects; 0: unlimited.
type Limit struct {
	Service     string        `json:"service"`
	Subset      string        `json:"subset,omitempty"`
	Connections int           `json:"connections,omitempty"`
	Pending     int           `json:"pending,omitempty"`
	Requests    int           `json:"requests,omitempty"`
	Retries     int           `json:"retries,omitempty"`
	Consecutive int           `json:"consecutive,omitempty"` // errors that eject; 0: no ejection
	Ejection    time.Duration `json:"ejection_ns,omitempty"` // the first, and what each adds
}

// Injured is a rule with Istio's fault injection.
type Injured struct {
	Object  string        `json:"object"` // VirtualService NAMESPACE/NAME
	Rule    int           `json:"rule"`
	Service string        `json:"service"`
	Kind    string        `json:"kind"`  // abort, delay
	Share   float64       `json:"share"` // in [0, 1]
	Status  int           `json:"status,omitempty"`
	Delay   time.Duration `json:"delay_ns,omitempty"`
}

// Describe tells what a watcher wants to know of a configuration and of the pods that run.
func Describe(c *istio.Config, reg *translate.Registry) *Config {
	out := &Config{}
	roles := map[translate.Role]string{
		translate.Sidecar: "sidecar", translate.Gateway: "gateway",
		translate.Bare: "bare", translate.External: "external",
	}
	for _, p := range reg.Pods {
		app := p.Labels["app"]
		if app == "" {
			app = p.Workload
		}
		out.Pods = append(out.Pods, Pod{
			ID: p.ID(), Workload: p.Workload, App: app, Version: p.Labels["version"],
			IP: p.IP.String(), Role: roles[p.Role], Ready: p.Ready,
		})
	}
	for _, s := range reg.Services {
		x := Service{Name: s.Name, Namespace: s.Namespace}
		if s.Spec != nil && len(s.Spec.Spec.Ports) > 0 {
			x.Port = int(s.Spec.Spec.Ports[0].Port)
		}
		out.Services = append(out.Services, x)
	}
	subsets := map[string]string{} // service.namespace/subset → version
	for _, o := range c.Objects {
		if d, ok := o.Body.(*networkingv1alpha3.DestinationRule); ok {
			name, ns := host(d.Host, o.Namespace)
			for _, s := range d.Subsets {
				subsets[name+"."+ns+"/"+s.Name] = s.Labels["version"]
			}
			out.Limits = append(out.Limits, limits(name, d)...)
		}
	}
	for _, o := range c.Objects {
		if v, ok := o.Body.(*networkingv1alpha3.VirtualService); ok {
			out.splits(o, v, subsets)
			out.faults(o, v)
		}
	}
	return out
}

// host returns the service and namespace that a host names.
func host(name, namespace string) (service, ns string) {
	parts := strings.Split(name, ".")
	if len(parts) > 1 && (len(parts) == 2 || parts[2] == "svc") {
		return parts[0], parts[1]
	}
	if len(parts) > 1 {
		return name, namespace // outside of the mesh
	}
	return name, namespace
}

func limits(service string, d *networkingv1alpha3.DestinationRule) []Limit {
	var out []Limit
	add := func(subset string, p *networkingv1alpha3.TrafficPolicy) {
		l := Limit{Service: service, Subset: subset}
		h, t := p.GetConnectionPool().GetHttp(), p.GetConnectionPool().GetTcp()
		l.Connections, l.Pending = int(t.GetMaxConnections()), int(h.GetHttp1MaxPendingRequests())
		l.Requests, l.Retries = int(h.GetHttp2MaxRequests()), int(h.GetMaxRetries())
		if o := p.GetOutlierDetection(); o != nil {
			l.Consecutive, l.Ejection = 5, 30*time.Second // as Istio and Envoy have it
			if n := o.GetConsecutive_5XxErrors(); n != nil {
				l.Consecutive = int(n.Value)
			}
			if n := o.GetConsecutiveGatewayErrors().GetValue(); n > 0 {
				l.Consecutive = int(n)
			}
			if e := o.GetBaseEjectionTime(); e != nil {
				l.Ejection = e.AsDuration()
			}
		}
		if l != (Limit{Service: service, Subset: subset}) {
			out = append(out, l)
		}
	}
	add("", d.TrafficPolicy)
	for _, s := range d.Subsets {
		add(s.Name, s.TrafficPolicy)
	}
	return out
}

// splits adds the rules of a VirtualService that lead to subsets of one service.
func (c *Config) splits(
	o *istio.Object, v *networkingv1alpha3.VirtualService, subsets map[string]string,
) {
	text, err := istio.Encode(o, istio.YAML)
	if err != nil {
		text = nil // it is shown without; nothing can be changed then
	}
	var all []Split
	for i, rule := range v.Http {
		if len(rule.Route) == 0 {
			continue
		}
		s := Split{Object: o.Namespace + "/" + o.Name, Rule: i, Name: rule.Name, YAML: string(text)}
		s.Service, s.Namespace = host(rule.Route[0].GetDestination().GetHost(), o.Namespace)
		for _, d := range rule.Route {
			name, ns := host(d.GetDestination().GetHost(), o.Namespace)
			subset := d.GetDestination().GetSubset()
			p := Part{Subset: subset, Weight: int(d.Weight),
				Version: subsets[name+"."+ns+"/"+subset]}
			if p.Version == "" {
				p.Version = subset
			}
			if len(rule.Route) == 1 {
				p.Weight = 100
			}
			if name == s.Service && ns == s.Namespace && subset != "" {
				s.Parts = append(s.Parts, p)
			}
		}
		if len(s.Parts) == len(rule.Route) {
			all = append(all, s)
		}
	}
	for i := range all {
		all[i].Mixed = slices.ContainsFunc(all, func(x Split) bool {
			return x.Rule != all[i].Rule && x.Service == all[i].Service && x.Name == all[i].Name
		})
	}
	c.Splits = append(c.Splits, all...)
}

func (c *Config) faults(o *istio.Object, v *networkingv1alpha3.VirtualService) {
	for i, rule := range v.Http {
		x := Injured{Object: "VirtualService " + o.Namespace + "/" + o.Name, Rule: i}
		if len(rule.Route) > 0 {
			x.Service, _ = host(rule.Route[0].GetDestination().GetHost(), o.Namespace)
		}
		if a := rule.GetFault().GetAbort(); a != nil {
			x.Kind, x.Share = "abort", a.GetPercentage().GetValue()/100
			x.Status = int(a.GetHttpStatus())
			c.Faults = append(c.Faults, x)
		}
		if d := rule.GetFault().GetDelay(); d != nil {
			x.Kind, x.Share, x.Status = "delay", d.GetPercentage().GetValue()/100, 0
			x.Delay = d.GetFixedDelay().AsDuration()
			c.Faults = append(c.Faults, x)
		}
	}
}
