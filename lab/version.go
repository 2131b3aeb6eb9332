package lab

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// The versions whose semantics mesh-lab follows.
const (
	istioSemantics = "1.31"
	envoySemantics = "1.40"
)

// release is this source tree's version; builds of a tagged module say their own.
const release = "0.1.0-dev"

// buildVersion returns the version of this binary.
func buildVersion() string {
	if i, ok := debug.ReadBuildInfo(); ok && i.Main.Version != "" && i.Main.Version != "(devel)" {
		return i.Main.Version
	}
	return release
}

func versionCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version, and whose semantics are followed",
		Example: "  mesh-lab version -o json",
		Args:    none,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
				Istio   string `json:"istio"`
				Envoy   string `json:"envoy"`
				Go      string `json:"go"`
				OS      string `json:"os"`
			}{buildVersion(), istioSemantics, envoySemantics, runtime.Version(),
				runtime.GOOS + "/" + runtime.GOARCH}
			if e.output == "json" {
				return json.NewEncoder(e.out).Encode(v)
			}
			fmt.Fprintf(e.out, "mesh-lab %s (semantics of Istio %s and Envoy %s; %s, %s)\n",
				v.Version, v.Istio, v.Envoy, v.Go, v.OS)
			return nil
		},
	}
	outputFlag(e, c, "text", "json")
	return c
}
