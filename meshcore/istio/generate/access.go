package generate

import "maps"

// Access returns the access rules of a seed over a mesh that is always the same: that of Rules,
// with two clients more, "guest-0.stock", whose service account is b, and "plain-0.shop", which has
// no sidecar. Rules say who speaks TLS with whom, whose tokens hold, and who may do what.
func Access(seed uint64) Config {
	w := newWorld(seed, 1)
	w.fixed()
	guest := deployment("guest", "stock", tree{"app": "guest"}, "mesh-lab/curl")
	template(guest)["spec"].(tree)["serviceAccountName"] = "b"
	plain := deployment("plain", "shop", tree{"app": "plain"}, "mesh-lab/curl")
	template(plain)["metadata"].(tree)["labels"].(tree)["sidecar.istio.io/inject"] = "false"
	to := tree{"host": "a.shop.svc.cluster.local", "port": tree{"number": 80}}
	front := object("VirtualService", "front", "shop", tree{
		"hosts": list{"*"}, "gateways": list{"front"},
		"http": list{tree{"route": list{tree{"destination": to}}}},
	})
	objects := append(w.fixedObjects(), guest, plain, front)
	p := &policy{world: w}
	for i := range p.between(0, 2) {
		objects = append(objects, p.peerAuthentication(numbered("peers-", i)))
	}
	for i := range p.between(1, 3) {
		o := p.authorization(numbered("authz-", i))
		rules, _ := o["spec"].(tree)["rules"].(list)
		for _, r := range rules {
			p.loosen(r.(tree))
		}
		objects = append(objects, o)
	}
	if p.chance(40) {
		o := p.authentication("jwt-0")
		if rules, ok := o["spec"].(tree)["jwtRules"].(list); ok {
			for i, r := range rules {
				delete(r.(tree), "jwksUri")
				r.(tree)["jwks"] = keySet
				// Of two rules for one issuer Envoy asks either, as its hash table has them.
				r.(tree)["issuer"] = []string{"mint.example", "https://other.example"}[i]
			}
		}
		objects = append(objects, o)
	}
	for _, s := range w.services {
		if p.chance(25) {
			objects = append(objects, object("DestinationRule", s.name, s.namespace, tree{
				"host":          s.host(),
				"trafficPolicy": tree{"tls": p.clientTLS()}}))
		}
	}
	return Config{Objects: objects}
}

// loosen leaves a rule one of the things that it asks for, mostly: hardly a request has all.
func (p *policy) loosen(rule tree) {
	if len(rule) > 1 && p.chance(70) {
		keep := pick(p.draw, sortedKeys(rule)...)
		maps.DeleteFunc(rule, func(k string, _ any) bool { return k != keep })
	}
}

// clientTLS is what needs no certificates of its own.
func (d draw) clientTLS() tree {
	return tree{"mode": pick(d, "DISABLE", "ISTIO_MUTUAL")}
}

// peerAuthentication says what servers take; one with a selector may say it for ports.
func (p *policy) peerAuthentication(name string) Object {
	mode := func() any {
		return tree{"mode": pick(p.draw, "STRICT", "PERMISSIVE", "DISABLE", "UNSET")}
	}
	ns := p.namespace()
	spec := p.fields(tree{}, field{"mtls", 80, mode})
	if ns != p.rootNamespace() && p.chance(50) {
		spec["selector"] = tree{"matchLabels": pick(p.draw, tree{"app": "a"}, tree{"app": "b"},
			tree{"version": "v1"})}
		if p.chance(50) {
			spec["portLevelMtls"] = tree{pick(p.draw, "8080", "9000"): mode()}
		}
	}
	return securityObject("PeerAuthentication", name, ns, spec)
}
