package engine

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/trace"
	"github.com/mesh-lab/mesh-lab/meshcore/exact"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
)

// Options says which proxy an Engine decides for.
type Options struct {
	Node     string // node id of the records: POD.NAMESPACE
	Workload observe.Workload
	Locality lb.Locality
	// IP is the proxy's own address: it stands in x-forwarded-for for loopback clients and in
	// mirrored copies.
	IP   netip.Addr
	Seed uint64
	// Exact has the draws of routes enumerated instead of drawn: weights, faults and mirrors come
	// out to the request.
	Exact bool
	// KeepHeaders names the request headers (lower-case) that records keep.
	KeepHeaders []string
	// Getenv reads the proxy's environment for %ENVIRONMENT(X)%; nil: it is empty.
	Getenv func(name string) (value string, ok bool)
	// Checks may be shared by the engines of a process; nil: its own.
	Checks *Checks
	// Removed is called during Update and Tick for each endpoint that left the configuration:
	// its idle connections are to be closed, those in use after their exchange.
	Removed func(*Endpoint)
	// Changed is told of ejections and un-ejections.
	Changed func(observe.Change)
	// Wake asks for a call of Tick at an instant that may be before the one that Tick named.
	Wake func(at clock.Instant)
	// Again, when set, says that exchanges are decided again that have been decided before: what
	// becomes of hosts teaches outlier detection nothing, and a filter for which it says so lets
	// the request pass, since what that rested on is not known any more.
	Again func(filter string) (passes bool)
	// RetryFull, when set, says whether there was no room for the retry that is about to be: of an
	// exchange that is decided again, which can not know how many others were under way.
	RetryFull func() bool
	// Wall turns an instant into wall time, for the date header and START_TIME. Nil: the run's
	// beginning is 1970.
	Wall func(clock.Instant) time.Time
}

// Engine is the policy core of one proxy. Update, Check and Tick are serialised; everything
// else is safe for concurrent use, beside them too.
type Engine struct {
	opt   Options
	dates atomic.Pointer[dateText]
	// tracer is asked once by each exchange.
	tracer atomic.Pointer[func(*trace.Trace)]

	mu        sync.Mutex                   // guards what follows
	exact     map[string]*exact.Enumerator // by route
	clusters  map[string]*slot[Cluster]
	routes    map[string]*slot[routeConfig]
	secrets   map[string]*slot[transport.Secret]
	listeners atomic.Pointer[[]*Listener] // sorted by name; read without mu
	have      resources
	checked   map[proto.Message]any // what was compiled since the last Update, for it to take
	live      []*Cluster            // sorted by name
}

// New returns an engine without configuration.
func New(opt Options) *Engine {
	e := &Engine{opt: opt, clusters: map[string]*slot[Cluster]{},
		routes: map[string]*slot[routeConfig]{}, checked: map[proto.Message]any{},
		secrets: map[string]*slot[transport.Secret]{},
		exact:   map[string]*exact.Enumerator{}}
	if e.opt.Checks == nil {
		e.opt.Checks = &Checks{}
	}
	if e.opt.Wall == nil {
		e.opt.Wall = func(i clock.Instant) time.Time { return time.Unix(0, int64(i)) }
	}
	e.listeners.Store(&[]*Listener{})
	return e
}

// clusterSlot returns the slot of a cluster; it is empty until the cluster comes. Caller must
// hold mu.
func (e *Engine) clusterSlot(name string) *slot[Cluster] {
	s := e.clusters[name]
	if s == nil {
		s = &slot[Cluster]{}
		e.clusters[name] = s
	}
	return s
}

func (e *Engine) routeSlot(name string) *slot[routeConfig] {
	s := e.routes[name]
	if s == nil {
		s = &slot[routeConfig]{}
		e.routes[name] = s
	}
	return s
}

// Tick carries out what time alone makes due (outlier intervals and ends of ejections, merged
// changes of hosts) and returns when it is to be called again; clock.Never when nothing is due.
// It is to be called after each Update, too.
func (e *Engine) Tick(now clock.Instant) (next clock.Instant) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next = noDeadline
	for _, c := range e.live {
		next = min(next, c.tick(now))
	}
	return next
}

// Binds lists the addresses to listen on, sorted: those of the listeners with bind_to_port.
func (e *Engine) Binds() []Address {
	var out []Address
	for _, l := range *e.listeners.Load() {
		if l.bind {
			out = append(out, l.addrs...)
		}
	}
	slices.SortFunc(out, Address.Compare)
	return slices.Compact(out)
}

// Bound returns the listener that is bound to an address; nil when there is none any more.
func (e *Engine) Bound(bind Address) *Listener {
	for _, l := range *e.listeners.Load() {
		if l.bind && slices.Contains(l.addrs, bind) {
			return l
		}
	}
	return nil
}

// Listener returns the listener that handles a connection accepted on bind whose original
// destination is local; nil when there is none any more. A listener with use_original_dst hands
// over to the one with the destination's address, else to the one of its port on any address,
// else it keeps the connection (connection_handler_impl.cc getBalancedHandlerByAddress).
func (e *Engine) Listener(bind Address, local netip.AddrPort) *Listener {
	own := e.Bound(bind)
	if own == nil || !own.handover {
		return own
	}
	var exact, wild *Listener
	for _, l := range *e.listeners.Load() {
		for _, a := range l.addrs {
			switch {
			case a.Path != "":
			case a.AddrPort == local:
				exact = l
			case a.Port() == local.Port() && a.Addr().IsUnspecified():
				wild = l
			}
		}
	}
	return cmp.Or(exact, wild, own)
}

// ip is the proxy's own address.
func (e *Engine) ip(ci *ConnInfo) netip.Addr {
	if e.opt.IP.IsValid() {
		return e.opt.IP
	}
	return ci.Local.Addr()
}

type dateText struct {
	second int64
	text   []byte
}

// date returns the date header of an instant; it is made once a second.
func (e *Engine) date(now clock.Instant) []byte {
	at := e.opt.Wall(now)
	d := e.dates.Load()
	if d == nil || d.second != at.Unix() {
		d = &dateText{second: at.Unix(),
			text: at.UTC().AppendFormat(nil, "Mon, 02 Jan 2006 15:04:05 GMT")}
		e.dates.Store(d)
	}
	return d.text
}

func sortedAddrs(m map[Address]*Endpoint) []Address {
	return slices.SortedFunc(maps.Keys(m), Address.Compare)
}
