package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
)

// Break has the control plane be gone, slow or partial. Gone, its process is killed: what comes
// back knows nothing.
func (c *controlPlane) Break(
	ctx context.Context, f topology.ControlFault,
) (topology.Broken, error) {
	if f.Down {
		return c.breakDown(ctx)
	}
	if f.Slow <= 0 && len(f.Withhold) == 0 {
		return nil, errors.New("control plane: says nothing: want down, slow or withhold")
	}
	c.mu.Lock()
	c.troubles++
	id := c.troubles
	c.mu.Unlock()
	begin := func(ctx context.Context, f topology.ControlFault) error {
		return c.lab.Trouble(ctx, id, control.Trouble{Slow: f.Slow, Withhold: f.Withhold})
	}
	if err := begin(ctx, f); err != nil {
		return nil, err
	}
	return &effect{
		receipt: func(ctx context.Context) (topology.Receipt, error) {
			n, err := c.lab.CountTrouble(ctx, id)
			r := topology.Receipt{First: n.First, Last: n.Last}
			if r.Fired, r.Unit = n.Delayed, "pushes delayed"; len(f.Withhold) > 0 {
				r.Fired, r.Unit = n.Withheld, "pushes withheld"
			}
			return r, err
		},
		change: func(ctx context.Context, f topology.Fault) error { return begin(ctx, f.Control) },
		heal:   func(ctx context.Context) error { return c.lab.EndTrouble(ctx, id) },
	}, nil
}

// breakDown kills its process. The evidence is its exit event.
func (c *controlPlane) breakDown(ctx context.Context) (topology.Broken, error) {
	streams := int64(0)
	for _, s := range c.Status() {
		if s.Connected {
			streams++
		}
	}
	if err := c.Stop(ctx); err != nil {
		return nil, err
	}
	r := topology.Receipt{Fired: streams, Unit: "streams cut"}
	if x := c.box.Exits(); len(x) > 0 {
		r.First = c.w.clock.Instant(x[len(x)-1].At)
		r.Last = r.First
		r.Evidence = []string{fmt.Sprintf("Docker: the control plane %s", x[len(x)-1])}
	}
	return &effect{
		receipt: func(context.Context) (topology.Receipt, error) { return r, nil },
		heal:    c.Start,
	}, nil
}

// Whole says whether it is gone, or does badly.
func (c *controlPlane) Whole(ctx context.Context) error {
	if c.isDown() {
		return errors.New("the control plane is down")
	}
	n, err := c.lab.Troubles(ctx)
	if err == nil && n > 0 {
		err = fmt.Errorf("the control plane still has %d faults", n)
	}
	return err
}

var _ live.ControlBreaker = (*controlPlane)(nil)
