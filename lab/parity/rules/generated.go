package rules

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/istio/generate"
)

// The mesh of generate.Rules is the same for all seeds and sizes.
const size = 3

// GeneratedMesh returns the mesh that generated rules are about.
func GeneratedMesh() []istio.File { return meshOf("generated-mesh.yaml", generate.Rules(0, size)) }

// Generated makes rules with every field that is carried out, by the generator of configurations.
// What it makes is read; what is not valid would be a bug of the generator, and has no objects.
func Generated(r *rand.Rand) []*istio.Object { return read(generate.Rules(r.Uint64(), size)) }

// AccessMesh returns the mesh that access rules are about.
func AccessMesh() []istio.File { return meshOf("access-mesh.yaml", generate.Access(0)) }

// Access makes rules about identity and access, likewise.
func Access(r *rand.Rand) []*istio.Object { return read(generate.Access(r.Uint64())) }

// meshOf is a configuration without its rules.
func meshOf(name string, c generate.Config) []istio.File {
	c.Objects = slices.DeleteFunc(c.Objects, rule)
	return []istio.File{{Name: name, Data: c.YAML()}}
}

// read returns the rules of a configuration.
func read(c generate.Config) []*istio.Object {
	c.Objects = slices.DeleteFunc(c.Objects, func(o generate.Object) bool { return !rule(o) })
	for _, o := range c.Objects {
		calm(o)
	}
	read, diags := istio.Read([]istio.File{{Name: "generated.yaml", Data: c.YAML()}},
		istio.ReadOptions{})
	if istio.HasErrors(diags) {
		return nil
	}
	return read.Objects
}

// rule says whether an object is no part of a mesh, but a rule about it.
func rule(o generate.Object) bool {
	switch o["kind"] {
	case "VirtualService", "DestinationRule", "PeerAuthentication", "RequestAuthentication",
		"AuthorizationPolicy":
		return true
	}
	return false
}

// bound is what is made of a time that is too short or too long.
type bound struct{ least, most time.Duration }

// bounds has the times that are compared: below, it is a race which of two things is first, and
// above, requests wait for long.
var bounds = map[string]bound{
	"timeout":       {300 * time.Millisecond, 500 * time.Millisecond},
	"perTryTimeout": {300 * time.Millisecond, 300 * time.Millisecond},
	"fixedDelay":    {100 * time.Millisecond, 100 * time.Millisecond},
	"backoff":       {time.Millisecond, 30 * time.Millisecond},
	// A pod that is back while requests are sent is met by some of them.
	"interval": {time.Minute, time.Hour}, "baseEjectionTime": {time.Minute, time.Hour},
	// So is a connection that ends.
	"connectTimeout": {time.Second, time.Second}, "idleTimeout": {time.Minute, time.Hour},
	"maxConnectionDuration": {time.Minute, time.Hour},
}

// calm changes times that are out of bounds, and values that are known to differ, in place.
func calm(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			calm(e)
		}
	case map[string]any:
		for k, e := range v {
			calm(e)
			text, _ := e.(string)
			d, err := time.ParseDuration(text)
			if strings.Contains(text, "%HOSTNAME%") {
				v[k] = "%PROTOCOL%" // the one known difference would hide others
			}
			b, bounded := bounds[k]
			if err == nil && bounded && d > 0 {
				v[k] = min(max(d, b.least), b.most).String()
			}
		}
	}
}
