// Package generate makes random configurations that istio.Read accepts: Kubernetes workloads and
// Services with VirtualServices, DestinationRules, Gateways, security policies and MeshConfig over
// them. Every field that is carried out can come up; names are few, so that objects meet and clash.
// A seed always makes the same configuration, and Minimize finds the smallest that still shows a
// problem.
package generate

import (
	"bytes"
	"iter"
	"maps"
	"math/rand/v2"

	"gopkg.in/yaml.v3"
)

// Object is one Kubernetes or Istio object as YAML has it: maps, lists and scalars.
type Object = map[string]any

// Config is a configuration. It is never changed: Shrink makes new ones, which share what they
// keep.
type Config struct {
	Objects []Object
	// Mesh is the MeshConfig; nil for none. YAML writes it as the ConfigMap istio-system/istio.
	Mesh map[string]any
}

// tree is a mapping of YAML, list a sequence.
type (
	tree = map[string]any
	list = []any
)

// Mesh returns the configuration of a seed: about size services with their workloads, and as many
// rules. Size 1 makes one service; 3 or 4 make what objects need to meet.
func Mesh(seed uint64, size int) Config {
	w := newWorld(seed, size)
	var c Config
	if w.chance(50) {
		c.Mesh = w.meshConfig()
	}
	c.Objects = append(c.Objects, w.workloads()...)
	c.Objects = append(c.Objects, w.gatewayObjects()...)
	c.Objects = append(c.Objects, w.rules()...)
	c.Objects = append(c.Objects, w.l4Objects(seed)...)
	c.Objects = append(c.Objects, w.securityObjects(seed, &c.Mesh)...)
	return c
}

// Rules returns the VirtualServices and DestinationRules of a seed over a mesh that is always the
// same: client "client-0.shop", services a (versions v1, v2, v3) and b in namespace shop, c in
// namespace stock, and a gateway shop/front on port 80.
func Rules(seed uint64, size int) Config {
	w := newWorld(seed, size)
	w.fixed()
	return Config{Objects: append(w.fixedObjects(), w.rules()...)}
}

// YAML returns the text, one document for each object, for istio.Read.
func (c Config) YAML() []byte {
	objects := c.Objects
	if c.Mesh != nil {
		text := encode(c.Mesh)
		objects = append([]Object{{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": tree{"name": "istio", "namespace": "istio-system"},
			"data":     tree{"mesh": string(text)},
		}}, objects...)
	}
	var out bytes.Buffer
	for i, o := range objects {
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(encode(o))
	}
	return out.Bytes()
}

func encode(v any) []byte {
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		panic("generate: " + err.Error()) // maps, lists and scalars can be written
	}
	return out.Bytes()
}

// Shrink returns smaller configurations, those that miss most first: without some objects, without
// the MeshConfig, without an element of a list, without a field. They may be invalid: ask
// istio.Read.
func (c Config) Shrink() iter.Seq[Config] {
	return func(yield func(Config) bool) {
		for n := len(c.Objects) / 2; n > 0; n /= 2 {
			for at := 0; at < len(c.Objects); at += n {
				rest := append(c.Objects[:at:at], c.Objects[min(at+n, len(c.Objects)):]...)
				if !yield(Config{Objects: rest, Mesh: c.Mesh}) {
					return
				}
			}
		}
		if c.Mesh != nil {
			if !yield(Config{Objects: c.Objects}) {
				return
			}
			for smaller := range without(c.Mesh) {
				if !yield(Config{Objects: c.Objects, Mesh: smaller.(tree)}) {
					return
				}
			}
		}
		for i, o := range c.Objects {
			for smaller := range without(o) {
				objects := append([]Object(nil), c.Objects...)
				objects[i] = smaller.(tree)
				if !yield(Config{Objects: objects, Mesh: c.Mesh}) {
					return
				}
			}
		}
	}
}

// without returns a value with one field or element less, the outer ones first.
func without(v any) iter.Seq[any] {
	return func(yield func(any) bool) {
		switch v := v.(type) {
		case list:
			for i := range v {
				if !yield(append(v[:i:i], v[i+1:]...)) {
					return
				}
			}
			for i, e := range v {
				for smaller := range without(e) {
					if !yield(append(append(v[:i:i], smaller), v[i+1:]...)) {
						return
					}
				}
			}
		case tree:
			for _, k := range sortedKeys(v) {
				rest := maps.Clone(v)
				delete(rest, k)
				if !yield(rest) {
					return
				}
			}
			for _, k := range sortedKeys(v) {
				for smaller := range without(v[k]) {
					rest := maps.Clone(v)
					rest[k] = smaller
					if !yield(rest) {
						return
					}
				}
			}
		}
	}
}

// Minimize returns the smallest configuration that it finds for which bad still holds, in at most
// tries questions. It must hold for c.
func Minimize(c Config, tries int, bad func(Config) bool) Config {
	for again := true; again && tries > 0; {
		again = false
		for smaller := range c.Shrink() {
			if tries--; tries < 0 {
				break
			}
			if bad(smaller) {
				c, again = smaller, true
				break
			}
		}
	}
	return c
}

func newWorld(seed uint64, size int) *world {
	return &world{draw: draw{rand.New(rand.NewPCG(seed, 0x6d6573682d6c6162))}, size: max(1, size)}
}
