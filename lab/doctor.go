package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
)

// finding is one thing that doctor looked at.
type finding struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Note string `json:"note"`
	Way  string `json:"way,omitempty"` // how to get what is missing
}

func doctorCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:     "doctor",
		Short:   "Say what this machine can run, and what is missing",
		Example: "  mesh-lab doctor -o json",
		Args:    none,
		RunE: func(c *cobra.Command, _ []string) error {
			all := examine(c.Context(), e)
			if e.output == "json" {
				return json.NewEncoder(e.out).Encode(all)
			}
			for _, f := range all {
				mark := "✔"
				if !f.OK {
					mark = "·"
				}
				fmt.Fprintf(e.out, "%s %-22s %s\n", mark, f.Name, f.Note)
				for line := range strings.Lines(f.Way) {
					fmt.Fprintf(e.out, "  %-22s → %s\n", "", strings.TrimSpace(line))
				}
			}
			return nil
		},
	}
	outputFlag(e, c, "text", "json")
	return c
}

// examine looks at the machine, and says what this version leaves out.
func examine(ctx context.Context, e *env) []finding {
	return []finding{
		{"platform", true, fmt.Sprintf("%s/%s, %d CPUs", runtime.GOOS, runtime.GOARCH,
			runtime.NumCPU()), ""},
		topologyEmbedded(),
		addresses(),
		topologyDocker(ctx, e),
		{"topology kubernetes", false, "not there yet" + tool("kubectl"), ""},
		{"topology sim", false, "not there yet", ""},
		realEnvoy(ctx),
		{"mutual TLS", true, "between sidecars, as Istio has it by default; the lab is its own " +
			"certificate authority", ""},
		{"protocols", true, "HTTP/1.1, TCP and TLS; HTTP/2 and gRPC are not there yet", ""},
	}
}

// realEnvoy says which Envoy would serve, or why none can.
func realEnvoy(ctx context.Context) finding {
	f := finding{Name: "--proxy envoy"}
	b, err := envoy.Locate(ctx)
	if err == nil {
		f.OK = true
		f.Note = fmt.Sprintf("Envoy %s, from %s: %s", b.Version, b.From, b.Path)
		return f
	}
	var missing *envoy.NotFoundError
	if !errors.As(err, &missing) {
		f.Note, f.Way = err.Error(), "name one that runs, or unset "+envoy.FromVariable
		return f
	}
	f.Note = "no Envoy: " + strings.Join(missing.Looked, "; ")
	f.Way = strings.Join(envoy.Ways, "\n")
	return f
}

// tool says whether a program is installed.
func tool(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return " (" + name + " is not installed)"
	}
	return " (" + name + " is at " + path + ")"
}

func topologyEmbedded() finding {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return finding{"topology embedded", false, err.Error(), "loopback must accept listeners"}
	}
	l.Close()
	return finding{"topology embedded", true, "ready: one process, nothing to install", ""}
}

// addresses says whether each pod can have a loopback address of its own.
func addresses() finding {
	l, err := net.Listen("tcp4", "127.64.0.2:0")
	if err != nil {
		return finding{"pod addresses", true, "one loopback address, a port for each pod", ""}
	}
	l.Close()
	return finding{"pod addresses", true, "a loopback address for each pod (127.64.0.0/10)", ""}
}
