package live

import (
	"context"

	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Local is a Control in this process.
type Local struct{ *control.LocalServer }

// Set gives proxies their snapshots.
func (l Local) Set(
	ctx context.Context, snaps map[string]*xds.Snapshot, aside []string,
) (control.Result, error) {
	return l.Server.Set(ctx, snaps, control.Aside(aside...))
}

// Status returns the books.
func (l Local) Status() []control.NodeStatus { return l.Server.Status() }

// Stop takes it away; proxies keep what they have.
func (l Local) Stop(context.Context) error {
	l.LocalServer.Stop()
	return nil
}

// Start brings it back.
func (l Local) Start(context.Context) error { return l.LocalServer.Start() }
