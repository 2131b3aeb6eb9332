package generate

import "math/rand/v2"

// l4Objects makes rules for connections, and a Gateway with servers for them. It draws from a
// stream of its own: what else a seed makes does not depend on it.
func (w *world) l4Objects(seed uint64) []Object {
	own := *w
	own.draw = draw{rand.New(rand.NewPCG(seed, 0x6c34))}
	l := &l4{world: &own}
	if l.chance(50) {
		return nil
	}
	var out []Object
	if l.chance(50) {
		out = append(out, l.gateway())
	}
	for i := range l.between(1, 2) {
		out = append(out, l.rules(numbered("l4-", i)))
	}
	return out
}

// l4 draws rules for connections. Their networks and names are such that no two chains of a
// listener match alike, for Envoy refuses such a listener.
type l4 struct {
	*world
	subnets bool // some rule has destinationSubnets
	gw      string
}

func (l *l4) gateway() Object {
	l.gw = "shop/gw-l4"
	return object("Gateway", "gw-l4", "shop", tree{
		"selector": tree{"istio": "ingressgateway"},
		"servers": list{
			tree{
				"port":  tree{"number": 9100, "name": "tcp", "protocol": "TCP"},
				"hosts": list{"*"},
			},
			tree{
				"port": tree{
					"number": 9443, "name": "tls", "protocol": pick(l.draw, "TLS", "HTTPS"),
				},
				"hosts": someOf(l.draw, "*.sni.example.com", "one.sni.example.com", "*.local"),
				"tls": tree{
					"mode": pick(l.draw, "PASSTHROUGH", "PASSTHROUGH", "AUTO_PASSTHROUGH"),
				},
			},
			tree{
				"port":  tree{"number": 9088, "name": "http-redirect", "protocol": "HTTP"},
				"hosts": list{"*"}, "tls": tree{"httpsRedirect": pick(l.draw, true, true, false)},
			},
		},
	})
}

// rules makes a VirtualService with rules for connections, beside rules for requests or alone.
func (l *l4) rules(name string) Object {
	const ns = "shop"
	s := pick(l.draw, l.services...)
	spec := tree{"hosts": list{s.host(), "*.sni.example.com"}}
	if l.gw != "" && l.chance(60) {
		spec["gateways"] = list{"mesh", l.gw}
	}
	l.least(spec,
		field{"tcp", 60, func() any {
			return repeat(l.between(1, 2), func() any { return l.tcpRoute(ns) })
		}},
		field{"tls", 60, func() any {
			return repeat(l.between(1, 2), func() any {
				return tree{"match": list{l.tlsMatch()}, "route": l.l4Destinations(ns)}
			})
		}})
	return l.aged(object("VirtualService", name, ns, spec))
}

func (l *l4) tcpRoute(ns string) tree {
	r := tree{"route": l.l4Destinations(ns)}
	if l.chance(50) {
		return r
	}
	m := l.l4Match(9000, 9100)
	if !l.subnets && l.chance(30) {
		l.subnets = true
		m["destinationSubnets"] = pick(l.draw, list{"10.96.0.0/16"}, list{"10.200.0.1"})
	}
	l.fields(m, of(l.draw, "sourceSubnet", 5, "10.0.0.0/8"))
	r["match"] = list{m}
	return r
}

func (l *l4) tlsMatch() tree {
	m := l.l4Match(443, 8443, 9443)
	m["sniHosts"] = list{pick(l.draw, "*.sni.example.com", "one.sni.example.com",
		"two.sni.example.com")}
	if l.chance(15) {
		m["sniHosts"] = list{"net.sni.example.com"}
		m["destinationSubnets"] = list{"10.96.0.0/12"}
	}
	return m
}

// l4Match are the conditions that rules for bytes and for TLS share.
func (l *l4) l4Match(ports ...int) tree {
	m := l.fields(tree{},
		of(l.draw, "port", 30, ports...),
		of(l.draw, "sourceLabels", 20, tree{"app": "client"}, tree{"app": "a"}),
		of(l.draw, "sourceNamespace", 15, namespaces...))
	if l.gw != "" && l.chance(30) {
		m["gateways"] = pick(l.draw, list{"mesh"}, list{l.gw}, list{"mesh", l.gw})
	}
	return m
}

func (l *l4) l4Destinations(ns string) list {
	n := pick(l.draw, 1, 1, 2, 3)
	out := repeat(n, func() any { return tree{"destination": l.destination(ns)} })
	if n > 1 || l.chance(20) {
		for i, d := range out {
			d.(tree)["weight"] = pick(l.draw, 0, 1, 10, 50, 90, 100)
			if i == 0 {
				d.(tree)["weight"] = pick(l.draw, 1, 30, 100)
			}
		}
	}
	return out
}
