package generate

import "strings"

// rules makes the VirtualServices and DestinationRules.
func (w *world) rules() []Object {
	var out []Object
	for i := range w.between(1, w.size) {
		out = append(out, w.virtualService(numbered("vs-", i)))
	}
	if w.chance(25) {
		out = append(out, w.delegation()...)
	}
	for i := range w.between(0, w.size) {
		out = append(out, w.destinationRule(numbered("dr-", i)))
	}
	w.r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// virtualService makes rules for the mesh, for gateways, or both.
func (w *world) virtualService(name string) Object {
	ns := w.namespace()
	spec := tree{}
	kind := w.r.IntN(10)
	if len(w.gateways) == 0 {
		kind = 0
	}
	switch {
	case kind < 6:
		spec["hosts"] = w.meshHosts(ns)
		if w.chance(20) {
			spec["gateways"] = list{"mesh"}
		}
	case kind < 9:
		spec["hosts"] = list{pick(w.draw, "*", "shop.example.com", "*.example.com",
			"api.example.com")}
		spec["gateways"] = list{w.gatewayName(ns)}
	default:
		spec["hosts"] = pick(w.draw, w.meshHosts(ns), list{"shop.example.com"})
		spec["gateways"] = list{"mesh", w.gatewayName(ns)}
	}
	w.exportTo(spec, ns)
	spec["http"] = w.httpRoutes(ns)
	return w.aged(object("VirtualService", name, ns, spec))
}

// aged sometimes gives an object a time of creation: the older rule wins.
func (w *world) aged(o Object) Object {
	w.fields(o["metadata"].(tree), of(w.draw, "creationTimestamp", 20,
		"2024-01-01T00:00:00Z", "2025-06-30T12:00:00Z"))
	return o
}

// gatewayName names a Gateway as a VirtualService may.
func (w *world) gatewayName(ns string) string {
	full := pick(w.draw, w.gateways...)
	if of, name, _ := strings.Cut(full, "/"); of == ns {
		return pick(w.draw, full, name, name+"."+of)
	}
	return full
}

// meshHosts are hosts that do not overlap.
func (w *world) meshHosts(ns string) list {
	switch w.r.IntN(12) {
	case 0:
		return list{"*.stock.svc.cluster.local"}
	case 1:
		return list{"ext.example.com", "10.99.0.9"}
	case 2:
		return list{"*.example.com"}
	}
	hosts := list{w.host(pick(w.draw, w.services...), ns)}
	if w.chance(15) {
		hosts = append(hosts, pick(w.draw, "other.example.com", "*.example.org"))
	}
	return hosts
}

// exportTo says who sees an object.
func (w *world) exportTo(spec tree, ns string) {
	other := "stock"
	if ns == other {
		other = "shop"
	}
	if w.chance(20) {
		spec["exportTo"] = pick(w.draw, list{"*"}, list{"."}, list{other}, list{".", other},
			list{ns})
	}
}

// httpRoutes are rules of which the last mostly takes what the others leave.
func (w *world) httpRoutes(ns string) list {
	out := repeat(w.between(0, 3), func() any { return w.httpRoute(ns, true) })
	if len(out) == 0 || w.chance(80) {
		out = append(out, w.httpRoute(ns, false))
	}
	return out
}

// httpRoute is one rule.
func (w *world) httpRoute(ns string, matched bool) tree {
	r := w.fields(tree{}, of(w.draw, "name", 25, "first", "second", "third"))
	prefixed := w.chance(50)
	if matched {
		r["match"] = repeat(w.between(1, 2), func() any { return w.match(ns, prefixed) })
	}
	switch kind := w.r.IntN(10); {
	case kind < 2:
		r["redirect"] = w.redirect(!matched || prefixed)
	case kind < 3:
		r["directResponse"] = w.directResponse()
	default:
		r["route"] = w.destinations(ns)
		w.policies(r, ns)
	}
	authority := false
	if rewrite, ok := r["rewrite"].(tree); ok {
		authority = rewrite["authority"] != nil
	}
	if w.chance(25) {
		r["headers"] = w.headers(!authority)
	}
	if w.chance(15) {
		r["corsPolicy"] = w.cors()
	}
	return r
}

// policies are what stands beside a route.
func (w *world) policies(r tree, ns string) {
	w.fields(r,
		field{"timeout", 20, w.duration},
		field{"retries", 25, func() any { return w.retries() }},
		field{"fault", 20, func() any { return w.fault() }},
		field{"rewrite", 25, func() any { return w.rewrite() }},
	)
	switch w.r.IntN(6) {
	case 0:
		r["mirror"] = w.destination(ns)
		w.fields(r, field{"mirrorPercentage", 50, w.percent}, of(w.draw, "mirrorPercent", 20, 0,
			10, 100))
	case 1:
		r["mirrors"] = repeat(w.between(1, 2), func() any {
			return w.fields(tree{"destination": w.destination(ns)}, field{"percentage", 60,
				w.percent})
		})
	}
}

// destinations are weighted; their weights are never all zero.
func (w *world) destinations(ns string) list {
	n := pick(w.draw, 1, 1, 1, 2, 2, 3)
	out := repeat(n, func() any {
		return w.fields(tree{"destination": w.destination(ns)},
			field{"headers", 15, func() any { return w.headers(true) }})
	})
	if n > 1 || w.chance(20) {
		for i, d := range out {
			d.(tree)["weight"] = pick(w.draw, 0, 1, 10, 50, 90, 100, 250)
			if i == 0 {
				d.(tree)["weight"] = pick(w.draw, 1, 30, 100)
			}
		}
	}
	return out
}

func (w *world) destination(ns string) tree {
	s := pick(w.draw, w.services...)
	d := tree{"host": w.host(s, ns)}
	switch w.r.IntN(20) {
	case 0:
		d["host"] = pick(w.draw, "gone.example.com", "ext.example.com", "gone")
		return d
	case 1:
		d["port"] = tree{"number": 4321}
		return d
	}
	return w.fields(d,
		of(w.draw, "subset", 40, "v1", "v2", "v3"),
		field{"port", 30, func() any { return tree{"number": pick(w.draw, s.ports...)} }})
}

// delegation is a VirtualService that leaves a part to another.
func (w *world) delegation() []Object {
	ns := "shop"
	leaf := tree{"http": repeat(w.between(1, 2), func() any {
		r := w.httpRoute(ns, w.chance(70))
		for _, m := range matches(r) {
			if w.chance(70) { // a leaf must be narrower than its root
				m.(tree)["uri"] = tree{"prefix": pick(w.draw, "/a/x", "/a/y", "/a")}
				delete(m.(tree), "ignoreUriCase")
			}
		}
		if redirect, ok := r["redirect"].(tree); ok {
			delete(redirect, "prefixRewrite")
			redirect["scheme"] = "https"
		}
		return r
	})}
	w.exportTo(leaf, ns)
	root := w.fields(tree{
		"match":    list{tree{"uri": tree{"prefix": pick(w.draw, "/a", "/")}}},
		"delegate": w.fields(tree{"name": "leaf"}, of(w.draw, "namespace", 50, ns)),
	},
		field{"timeout", 30, w.duration}, field{"headers", 20,
			func() any { return w.headers(false) }},
		of(w.draw, "name", 40, "root"))
	if w.chance(20) {
		delete(root, "match")
	}
	return []Object{
		w.aged(object("VirtualService", "leaf", ns, leaf)),
		w.aged(object("VirtualService", "root", ns, tree{
			"hosts": list{w.host(pick(w.draw, w.services...), ns)},
			"http":  list{root, w.httpRoute(ns, false)},
		})),
	}
}

func matches(r tree) list {
	m, _ := r["match"].(list)
	return m
}
