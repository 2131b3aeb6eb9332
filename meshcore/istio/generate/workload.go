package generate

// deployment makes a Deployment of an image.
func deployment(name, ns string, labels tree, image string) Object {
	return Object{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": tree{"name": name, "namespace": ns, "labels": labels},
		"spec": tree{
			"replicas": 1,
			"selector": tree{"matchLabels": labels},
			"template": tree{
				"metadata": tree{"labels": labels},
				"spec": tree{"containers": list{tree{
					"name": "app", "image": image,
					"ports": list{
						tree{"name": "web", "containerPort": 8080}, tree{"containerPort": 9000},
					},
				}}},
			},
		},
	}
}

func plainDeployment(s service, version int) Object {
	v := numbered("v", version+1)
	labels := tree{"app": s.name, "version": v}
	return deployment(s.name+"-"+v, s.namespace, labels, "mesh-lab/echo")
}

// clientPod is where requests come from: client-0.shop.
func (w *world) clientPod() Object {
	return deployment("client", "shop", tree{"app": "client"}, "mesh-lab/curl")
}

func gatewayPod() Object {
	return deployment("front", "shop", tree{"istio": "ingressgateway"}, "auto")
}

// externalPod is a server outside of the mesh.
func (w *world) externalPod() Object {
	o := deployment("outside", "stock", tree{"app": "outside"}, "mesh-lab/echo")
	template(o)["metadata"].(tree)["annotations"] = tree{
		"mesh-lab.dev/external-host": pick(w.draw, "api.example.com", "ext.example.com"),
	}
	return o
}

func template(o Object) tree { return o["spec"].(tree)["template"].(tree) }

// workload makes the pods of one version of a service.
func (w *world) workload(s *service, version int) Object {
	o := plainDeployment(*s, version)
	spec, t := o["spec"].(tree), template(o)
	spec["replicas"] = pick(w.draw, 0, 1, 1, 1, 2)
	if w.chance(15) {
		delete(spec, "replicas")
	}
	if w.chance(10) {
		spec["selector"] = tree{"matchExpressions": list{
			tree{"key": "app", "operator": "In", "values": list{s.name}},
		}}
	}
	w.dress(t, s, version)
	switch kind := w.r.IntN(100); {
	case kind < 10:
		o["kind"] = "ReplicaSet"
	case kind < 20:
		o["kind"] = "StatefulSet"
		spec["serviceName"] = s.name
	case kind < 30:
		meta := t["metadata"].(tree)
		meta["name"], meta["namespace"] = o["metadata"].(tree)["name"], s.namespace
		return Object{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": t["spec"]}
	}
	return o
}

// dress gives pods what tells them apart.
func (w *world) dress(t tree, s *service, version int) {
	labels := tree{"app": s.name, "version": numbered("v", version+1)}
	switch w.r.IntN(8) {
	case 0, 1:
		labels["topology.istio.io/locality"] = pick(w.draw, "r1.z1", "r1.z1.s1", "r1.z2", "r2")
	case 2:
		labels["topology.kubernetes.io/region"] = pick(w.draw, "r1", "r2")
		labels["topology.kubernetes.io/zone"] = pick(w.draw, "z1", "z2")
		labels["topology.istio.io/subzone"] = "s1"
	case 3:
		labels["service.istio.io/canonical-name"] = "named"
		labels["service.istio.io/canonical-revision"] = "second"
	case 4:
		labels["sidecar.istio.io/inject"] = pick(w.draw, "false", "true")
	}
	annotations := tree{}
	switch w.r.IntN(8) {
	case 0:
		annotations["mesh-lab.dev/ready"] = pick(w.draw, "false", "true")
	case 1:
		annotations["sidecar.istio.io/inject"] = pick(w.draw, "false", "true")
	}
	meta := tree{"labels": labels}
	if len(annotations) > 0 {
		meta["annotations"] = annotations
	}
	t["metadata"] = meta
	spec := t["spec"].(tree)
	w.fields(spec,
		of(w.draw, "serviceAccountName", 20, "seller", "buyer"),
		of(w.draw, "serviceAccount", 10, "seller"),
		of(w.draw, "hostname", 10, "named"),
		of(w.draw, "subdomain", 10, s.name),
	)
	container := spec["containers"].(list)[0].(tree)
	w.fields(container, of[any](w.draw, "env", 20, list{tree{"name": "ECHO_TEXT",
		"value": "hello"}}))
	for _, p := range container["ports"].(list) {
		w.fields(p.(tree), of(w.draw, "protocol", 10, "TCP"))
	}
}

// handmade is a list of addresses for a Service without a selector.
func (w *world) handmade(s *service) Object {
	ip, other := w.address("10.245"), w.address("10.245")
	ref := field{"targetRef", 40, func() any {
		return tree{"kind": "Pod", "name": s.name + "-v1-0", "namespace": s.namespace}
	}}
	if w.chance(50) {
		return Object{
			"apiVersion": "v1", "kind": "Endpoints",
			"metadata": tree{"name": s.name, "namespace": s.namespace},
			"subsets": list{tree{
				"addresses":         list{w.fields(tree{"ip": ip, "hostname": "one"}, ref)},
				"notReadyAddresses": list{tree{"ip": other}},
				"ports": list{tree{"name": "http", "port": 8080, "protocol": "TCP",
					"appProtocol": "http"}},
			}},
		}
	}
	return Object{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
		"metadata": tree{"name": s.name + "-1", "namespace": s.namespace,
			"labels": tree{"kubernetes.io/service-name": s.name}},
		"addressType": "IPv4",
		"endpoints": list{
			w.fields(tree{"addresses": list{ip}},
				field{"conditions", 60, func() any {
					return w.fields(tree{}, of(w.draw, "ready", 50, true, false),
						of(w.draw, "serving", 50, true, false),
						of(w.draw, "terminating", 30, true, false))
				}},
				of(w.draw, "hostname", 20, "one"), ref),
			tree{"addresses": list{other}},
		},
		"ports": list{tree{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http"}},
	}
}

// bystanders are objects that rules do not speak of.
func (w *world) bystanders() []Object {
	plain := func(kind, name, ns string) Object {
		return Object{"apiVersion": "v1", "kind": kind, "metadata": tree{"name": name,
			"namespace": ns}}
	}
	var out []Object
	if w.chance(10) {
		ns := Object{"apiVersion": "v1", "kind": "Namespace", "metadata": tree{
			"name":   pick(w.draw, "stock", "other"),
			"labels": tree{"istio-injection": pick(w.draw, "enabled", "disabled")},
		}}
		out = append(out, ns)
	}
	if w.chance(5) {
		out = append(out, plain("ServiceAccount", "seller", "shop"))
	}
	if w.chance(5) {
		o := plain("Secret", "key", "shop")
		o["type"], o["data"] = "Opaque", tree{"word": "aGk="}
		o["stringData"], o["immutable"] = tree{"other": "hi"}, true
		out = append(out, o)
	}
	if w.chance(5) {
		o := plain("ConfigMap", "settings", "shop")
		o["data"], o["binaryData"] = tree{"word": "hi"}, tree{"bytes": "aGk="}
		o["immutable"] = true
		out = append(out, o)
	}
	return out
}
