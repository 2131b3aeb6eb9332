package engine

import (
	"net/netip"

	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Options says which proxy an Engine decides for.
type Options struct {
	Node     string // node id of the records: POD.NAMESPACE
	Workload observe.Workload
	Seed     uint64
	// KeepHeaders names the request headers (lower-case) that records keep.
	KeepHeaders []string
	// Removed is called during Update for each endpoint that left the configuration: its idle
	// connections are to be closed, those in use after their exchange.
	Removed func(*Endpoint)
	// Changed is told of ejections and un-ejections.
	Changed func(observe.Change)
}

// Engine is the policy core of one proxy. Update and Tick must not be called at the same time as each
// other; everything else is safe for concurrent use, beside them too.
type Engine struct {
	opt Options
}

// New returns an engine without configuration.
func New(opt Options) *Engine { return &Engine{opt: opt} }

// Check says whether one resource can be carried out; the error is a Refusals.
func (e *Engine) Check(m proto.Message) error { return nil }

// Update takes a snapshot. Resources that are the same message as before, or equal to it, cost
// next to nothing. When a resource of a type is refused, all resources of that type stay as they were
// (as Envoy rejects a response) and the error, a Refusals, names them; other types are taken.
func (e *Engine) Update(now clock.Instant, s *xds.Snapshot) error { return nil }

// Tick carries out what time alone makes due (outlier intervals and ends of ejections) and returns when
// it is to be called again; clock.Never when nothing is due. After an Update it must be asked again.
func (e *Engine) Tick(now clock.Instant) (next clock.Instant) { return clock.Never }

// Binds lists the addresses to listen on, sorted: the listeners with bind_to_port.
func (e *Engine) Binds() []netip.AddrPort { return nil }

// Listener returns the listener that handles a connection accepted on bind whose original destination is
// local; nil when there is none any more.
func (e *Engine) Listener(bind, local netip.AddrPort) *Listener { return nil }
