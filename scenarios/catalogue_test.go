package scenarios

import (
	"path"
	"slices"
	"testing"
)

// Every bundled scenario reads without a problem, and ends its loads by itself.
func TestCatalogue(t *testing.T) {
	want := []string{
		"bookinfo/abort", "bookinfo/all-v1", "bookinfo/delay", "bookinfo/overload",
		"bookinfo/test-user", "bookinfo/timeout", "bookinfo/weights", "breaker", "canary",
		"chaos/control-plane-down", "chaos/control-plane-restarted", "chaos/dns-fail",
		"chaos/dns-none", "chaos/dns-slow", "chaos/dns-wrong", "chaos/flapping",
		"chaos/half-open", "chaos/jittery-link", "chaos/kill-app", "chaos/kill-pod",
		"chaos/kill-sidecar", "chaos/loss", "chaos/partial-pushes", "chaos/partition",
		"chaos/partition-one-way", "chaos/pause", "chaos/ramp", "chaos/random-kills",
		"chaos/refuse", "chaos/reset", "chaos/slow-link", "chaos/slow-pushes", "chaos/starve",
		"chaos/steady-state", "chaos/unready",
		"faults",
		"httpbin/circuit-breaker", "httpbin/ingress", "httpbin/mirror", "overload", "retries",
		"security/ext-authz", "security/jwt", "security/least-privilege", "security/migration",
		"security/rotation", "security/strict", "sticky",
	}
	if got := Names(); !slices.Equal(got, want) {
		t.Errorf("bundled are %v, want %v", got, want)
	}
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			s, problems := Open(Catalogue(), name+".yaml")
			for _, p := range problems {
				t.Error(p)
			}
			if s == nil {
				return
			}
			if s.Name != path.Base(name) || s.About == "" {
				t.Errorf("name %q about %q", s.Name, s.About)
			}
			for _, step := range s.Steps {
				if len(step.Expect) == 0 {
					t.Errorf("step %q expects nothing", step.Name)
				}
				for _, a := range step.Actions {
					if a.Apply == nil {
						continue
					}
					for _, d := range *a.Apply {
						if len(d.Data) == 0 {
							t.Errorf("step %q: %s is empty", step.Name, d.File)
						}
					}
				}
			}
		})
	}
}
