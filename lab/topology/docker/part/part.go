// Package part is what runs inside of containers: each part of a lab is this very program with
// another task, told in one variable of its environment.
//
//	hub      the lab's door              control  the control plane
//	pod      a pod's network, its agent  dns      names
//	app      a bundled app               proxy    our sidecar
package part

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/bundled"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/sidecar"
	"github.com/mesh-lab/mesh-lab/meshcore/istio/intercept"
)

// Variable is the variable of the environment that has a part's configuration, as JSON.
const Variable = "MESHLAB_PART"

// Where the lab's own parts are, in every lab: each has a network of its own.
var (
	HubIP     = netip.MustParseAddr("10.245.0.2")
	ControlIP = netip.MustParseAddr("10.245.0.3")
	DNSIP     = netip.MustParseAddr("10.245.0.4")
)

// The ports of the parts.
const (
	ControlPort    = 15010 // ADS
	ControlLabPort = 15011 // what the lab tells the control plane
	HubPort        = 15300 // the lab's
	AgentPort      = 15301 // of every pod
	RecordsPort    = 15302 // of the hub: our proxies tell what they did
	ReportsPort    = 15303 // of the hub: real Envoys do
	AppPort        = 15304 // of a bundled app, on its loopback
)

// Hub is the lab's door.
type Hub struct {
	IP      netip.Addr `json:"ip"`
	Token   string     `json:"token"`
	Outside netip.Addr `json:"outside"` // the address of clients that are not in the mesh
}

// Pod has a pod's network, and is its agent.
type Pod struct {
	IP        netip.Addr       `json:"ip"`
	Token     string           `json:"token"`
	Name      string           `json:"name"` // POD.NAMESPACE
	Namespace string           `json:"namespace"`
	Capture   *intercept.Rules `json:"capture,omitempty"` // nil: nobody takes anything
}

// DNS answers the names of the lab.
type DNS struct {
	IP    netip.Addr `json:"ip"`
	Token string     `json:"token"`
}

// Control is the control plane.
type Control struct {
	IP    netip.Addr `json:"ip"`
	Token string     `json:"token"`
}

// Encode makes a configuration the value of Variable.
func Encode(config any) (string, error) {
	text, err := json.Marshal(config)
	return string(text), err
}

// Main is a part of a lab, until ctx ends.
func Main(ctx context.Context, kind string, stderr io.Writer) error {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	config := []byte(os.Getenv(Variable))
	switch kind {
	case "hub":
		return with(ctx, config, log, hub)
	case "pod":
		return with(ctx, config, log, pod)
	case "dns":
		return with(ctx, config, log, dns)
	case "control":
		return with(ctx, config, log, control)
	case "app":
		return with(ctx, config, log, bundled.Main)
	case "proxy":
		return with(ctx, config, log, sidecar.Main)
	}
	return fmt.Errorf("no part %q: one of hub, pod, dns, control, app, proxy; mesh-lab starts "+
		"them in containers by itself", kind)
}

// with reads a part's configuration.
func with[C any](
	ctx context.Context, text []byte, log *slog.Logger,
	run func(context.Context, C, *slog.Logger) error,
) error {
	var c C
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("%s: %w; mesh-lab sets it when it starts containers", Variable, err)
	}
	return run(ctx, c, log)
}
