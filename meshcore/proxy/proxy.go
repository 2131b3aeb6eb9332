// Package proxy is the live data plane of one pod: it binds listeners, reads requests and carries
// out what the engine decides. It decides nothing itself.
//
//	accept ─▶ PROXY header ─▶ inspect ─▶ Chain ─┬─ HTTP: h1 ─▶ for { switch d.Kind } ─▶ pool
//	                                            └─ TCP: bytes both ways
//
// One goroutine owns a downstream connection and, for the time of an exchange, the upstream one.
// A second one exists only while a request body is streamed, for a tunnel and for a mirror.
// Whoever has news for a goroutine that waits (a hang-up, the end of an upload, a connection)
// sets a flag and kicks it: by its channel, or by a read deadline in the past on the upstream
// that it reads.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Options is what a proxy is made of. Engine, Network, Clock and Sink are needed.
type Options struct {
	// Engine decides. Make it with Removed: proxy.Removed, so that connections to endpoints that
	// left the configuration are closed.
	Engine  *engine.Engine
	Network Network
	Clock   clock.Clock
	Seed    uint64
	Sink    Sink
	Log     *slog.Logger // nil: discard
	// AccessLog takes the lines of access logs; nil: discard.
	AccessLog engine.LogSink

	portable bool // watch for hang-ups without epoll
}

// Network is how a proxy reaches the world: it alone knows where a logical address really is.
type Network interface {
	// Listen opens the socket of a logical address that a listener binds. proxied says that each
	// connection begins with a PROXY protocol header, whatever the listener's filters are.
	Listen(ctx context.Context, addr engine.Address) (l net.Listener, proxied bool, err error)
	// Dial connects to a logical address. from is the upstream_bind_config's source, invalid
	// without one.
	Dial(ctx context.Context, from netip.Addr, to engine.Address) (net.Conn, error)
}

// Kernel is implemented by a Network whose sockets are bound where listeners say: the kernel knows
// where a connection arrived, and where it was going.
type Kernel interface {
	// Local returns the address at which a connection arrived.
	Local(c net.Conn) netip.AddrPort
	// OriginalDst returns where a connection was going before the kernel redirected it; false when
	// it was not redirected.
	OriginalDst(c net.Conn) (netip.AddrPort, bool)
}

// Locator is a Network whose connections have other addresses at our end than their sockets have.
type Locator interface {
	// LocalAddr returns the logical address of our end of a connection that Dial made.
	LocalAddr(conn net.Conn, from netip.Addr, to netip.AddrPort) netip.AddrPort
}

// Sink takes the records. r is borrowed until Record returns; it is called from many goroutines.
type Sink interface {
	Record(r *observe.Request)
}

// ChainSink is a Sink that wants to know the filter chain, too: it is called in Record's place.
type ChainSink interface {
	RecordOn(c *engine.Chain, r *observe.Request)
}

// DialSink is a Sink that wants to hear of connections to endpoints, made or failed.
type DialSink interface {
	Dialed(ep *engine.Endpoint, made bool)
}

// Proxy is a running data plane.
type Proxy struct {
	opt    Options
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	watch  watcher
	peers  atomic.Uint32 // ports for peers that have none
	conns  atomic.Uint64 // connections so far, of both sides: numbers them
	paused atomic.Pointer[pause]
	seq    atomic.Uint64 // requests and TCP connections so far: numbers their random values

	update sync.Mutex // engine.Update, engine.Tick and the listeners change one at a time
	bound  map[engine.Address]*listener

	tickMu sync.Mutex
	tickAt clock.Instant      // when the engine is due
	ticks  func() (stop bool) // the timer for it

	mu       sync.Mutex
	closed   bool
	downs    map[*downstream]struct{}
	open     map[io.Closer]struct{} // sockets beside those of downs
	pools    []*pool
	wg       sync.WaitGroup
	draining atomic.Bool
	settle   settler
	counts   counts
}

// listener is a bound socket.
type listener struct {
	net.Listener
	bind    engine.Address
	proxied bool
	origin  *Origin // of a socket given to Serve
}

// New returns a proxy without listeners; Update opens them.
func New(opt Options) *Proxy {
	p := &Proxy{
		opt: opt, log: opt.Log, bound: map[engine.Address]*listener{},
		downs: map[*downstream]struct{}{}, open: map[io.Closer]struct{}{},
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.opt.AccessLog == nil {
		p.opt.AccessLog = noLog{}
	}
	p.tickAt = clock.Never
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.watch = p.newWatcher()
	p.spawn(p.sweeper)
	return p
}

type noLog struct{}

// AccessLog forgets the line.
func (noLog) AccessLog(string, []byte) {}

// spawn runs f unless the proxy is closed; Close waits for its end.
func (p *Proxy) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.wg.Go(f)
	return true
}

// track remembers a socket that Close must close; false: it has begun, and the socket is closed.
func (p *Proxy) track(c io.Closer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return false
	}
	p.open[c] = struct{}{}
	return true
}

