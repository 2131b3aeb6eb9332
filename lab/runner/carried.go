package runner

import (
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	securityv1 "istio.io/api/security/v1"

	"github.com/mesh-lab/mesh-lab/lab/why"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// keepCarried notes what the proxies carry out, each time that it changes, for who asks afterwards
// why a request went where it did.
func (r *run) keepCarried() {
	if r.opt.Carried == nil {
		return
	}
	r.out.Header.Carried = r.opt.Carried
	why.Keep(r.mesh, r.opt.Carried, func(err error) {
		r.opt.Log.Warn("what the proxies carry out is not recorded", "err", err)
	})
}

// keepHeaders are the request headers that records keep: those that expectations look at and, for
// explanations, those that rules ask for; but no secrets.
func (r *run) keepHeaders(c *istio.Config) []string {
	keep := r.s.KeepHeaders()
	if r.opt.Carried == nil {
		return keep
	}
	configs := []*istio.Config{c}
	for i := range r.s.Steps {
		for _, a := range r.s.Steps[i].Actions {
			if a.Apply == nil {
				continue
			}
			if add, err := read(documents(r.s, a.Apply), c); err == nil {
				configs = append(configs, add) // what is wrong with it the step will say
			}
		}
	}
	for _, c := range configs {
		for _, name := range askedHeaders(c) {
			if !slices.Contains(keep, name) {
				keep = append(keep, name)
			}
		}
	}
	return keep
}

// askedHeaders lists the request headers that rules look at.
func askedHeaders(c *istio.Config) []string {
	out := []string{"x-forwarded-for", "x-forwarded-proto"}
	add := func(name string) {
		name = strings.ToLower(name)
		secret := name == "authorization" || name == "cookie"
		if name != "" && name[0] != ':' && !secret && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, o := range c.Objects {
		switch b := o.Body.(type) {
		case *networkingv1alpha3.VirtualService:
			for _, rule := range b.Http {
				for _, m := range rule.Match {
					for name := range m.Headers {
						add(name)
					}
					for name := range m.WithoutHeaders {
						add(name)
					}
				}
			}
		case *networkingv1alpha3.DestinationRule:
			add(b.TrafficPolicy.GetLoadBalancer().GetConsistentHash().GetHttpHeaderName())
			for _, s := range b.Subsets {
				add(s.TrafficPolicy.GetLoadBalancer().GetConsistentHash().GetHttpHeaderName())
			}
		case *securityv1.AuthorizationPolicy:
			for _, rule := range b.Rules {
				for _, w := range rule.When {
					if name, ok := strings.CutPrefix(w.Key, "request.headers["); ok {
						add(strings.TrimSuffix(name, "]"))
					}
				}
			}
		}
	}
	return out
}
