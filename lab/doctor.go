package lab

import (
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"
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
		RunE: func(*cobra.Command, []string) error {
			all := examine()
			if e.output == "json" {
				return json.NewEncoder(e.out).Encode(all)
			}
			for _, f := range all {
				mark := "✔"
				if !f.OK {
					mark = "·"
				}
				fmt.Fprintf(e.out, "%s %-22s %s\n", mark, f.Name, f.Note)
				if f.Way != "" {
					fmt.Fprintf(e.out, "  %-22s → %s\n", "", f.Way)
				}
			}
			return nil
		},
	}
	outputFlag(e, c, "text", "json")
	return c
}

// examine looks at the machine, and says what this version leaves out.
func examine() []finding {
	return []finding{
		{"platform", true, fmt.Sprintf("%s/%s, %d CPUs", runtime.GOOS, runtime.GOARCH,
			runtime.NumCPU()), ""},
		topologyEmbedded(),
		addresses(),
		{"topology docker", false, "not there yet" + tool("docker"), ""},
		{"topology kubernetes", false, "not there yet" + tool("kubectl"), ""},
		{"topology sim", false, "not there yet", ""},
		{"--proxy envoy", false, "not there yet" + tool("envoy"), ""},
		{"mutual TLS", false, "left out of this version: hops are plain text, so the transport " +
			"sockets, TLS filter chains and x-forwarded-client-cert of istiod's are absent", ""},
		{"protocols", true, "HTTP/1.1 and plain TCP; HTTP/2, gRPC and TLS are not there yet", ""},
	}
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
