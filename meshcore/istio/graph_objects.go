package istio

import (
	"encoding/json"
	"maps"

	"gopkg.in/yaml.v3"
)

// objects returns the Deployment and the Service of a service of a graph, as isotope's converter
// makes them, in the places of the graph. The script is in the environment, where the converter
// mounts the whole graph; pods have the label app, too, by which records name them.
func (s *graphService) objects() []*yaml.Node {
	own := map[string]string{"role": "service", "app": s.Name}
	maps.Copy(own, s.labels)
	pod := map[string]string{"role": "service", "app": s.Name, "name": s.Name}
	maps.Copy(pod, s.labels)
	script, err := json.Marshal(s)
	if err != nil {
		panic("istio: " + err.Error()) // it is strings and finite numbers
	}
	type m = map[string]any
	meta := m{"name": s.Name, "labels": own}
	if s.namespace != "" {
		meta["namespace"] = s.namespace
	}
	selector := m{"name": s.Name}
	deployment := s.placed(m{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta,
		"spec": m{
			"replicas": s.replicas,
			"selector": m{"matchLabels": selector},
			"template": m{
				"metadata": m{
					"labels":      pod,
					"annotations": m{"prometheus.io/scrape": "true"},
				},
				"spec": m{"containers": []m{{
					"name": "mock-service", "image": "mesh-lab/isotope",
					"env": []m{
						{"name": "SERVICE_NAME", "value": s.Name},
						{"name": "ISOTOPE_SERVICE", "value": string(script)},
					},
					"ports": []m{{"containerPort": 8080}},
				}}},
			},
		},
	})
	service := s.placed(m{
		"apiVersion": "v1", "kind": "Service", "metadata": meta,
		"spec": m{
			"ports":    []m{{"port": 8080, "name": "http-web"}},
			"selector": selector,
		},
	})
	return []*yaml.Node{deployment, service}
}

// placed makes nodes of an object, each with its place in the graph.
func (s *graphService) placed(object map[string]any) *yaml.Node {
	root := encoded(object)
	put(root, s.node)
	for field, from := range map[string]string{
		"metadata.name": "name", "metadata.namespace": "namespace", "metadata.labels": "labels",
		"spec.replicas": "numReplicas", "spec.template.metadata.labels": "labels",
		"spec.template.spec.containers[0].env[1].value": "script",
	} {
		at := s.places[from]
		if at == nil {
			continue
		}
		n := root
		for _, step := range steps(field) {
			if n == nil {
				break
			}
			_, n = child(n, step)
		}
		if n != nil {
			put(n, at)
		}
	}
	return root
}

// encoded makes nodes of a value that has nothing but strings and numbers.
func encoded(v any) *yaml.Node {
	var n yaml.Node
	if err := n.Encode(v); err != nil {
		panic("istio: " + err.Error())
	}
	return &n
}

// put gives a tree of nodes one place.
func put(n, at *yaml.Node) {
	n.Line, n.Column = at.Line, at.Column
	for _, c := range n.Content {
		put(c, at)
	}
}

// graphClient adds the Deployment from which isotope's load comes. The converter's is fortio's
// server; here fortio runs in the lab, and the pod only sends.
func (r *reader) graphClient(doc document, g *graph) {
	for _, s := range g.services {
		if s.Name == "client" && (s.namespace == "" || s.namespace == "default") {
			return // the graph has its own
		}
	}
	id := identity{group: apps, kind: "Deployment", namespace: "default", name: "client"}
	if r.seen[id] != nil {
		return // of another graph, or the user's
	}
	type m = map[string]any
	labels := m{"app": "client"}
	root := encoded(m{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": m{"name": "client", "namespace": "default", "labels": labels},
		"spec": m{
			"selector": m{"matchLabels": labels},
			"template": m{
				"metadata": m{"labels": labels},
				"spec": m{"containers": []m{
					{"name": "fortio-client", "image": "mesh-lab/curl"},
				}},
			},
		},
	})
	put(root, doc.root)
	r.object(document{file: doc.file, root: root})
}