// untrack closes a tracked socket.
func (p *Proxy) untrack(c io.Closer) {
	c.Close()
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
}

// forget removes a pool.
func (p *Proxy) forget(q *pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.pools, q); i >= 0 {
		p.pools = slices.Delete(p.pools, i, i+1)
	}
}

// Update gives the engine a snapshot, opens the listeners that are new and closes those that are
// gone. The error is the engine's refusal (an engine.Refusals, possibly joined with listeners
// that could not be bound); what was accepted is in effect.
func (p *Proxy) Update(ctx context.Context, s *xds.Snapshot) error {
	p.hold()
	p.update.Lock()
	defer p.update.Unlock()
	errs := []error{p.opt.Engine.Update(p.opt.Clock.Now(), s)}
	want := p.opt.Engine.Binds()
	for _, at := range want {
		if p.bound[at] == nil {
			errs = append(errs, p.listen(ctx, at))
		}
	}
	for at, l := range p.bound {
		if !slices.Contains(want, at) {
			p.untrack(l)
			delete(p.bound, at)
		}
	}
	p.retire()
	p.rearm()
	return errors.Join(errs...)
}

// listen binds a listener. Caller must hold update.
func (p *Proxy) listen(ctx context.Context, at engine.Address) error {
	nl, proxied, err := p.opt.Network.Listen(ctx, at)
	if err != nil {
		return fmt.Errorf("listener %s: %w", at, err)
	}
	l := &listener{Listener: nl, bind: at, proxied: proxied}
	if !p.track(l) || !p.spawn(func() { p.accept(l) }) {
		return net.ErrClosed
	}
	p.bound[at] = l
	return nil
}

// accept serves the connections of a listener until it is closed.
func (p *Proxy) accept(l *listener) {
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed) || err != nil && p.ctx.Err() != nil:
			return
		case err != nil: // out of descriptors, or the peer has gone already
			p.log.Warn("accept", "at", l.bind, "err", err)
			select {
			case <-p.ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		d := newDownstream(p, l, conn)
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			conn.Close()
			return
		}
		p.downs[d] = struct{}{}
		p.wg.Go(d.serve)
		p.mu.Unlock()
	}
}

// retire drains the connections whose filter chain has been replaced, as Envoy does. Caller must
// hold update.
func (p *Proxy) retire() {
	for _, d := range p.connections() {
		chain := d.shown.Load()
		if chain == nil {
			continue
		}
		l := p.opt.Engine.Listener(d.bind, d.info.Local)
		if p.bound[d.bind] == nil || l == nil || l.Chain(&d.info) != chain {
			d.retire(p.opt.Clock.Now())
		}
	}
}

func (p *Proxy) connections() []*downstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*downstream, 0, len(p.downs))
	for d := range p.downs {
		out = append(out, d)
	}
	return out
}

// rearm lets the engine do what is due. Caller must hold update.
func (p *Proxy) rearm() {
	p.tickMu.Lock()
	p.tickAt = clock.Never
	p.tickMu.Unlock()
	p.Wake(p.opt.Engine.Tick(p.opt.Clock.Now()))
}

// Wake calls the engine's Tick at an instant. It is made for engine.Options.
func (p *Proxy) Wake(at clock.Instant) {
	p.tickMu.Lock()
	defer p.tickMu.Unlock()
	if at >= p.tickAt || p.ctx.Err() != nil {
		return
	}
	if p.ticks != nil {
		p.ticks()
	}
	p.tickAt = at
	p.ticks = p.opt.Clock.AfterFunc(max(0, at.Sub(p.opt.Clock.Now())), func() {
		p.spawn(func() {
			p.hold()
			p.update.Lock()
			defer p.update.Unlock()
			p.rearm()
		})
	})
}

// Addr returns the real address that a logical listener address is bound to; nil when it is not.
func (p *Proxy) Addr(logical engine.Address) net.Addr {
	p.update.Lock()
	defer p.update.Unlock()
	if l := p.bound[logical]; l != nil {
		return l.Addr()
	}
	return nil
}

// Drain stops accepting, asks clients to close (connection: close) and returns when no connection
// is left or ctx is done. Idle connections are closed at once.
func (p *Proxy) Drain(ctx context.Context) error {
	p.draining.Store(true)
	p.update.Lock()
	for at, l := range p.bound {
		p.untrack(l)
		delete(p.bound, at)
	}
	p.update.Unlock()
	for {
		open := p.connections()
		if len(open) == 0 {
			return nil
		}
		for _, d := range open {
			d.drain()
		}
		select {
		case <-open[0].ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends everything at once: no goroutine and no port is left when it returns.
func (p *Proxy) Close() error {
	p.cancel()
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		c.Close()
	}
	for d := range p.downs {
		d.conn.Close()
		d.hangup()
	}
	p.mu.Unlock()
	p.watch.close()
	p.wg.Wait()
	p.tickMu.Lock()
	if p.ticks != nil {
		p.ticks()
	}
	p.tickMu.Unlock()
	return nil
}
