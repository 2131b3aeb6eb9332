// Package live is a mesh of proxies that run: what is configured, who is told of it, who is ready,
// killed or broken, whose certificates and keys there are. Where pods run and how bytes pass
// between them is a World's: one process on loopback (embedded), containers (docker).
//
//	Mesh ── translate, names, secrets, stock ── World.Link ──▶ Control.Set ══ ADS ══▶ proxies
//	  │                                                                                 ▲
//	  └── what is new, what is gone ──▶ World.Start, Pod.Close ─────────────────────────┘
//
// A World and its Pods have small optional powers, asked for by type assertion: what a topology can
// not break, it does not have.
package live

import (
	"context"
	"net"
	"net/netip"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// World is where pods run. Its methods are safe for concurrent use; Start is called for many pods
// at a time.
type World interface {
	// Check says what of a pod this World can not run, before anything of it is started.
	Check(s *translate.Pod) []istio.Diagnostic
	// Start starts a pod: its app, and its proxy without a configuration. It returns when both run,
	// or with nothing left behind. A pod that is not ready at once calls Mesh.HoldBack within it.
	Start(ctx context.Context, s *translate.Pod) (Pod, error)
	// Link makes what proxies are sent of snapshots that any Envoy carries out (access logs, where
	// things are bound). It must not alter its arguments; what pods share they are to share after.
	Link(reg *translate.Registry, snaps map[string]*xds.Snapshot) (map[string]*xds.Snapshot, error)
	// Dial connects as a client would, past or through its sidecar as the client's pod has it. to
	// is logical; a loopback address is the pod's own app, past the sidecar.
	Dial(ctx context.Context, from Client, to netip.AddrPort) (net.Conn, error)
	// Capture is topology.Mesh's, once the name is looked up.
	Capture(from Client, to netip.AddrPort) (network, addr string, release func(), err error)
	// Close ends what is left of the World; its pods and the control plane have ended.
	Close(ctx context.Context) error
}

// Client is who opens a connection.
type Client struct {
	Addr      netip.Addr
	Namespace string
	Pod       Pod // nil: not of a pod: from outside, or the control plane
}

// Pod is one running pod: an app, a proxy, or both. Its methods are safe for concurrent use.
type Pod interface {
	Spec() *translate.Pod
	// SetSpec takes a new description of the same pod: containers, labels, address and role are the
	// same, or the pod is replaced instead.
	SetSpec(s *translate.Pod)
	// Launch is called when every proxy has ACKed, after each change: who waits for its proxy
	// begins.
	Launch()
	// Settle waits until every exchange of its proxy that has ended is in the recorder. A proxy
	// that is down or paused has nothing to hand over.
	Settle(ctx context.Context) error
	// Gateways is where it listens for clients of the user's own; reg knows its Services' ports.
	Gateways(reg *translate.Registry) []topology.GatewayAddress
	// Close ends it: in order while ctx lasts, then at once. Broken parts do not hold it up.
	Close(ctx context.Context) error
}

// Control is the control plane's server. It may be elsewhere.
type Control interface {
	// Set is control.Server's. The proxies of aside are given theirs, and nobody waits for them:
	// they are broken.
	Set(
		ctx context.Context, snaps map[string]*xds.Snapshot, aside []string,
	) (control.Result, error)
	Status() []control.NodeStatus
	// Stop takes it away; Start brings it back. The Mesh gives it everything again.
	Stop(ctx context.Context) error
	Start(ctx context.Context) error
	Close() error
}

// Optional powers of a World.
type (
	// Pusher has something to do when proxies are told of a configuration.
	Pusher interface {
		// Prepare has what proxies will connect to be there, before they are told.
		Prepare(ctx context.Context, reg *translate.Registry) error
		// InEffect waits, after the last ACK, until what was sent is in effect: sockets are bound.
		// It is given what was planned, with logical addresses.
		InEffect(ctx context.Context, snaps map[string]*xds.Snapshot) error
		// Alive returns a context that ends when something dies that everybody waits for; its cause
		// says what.
		Alive(ctx context.Context) (alive context.Context, stop func())
		// Explain adds what the World knows of why a push has failed, such as the end of a proxy's
		// log. It gets nil, too.
		Explain(err error) error
	}
	// Resolver looks up names itself, as a pod's own resolver does, instead of the Mesh.
	Resolver interface {
		Lookup(ctx context.Context, from Client, name string) ([]netip.Addr, error)
	}
	// Breaker breaks what is between pods: FaultPartition, FaultLink, FaultDNS. Whole is asked for
	// everything of the World, its pods included. Able is asked for every kind that is not
	// FaultControl or FaultUnready, before anything is broken: it knows what its pods can.
	Breaker = topology.Breaker
)

// Optional powers of a Pod. What they return is in effect when they return. An effect lives with
// the Pod: Close ends it. The Mesh breaks again what takes the Pod's place, and adds receipts up.
type (
	// Killer ends an app or a proxy at once, as kill -9 does, and starts it again with an empty
	// memory (Heal). PartPod ends everything: the Pod is of no use but to Close, and Heal does
	// nothing; the Mesh starts another.
	Killer interface {
		Kill(ctx context.Context, part topology.Part) (topology.Broken, error)
	}
	// Pauser stops parts, as SIGSTOP does: connections stay open, and what waits goes on
	// afterwards.
	Pauser interface {
		Pause(ctx context.Context, part topology.Part) (topology.Broken, error)
	}
	// Refuser has new connections to ports of the app refused; none: to all.
	Refuser interface {
		Refuse(ctx context.Context, ports []int) (topology.Broken, error)
	}
	// Starver leaves a pod a share of one core, in (0, 1].
	Starver interface {
		Starve(ctx context.Context, cpu float64) (topology.Broken, error)
	}
	// Awaiter waits until the pod is ready, or known not to be.
	Awaiter interface{ Await(ctx context.Context) }
	// Patient says what is wrong with a pod that nobody has broken; nil: nothing.
	Patient interface{ Problem() error }
)

// ControlBreaker is the optional power of a Control to be slow, partial or down (FaultControl).
// When a fault is healed that has emptied its memory, the Mesh gives it everything again.
type ControlBreaker interface {
	Break(ctx context.Context, f topology.ControlFault) (topology.Broken, error)
	// Whole says what is still broken.
	Whole(ctx context.Context) error
}
