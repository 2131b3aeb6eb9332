package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/pilot"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy/host"
)

func controlPlaneCommand(e *env) *cobra.Command {
	var s source
	var listen string
	c := &cobra.Command{
		Use:   "control-plane -f FILE... --listen HOST:PORT|unix:PATH",
		Short: "Serve ADS for configuration files to any Envoy",
		Long: `control-plane serves what istiod would make of the files, over ADS in the state of
the world and in delta, to any Envoy or Envoy-like proxy. A proxy is told apart by its node id,
ROLE~IP~POD.NAMESPACE~DOMAIN, as Istio's agent writes it: where the files have that pod, the proxy
is the pod's, and the pod's address becomes the proxy's own (the annotation mesh-lab.dev/ip is
stronger). A proxy that the files do not have is what its node id and metadata (LABELS, NAMESPACE,
WORKLOAD_NAME, INSTANCE_IPS) say.

A control plane that begins lets proxies that come back keep what they have until the proxies of
all pods are back and have said their addresses, or 30 s have passed, or SIGHUP comes.

SIGHUP reads the files again; files that can not be used leave everything as it was. -v logs who
connects and what each proxy answers.`,
		Example: `  mesh-lab control-plane -f manifests/ -f istio/ --listen 127.0.0.1:15010
  mesh-lab control-plane -f mesh.yaml --listen unix:./ads.sock -v`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case len(s.files) == 0 && s.app == "":
				return usage("control-plane: which configuration? -f FILE...")
			case listen == "":
				return usage("control-plane: where? --listen HOST:PORT or --listen unix:PATH")
			}
			return e.controlPlane(c.Context(), s, listen)
		},
	}
	sourceFlags(c, &s)
	c.Flags().MarkHidden("unknown-image") //nolint:errcheck // the flag exists
	c.Flags().StringVar(&listen, "listen", "", "`ADDRESS`: HOST:PORT or unix:PATH")
	return c
}

// controlPlane serves until it is interrupted.
func (e *env) controlPlane(ctx context.Context, s source, listen string) error {
	c, err := e.config(s)
	if err != nil {
		return err
	}
	if len(c.Objects) == 0 {
		return usage("the configuration is empty")
	}
	p, diags := pilot.New(c, e.log)
	if err := e.diagnose(diags); err != nil {
		return err
	}
	l, err := listenOn(ctx, listen)
	if err != nil {
		return err
	}
	e.signals.take(syscall.SIGHUP, func() { e.reload(p, s) })
	fmt.Fprintf(e.out, "control plane on %s: ADS for %s\n", at(l), proxies(p.Proxies()))
	return environment(p.Serve(ctx, l))
}

// proxies counts them in words.
func proxies(n int) string {
	if n == 1 {
		return "1 proxy"
	}
	return fmt.Sprintf("%d proxies", n)
}

// at writes an address as --listen reads it.
func at(l net.Listener) string {
	if a := l.Addr(); a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return l.Addr().String()
}

// listenOn opens what --listen says.
func listenOn(ctx context.Context, address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		l, _, err := host.Network{}.Listen(ctx, engine.Address{Path: path})
		return l, environment(err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	var ae *net.AddrError
	if errors.As(err, &ae) {
		return nil, usage("--listen %q: %v; want HOST:PORT or unix:PATH", address, err)
	}
	return l, environment(err)
}

// reload reads the files again. What is wrong with them is said, and changes nothing.
func (e *env) reload(p *pilot.Pilot, s source) {
	c, err := e.config(s)
	if err == nil && len(c.Objects) == 0 {
		err = errors.New("the configuration is empty")
	}
	if err == nil {
		err = e.diagnose(p.Load(c))
	}
	if err != nil {
		fmt.Fprintf(e.err, "mesh-lab: %v\nmesh-lab: the configuration stays as it was\n", err)
		return
	}
	fmt.Fprintf(e.err, "mesh-lab: read again: ADS for %s\n", proxies(p.Proxies()))
}
