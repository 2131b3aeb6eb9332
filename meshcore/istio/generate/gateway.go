package generate

// gatewayObjects makes gateways, with and without pods of their own.
func (w *world) gatewayObjects() []Object {
	if w.chance(40) {
		return nil
	}
	var out []Object
	if w.chance(60) {
		out = append(out, gatewayPod())
		if w.chance(50) {
			out = append(out, w.gatewayService())
		}
	}
	for i := range w.between(1, 2) {
		ns, name := pick(w.draw, "shop", "stock", w.rootNamespace()), numbered("gw-", i)
		spec := w.fields(tree{"servers": w.servers()},
			of(w.draw, "selector", 90, tree{"istio": "ingressgateway"},
				tree{"istio": "ingressgateway"},
				tree{"istio": "other", "app": "edge"}))
		w.gateways = append(w.gateways, ns+"/"+name)
		out = append(out, w.aged(object("Gateway", name, ns, spec)))
	}
	return out
}

// gatewayService translates the ports of the gateway pod.
func (w *world) gatewayService() Object {
	return Object{
		"apiVersion": "v1", "kind": "Service",
		"metadata": w.fields(tree{"name": "front", "namespace": "shop"}, of(w.draw, "labels", 30,
			tree{"experimental.istio.io/disable-gateway-port-translation": "true"})),
		"spec": tree{
			"selector": tree{"istio": "ingressgateway"},
			"ports": list{tree{"name": "http", "port": 80, "targetPort": pick(w.draw, 80,
				8080)}},
		},
	}
}

func (w *world) servers() list {
	var out list
	for i := range w.between(1, 2) {
		server := w.fields(tree{
			"port": tree{
				"number": pick(w.draw, 80, 8080, 9080), "name": numbered("http-", i),
				"protocol": pick(w.draw, "HTTP", "http"),
			},
			"hosts": someOf(w.draw, "*", "shop.example.com", "*.example.com", "./api.example.com",
				"stock/*", "*/shop.example.org"),
		},
			of(w.draw, "name", 20, numbered("server-", i)),
			of(w.draw, "bind", 10, "0.0.0.0", "10.1.2.3"),
			of(w.draw, "defaultEndpoint", 3, "127.0.0.1:8080"))
		// Envoy refuses servers of a port that differ in this alone: istiod makes a chain of each.
		port := server["port"].(tree)
		switch any := server["bind"] == "0.0.0.0"; {
		case any && port["protocol"] == "http":
			port["number"] = 9091
		case any:
			port["number"] = 9090
		case port["protocol"] == "http":
			port["number"] = 7080
		}
		out = append(out, server)
	}
	return out
}
