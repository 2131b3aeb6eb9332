package generate

// destinationRule makes policies and subsets for a host, or for many.
func (w *world) destinationRule(name string) Object {
	ns := w.namespace()
	spec := tree{"host": w.host(pick(w.draw, w.services...), ns)}
	switch w.r.IntN(12) {
	case 0:
		spec["host"] = pick(w.draw, "*", "*.local", "*.stock.svc.cluster.local", "*.example.com")
	case 1:
		spec["host"] = pick(w.draw, "ext.example.com", "gone.example.com")
	}
	selects := w.chance(12)
	if selects {
		spec["workloadSelector"] = tree{"matchLabels": pick(w.draw, tree{"app": "client"},
			tree{"app": "a"}, tree{"istio": "ingressgateway"})}
		w.fields(spec, of[any](w.draw, "exportTo", 30, list{"."}, list{ns}))
	} else {
		w.exportTo(spec, ns)
	}
	if w.chance(70) {
		spec["trafficPolicy"] = w.trafficPolicy()
	}
	if w.chance(75) {
		var subsets list
		for _, v := range some(w.draw, "v1", "v2", "v3") {
			s := tree{"name": v, "labels": tree{"version": v}}
			if w.chance(8) {
				delete(s, "labels")
			}
			subsets = append(subsets, w.fields(s,
				field{"trafficPolicy", 30, func() any { return w.trafficPolicy() }}))
		}
		spec["subsets"] = subsets
	}
	return w.aged(object("DestinationRule", name, ns, spec))
}

func (w *world) trafficPolicy() tree {
	p := w.policy(tree{})
	w.fields(p,
		field{"portLevelSettings", 25, func() any {
			return repeat(w.between(1, 2), func() any {
				return w.policy(tree{"port": tree{"number": pick(w.draw, 80, 8000, 9000)}})
			})
		}},
		field{"retryBudget", 15, func() any {
			return w.fields(tree{}, of(w.draw, "percent", 70, 0.0, 20.0, 33.3, 100.0),
				of(w.draw, "minRetryConcurrency", 70, 0, 1, 3))
		}})
	return p
}

// policy is what ports and hosts may both say: at least one thing.
func (w *world) policy(p tree) tree {
	outliers := w.chance(35)
	if outliers {
		p["outlierDetection"] = w.outliers()
	}
	return w.least(p,
		field{"loadBalancer", 50, func() any { return w.loadBalancer() }},
		field{"connectionPool", 40, func() any { return w.connectionPool() }},
		field{"tls", 8, func() any { return w.clientTLS() }},
	)
}

func (w *world) loadBalancer() tree {
	lb := tree{}
	switch w.r.IntN(3) {
	case 0:
		lb["simple"] = pick(w.draw, "ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "PASSTHROUGH",
			"LEAST_CONN",
			"UNSPECIFIED")
	case 1:
		lb["consistentHash"] = w.consistentHash()
	}
	if len(lb) == 0 || w.chance(25) {
		lb["localityLbSetting"] = w.localities()
	}
	return lb
}

func (w *world) consistentHash() tree {
	h := tree{}
	switch w.r.IntN(5) {
	case 0:
		h["httpHeaderName"] = pick(w.draw, "x-user", "X-A", ":path", "cookie")
	case 1:
		h["httpCookie"] = w.fields(tree{"name": "user"},
			of(w.draw, "path", 50, "/", "/p"),
			of(w.draw, "ttl", 60, "0s", "60s", "1.5s"),
			of[any](w.draw, "attributes", 40, list{tree{"name": "SameSite", "value": "Strict"}},
				list{tree{"name": "Secure"}}))
	case 2:
		h["useSourceIp"] = pick(w.draw, true, false)
	case 3:
		h["httpQueryParameterName"] = "q"
	}
	switch w.r.IntN(5) {
	case 0:
		h["ringHash"] = w.fields(tree{}, of(w.draw, "minimumRingSize", 80, 1, 64, 1024, 9000))
	case 1:
		h["maglev"] = tree{"tableSize": pick(w.draw, 97, 1009, 65537)}
	case 2:
		h["minimumRingSize"] = pick(w.draw, 1, 100)
	}
	return h
}

// localities spreads requests over regions.
func (w *world) localities() tree {
	l := tree{}
	switch w.r.IntN(4) {
	case 0:
		l["distribute"] = pick(w.draw,
			list{tree{"from": "r1/*", "to": tree{"r1/z1/*": 60, "r2/*": 40}}},
			list{tree{"from": "r1/z1/*", "to": tree{"r1/z2/*": 100}}, tree{"from": "r2/*",
				"to": tree{"*": 100}}},
		)
	case 1:
		l["failover"] = list{tree{"from": "r1", "to": "r2"}}
		w.fields(l, of[any](w.draw, "failoverPriority", 30, list{"version"}))
	case 2:
		l["failoverPriority"] = pick(w.draw, list{"topology.kubernetes.io/region",
			"topology.kubernetes.io/zone"},
			list{"version=v1", "app"})
	}
	if len(l) == 0 || w.chance(30) {
		l["enabled"] = pick(w.draw, true, false)
	}
	return l
}

func (w *world) connectionPool() tree {
	return w.least(tree{},
		field{"tcp", 50, func() any {
			return w.fields(tree{},
				of(w.draw, "maxConnections", 50, 0, 1, 100, 2147483647),
				field{"connectTimeout", 30, w.duration},
				field{"maxConnectionDuration", 20, w.duration},
				of(w.draw, "idleTimeout", 20, "0s", "2s", "1h"),
				of(w.draw, "tcpKeepalive", 5, tree{"probes": 3, "time": "10s", "interval": "1s"}))
		}},
		field{"http", 60, func() any {
			return w.fields(tree{},
				of(w.draw, "http1MaxPendingRequests", 40, 0, 1, 100, 2147483647),
				of(w.draw, "http2MaxRequests", 40, 0, 1, 1000),
				of(w.draw, "maxRequestsPerConnection", 30, 0, 1, 1024, 536870912),
				of(w.draw, "maxRetries", 30, 0, 1, 3),
				field{"idleTimeout", 20, w.duration},
				of(w.draw, "maxConcurrentStreams", 5, 1, 100),
				of(w.draw, "h2UpgradePolicy", 5, "DEFAULT", "DO_NOT_UPGRADE"),
				of(w.draw, "useClientProtocol", 5, false))
		}},
	)
}

func (w *world) outliers() tree {
	o := w.fields(tree{},
		of(w.draw, "consecutive5xxErrors", 50, 0, 1, 5),
		of(w.draw, "consecutiveGatewayErrors", 40, 0, 1, 5),
		of(w.draw, "consecutiveErrors", 10, 1, 5),
		field{"interval", 40, w.duration},
		field{"baseEjectionTime", 40, w.duration},
		of(w.draw, "maxEjectionPercent", 40, 0, 1, 50, 100),
		of(w.draw, "minHealthPercent", 40, 0, 1, 50, 100),
	)
	if w.chance(25) {
		o["splitExternalLocalOriginErrors"] = true
		w.fields(o, of(w.draw, "consecutiveLocalOriginFailures", 60, 0, 1, 5))
	}
	return o
}
