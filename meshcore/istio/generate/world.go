package generate

import "fmt"

// world is what rules can be about: the services that were made, and where.
type world struct {
	draw
	size     int
	services []service
	gateways []string // NAMESPACE/NAME
	taken    int      // addresses that were given away
	root     string   // namespace of the mesh's own objects
}

// service is one Service.
type service struct {
	name, namespace string
	ports           []int
}

func (s service) host() string { return s.name + "." + s.namespace + ".svc.cluster.local" }

// Namespaces of services; the root namespace comes besides them.
var namespaces = []string{"shop", "stock"}

// address returns an address that nothing else has.
func (w *world) address(net string) string {
	w.taken++
	return fmt.Sprintf("%s.%d.%d", net, 1+w.taken/200, 1+w.taken%200)
}

// rootNamespace is where rules for the whole mesh stand.
func (w *world) rootNamespace() string {
	if w.root == "" {
		w.root = "istio-system"
	}
	return w.root
}

// host names a service as an object of a namespace may: short where it can.
func (w *world) host(s service, ns string) string {
	forms := []string{s.host(), s.name + "." + s.namespace + ".svc.cluster.local"}
	if s.namespace == ns {
		forms = append(forms, s.name, s.name)
	}
	return pick(w.draw, forms...)
}

// namespace is where a rule stands: mostly beside services.
func (w *world) namespace() string {
	return pick(w.draw, "shop", "shop", "shop", "stock", w.rootNamespace())
}

// workloads makes the pods and Services.
func (w *world) workloads() []Object {
	out := []Object{w.clientPod()}
	for i := range w.between(1, w.size) {
		s := service{name: string(rune('a' + i%5)), namespace: namespaces[i/5%2]}
		if w.chance(25) {
			s.namespace = "stock"
		}
		if w.has(s) {
			continue
		}
		out = append(out, w.serviceObjects(&s)...)
		w.services = append(w.services, s)
	}
	if w.chance(20) {
		out = append(out, w.externalPod())
	}
	out = append(out, w.bystanders()...)
	return out
}

func (w *world) has(s service) bool {
	for _, other := range w.services {
		if other.name == s.name && other.namespace == s.namespace {
			return true
		}
	}
	return false
}

// serviceObjects makes a Service and what answers for it.
func (w *world) serviceObjects(s *service) []Object {
	spec := w.serviceSpec(s)
	o := Object{"apiVersion": "v1", "kind": "Service", "metadata": w.serviceMeta(s), "spec": spec}
	out := []Object{o}
	switch {
	case spec["type"] == "ExternalName":
		return out
	case w.chance(12) && spec["clusterIP"] != "None":
		out = append(out, w.handmade(s))
	default:
		spec["selector"] = tree{"app": s.name}
	}
	for i := range w.between(1, 3) {
		out = append(out, w.workload(s, i))
	}
	return out
}

func (w *world) serviceMeta(s *service) tree {
	return w.fields(tree{"name": s.name, "namespace": s.namespace},
		field{"annotations", 12, func() any {
			return tree{"networking.istio.io/exportTo": pick(w.draw, "*", ".", "~", "shop",
				"shop,stock")}
		}},
		of(w.draw, "labels", 20, tree{"app": s.name}),
		of(w.draw, "creationTimestamp", 20, "2024-01-01T00:00:00Z", "2025-06-30T12:00:00Z"),
	)
}

// serviceSpec draws the kind of a Service and its ports.
func (w *world) serviceSpec(s *service) tree {
	spec := w.fields(tree{},
		of(w.draw, "trafficDistribution", 15, "PreferClose", "PreferSameZone", "PreferSameNode",
			"Any"),
		of(w.draw, "publishNotReadyAddresses", 10, true, false))
	switch kind := w.r.IntN(100); {
	case kind < 15:
		spec["clusterIP"] = "None"
	case kind < 20:
		spec["type"], spec["externalName"] = "ExternalName", pick(w.draw, "api.example.com",
			"b.shop.svc.cluster.local")
	case kind < 30:
		spec["clusterIP"] = w.address("10.97")
		spec["clusterIPs"] = list{spec["clusterIP"]}
	case kind < 40:
		spec["type"] = pick(w.draw, "NodePort", "LoadBalancer", "ClusterIP")
	}
	if w.chance(10) {
		spec["ports"], s.ports = list{tree{"port": 80, "targetPort": 8080}}, []int{80}
		return spec
	}
	ports := list{tree{"name": "http", "port": 80, "targetPort": pick[any](w.draw, 8080, "web",
		8080)}}
	s.ports = []int{80}
	for _, p := range portMenu() {
		if w.chance(12) {
			ports = append(ports, p)
			s.ports = append(s.ports, p["port"].(int))
		}
	}
	spec["ports"] = ports
	return spec
}

// portMenu has every way to say what a port carries; names and numbers are all different.
func portMenu() []tree {
	return []tree{
		{"name": "http-web", "port": 8080},
		{"name": "web", "port": 8000, "appProtocol": "http", "targetPort": "web"},
		{"name": "tcp-raw", "port": 9000, "protocol": "TCP"},
		{"name": "mysql", "port": 3306, "targetPort": 9000},
		{"name": "redis-cache", "port": 6379},
		{"name": "mongo", "port": 27017},
		{"name": "misc", "port": 7000},
		{"name": "https", "port": 443, "targetPort": 8443},
		{"name": "tls-in", "port": 8443},
		{"name": "dns", "port": 5353, "protocol": "UDP"},
		{"name": "socket", "port": 8081, "appProtocol": "kubernetes.io/ws"},
		{"name": "secure", "port": 8082, "appProtocol": "kubernetes.io/wss"},
		{"name": "smtp", "port": 25},
	}
}

// fixed is the mesh of Rules.
func (w *world) fixed() {
	w.services = []service{
		{"a", "shop", []int{80, 9000}}, {"b", "shop", []int{80}}, {"c", "stock", []int{80, 8000}},
	}
	w.gateways = []string{"shop/front"}
}

// fixedObjects are the objects of what fixed says.
func (w *world) fixedObjects() []Object {
	port := func(name string, number int) tree {
		return tree{"name": name, "port": number, "targetPort": 8080}
	}
	kubernetes := func(s service, ports ...any) Object {
		return Object{
			"apiVersion": "v1", "kind": "Service",
			"metadata": tree{"name": s.name, "namespace": s.namespace},
			"spec":     tree{"selector": tree{"app": s.name}, "ports": list(ports)},
		}
	}
	a, b, c := w.services[0], w.services[1], w.services[2]
	out := []Object{
		w.clientPod(),
		kubernetes(a, port("http", 80), port("tcp-raw", 9000)),
		kubernetes(b, port("http", 80)),
		kubernetes(c, port("http", 80), port("http-alt", 8000)),
	}
	for i, s := range []service{a, a, a, b, b, c} {
		out = append(out, plainDeployment(s, []int{0, 1, 2, 0, 1, 0}[i]))
	}
	return append(out, gatewayPod(), object("Gateway", "front", "shop", tree{
		"selector": tree{"istio": "ingressgateway"},
		"servers": list{tree{
			"port":  tree{"number": 80, "name": "http", "protocol": "HTTP"},
			"hosts": list{"*"},
		}},
	}))
}
