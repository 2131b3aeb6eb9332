package docker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/part"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/plane"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// controlPlane is the control plane's container, and the lab's end of it.
type controlPlane struct {
	w        *world
	box      *engine.Container
	lab      *plane.Client
	mu       sync.Mutex
	down     bool
	troubles int // so far, for their numbers
}

// startControl starts the control plane's container.
func (w *world) startControl(ctx context.Context) error {
	c := &controlPlane{w: w}
	w.control = c
	c.lab = plane.NewClient(w.token, w.clock, w.rec, func(ctx context.Context) (net.Conn, error) {
		return w.door.Inside(ctx, netip.AddrPortFrom(part.ControlIP, part.ControlLabPort))
	})
	var err error
	c.box, err = w.startPart(ctx, "control", part.Control{IP: part.ControlIP, Token: w.token},
		engine.Spec{NetAdmin: true})
	return err
}

// join waits until it answers.
func (c *controlPlane) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := c.lab.Join(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, c.box.Tail(ctx, 10))
	}
	return nil
}

// Set gives proxies their snapshots; while it is down, nobody does.
func (c *controlPlane) Set(
	ctx context.Context, snaps map[string]*xds.Snapshot, aside []string,
) (control.Result, error) {
	c.mu.Lock()
	down := c.down
	c.mu.Unlock()
	if down {
		<-ctx.Done()
		return control.Result{}, fmt.Errorf("%w: %w", plane.ErrDown, ctx.Err())
	}
	return c.lab.Set(ctx, snaps, aside)
}

// Status returns the books.
func (c *controlPlane) Status() []control.NodeStatus { return c.lab.Status() }

// Stop kills its process; proxies keep what they have.
func (c *controlPlane) Stop(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return nil
	}
	c.lab.Status() // for who asks while it is away
	_, err := c.box.Kill(ctx)
	if err == nil {
		c.down = true
		c.lab.Leave()
	}
	return err
}

// Start starts another process in its place, which knows nothing yet.
func (c *controlPlane) Start(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.down {
		return nil
	}
	if err := c.box.Again(ctx); err != nil {
		return err
	}
	if err := c.join(ctx); err != nil {
		return err
	}
	c.down = false
	return nil
}

func (c *controlPlane) isDown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down
}

// Close ends the lab's end.
func (c *controlPlane) Close() error { return c.lab.Close() }

var _ live.Control = (*controlPlane)(nil)
