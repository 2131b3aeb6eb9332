package generate_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/istio/generate"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// accepted says what is wrong with a configuration.
func accepted(c generate.Config) []istio.Diagnostic {
	files := []istio.File{{Name: "generated.yaml", Data: c.YAML()}}
	config, problems := istio.Read(files, istio.ReadOptions{})
	if found := faults(problems); found != nil {
		return found
	}
	registry, problems := translate.NewRegistry(config, nil)
	if found := faults(problems); found != nil {
		return found
	}
	return faults(translate.New(config, registry).Diagnostics())
}

// faults leaves warnings out.
func faults(problems []istio.Diagnostic) []istio.Diagnostic {
	var out []istio.Diagnostic
	for _, p := range problems {
		if p.Severity == istio.Error {
			out = append(out, p)
		}
	}
	return out
}

// TestValid: whatever comes out is accepted, and the same each time.
func TestValid(t *testing.T) {
	kinds := map[string]func(uint64, int) generate.Config{"mesh": generate.Mesh,
		"rules":  generate.Rules,
		"access": func(seed uint64, _ int) generate.Config { return generate.Access(seed) }}
	for name, make := range kinds {
		for seed := range uint64(200) {
			c := make(seed, 1+int(seed%6))
			if problems := accepted(c); problems != nil {
				smallest := generate.Minimize(c, 500, func(c generate.Config) bool {
					now := accepted(c)
					return now != nil && now[0].Msg == problems[0].Msg
				})
				t.Fatalf("%s, seed %d: %s\n%s", name, seed, problems[0], smallest.YAML())
			}
			if !bytes.Equal(c.YAML(), make(seed, 1+int(seed%6)).YAML()) {
				t.Fatalf("%s, seed %d: two configurations", name, seed)
			}
		}
	}
}

// TestMinimize leaves what a problem needs, and changes nothing of what it was given.
func TestMinimize(t *testing.T) {
	c := generate.Rules(7, 4)
	before := string(c.YAML())
	bad := func(c generate.Config) bool {
		return accepted(c) == nil && strings.Contains(string(c.YAML()), "timeout:")
	}
	for seed := uint64(0); !bad(c); seed++ {
		c = generate.Rules(seed, 4)
		before = string(c.YAML())
	}
	small := string(generate.Minimize(c, 5000, bad).YAML())
	if string(c.YAML()) != before {
		t.Error("the configuration was changed")
	}
	if n := strings.Count(small, "\n"); n > 20 || strings.Count(small, "kind:") != 1 {
		t.Errorf("%d lines are left:\n%s", n, small)
	}
}
