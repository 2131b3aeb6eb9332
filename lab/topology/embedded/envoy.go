package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/mesh-lab/mesh-lab/lab/link"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy/als"
	"github.com/mesh-lab/mesh-lab/meshcore/incarnation"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// envoys is what the real Envoys of a lab have in common: the binary, where their files are, and
// the service that takes their access logs.
type envoys struct {
	w       *world
	binary  envoy.Binary
	dir     string
	control string // the socket of the control plane
	reports string // the socket of the access log service
	logs    *als.Server
	server  *grpc.Server
	served  sync.WaitGroup

	mu      sync.Mutex
	keep    bool                             // the files: somebody may want to read the logs
	dead    map[string]error                 // pods whose Envoy has died of itself
	told    chan struct{}                    // closed when one dies
	virtual map[netip.AddrPort]*link.Passing // what takes what is not for proxies
	past    []*link.Passing                  // what did once
	doored  map[netip.Addr]bool              // pods before which a door stands
	doors   map[netip.AddrPort]net.Listener
}

// noEnvoyError is a topology.ErrEnvoy in other words.
type noEnvoyError struct{ error }

// Is says that it is one.
func (*noEnvoyError) Is(target error) bool { return target == topology.ErrEnvoy }

// startEnvoys prepares a lab for real Envoys.
func (w *world) startEnvoys(ctx context.Context) error {
	if w.net.block == 0 {
		return fmt.Errorf("%w needs a loopback address for each pod, as Linux has them; "+
			"--proxy meshcore does without", topology.ErrEnvoy)
	}
	e := &envoys{
		w: w, dead: map[string]error{}, told: make(chan struct{}),
		virtual: map[netip.AddrPort]*link.Passing{},
		doored:  map[netip.Addr]bool{}, doors: map[netip.AddrPort]net.Listener{},
		control: w.net.socketName("control"), reports: w.net.socketName("reports"),
	}
	var err error
	if e.binary, err = envoy.Locate(ctx); err != nil {
		return &noEnvoyError{err}
	}
	if e.dir, err = incarnation.MkdirTemp(w.runDir, envoy.RunPrefix); err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	w.log.Info("real Envoys", "version", e.binary.Version, "found by", e.binary.From, "logs", e.dir)
	w.envoys = e
	err = w.local.Listen(func() (net.Listener, error) { return net.Listen("unix", e.control) })
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", e.reports)
	if err != nil {
		return fmt.Errorf("embedded: access log service: %w", err)
	}
	e.logs = als.New(als.Options{
		Clock: w.clock, Sink: w.rec, Node: e.node, Place: w.net.logical, Workload: e.workload,
		KeepHeaders: w.spec.KeepHeaders,
	})
	e.server = grpc.NewServer(control.GRPCOptions()...)
	e.logs.Register(e.server)
	e.served.Go(func() { _ = e.server.Serve(l) }) // ends with Stop
	return nil
}

// node says who a proxy is that reports.
func (e *envoys) node(id string) (als.Proxy, bool) {
	parsed, err := xds.ParseNodeID(id)
	p := e.w.mesh.Pod(parsed.Key())
	if err != nil || p == nil {
		return als.Proxy{}, false
	}
	s := p.Spec()
	return als.Proxy{Name: s.ID(), Workload: live.WorkloadOf(s)}, true
}

// workload says who is at a logical address.
func (e *envoys) workload(at netip.AddrPort) observe.Workload {
	for _, p := range e.w.mesh.Registry().Pods {
		if p.IP == at.Addr() {
			return live.WorkloadOf(p)
		}
	}
	return observe.Workload{}
}

// close ends what the Envoys of the lab shared. They themselves have ended.
func (e *envoys) close() error {
	e.clear()
	e.closePast()
	err := e.closeDoors()
	if e.server != nil {
		e.server.Stop()
	}
	e.served.Wait()
	if e.keep {
		return errors.Join(err, envoy.Keep(e.dir))
	}
	return errors.Join(err, os.RemoveAll(e.dir))
}

// explain adds the end of a proxy's own log to its refusal.
func (e *envoys) explain(err error) error {
	var nack *control.NackError
	if !errors.As(err, &nack) {
		return err
	}
	p, ok := e.w.mesh.Pod(nack.Node).(*pod)
	if !ok {
		return err
	}
	side, ok := p.proxy().(*envoySidecar)
	if !ok {
		return err
	}
	e.mu.Lock()
	e.keep = true
	e.mu.Unlock()
	return fmt.Errorf("%w; the end of its log %s:\n%s", err, side.process.LogPath(),
		side.process.LogTail(logTail))
}

// logTail is how many lines of an Envoy's log go into an error.
const logTail = 10

// clear stops listening at addresses that no proxy listened at: the next configuration may have one
// that does. Connections go on.
func (e *envoys) clear() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for at, r := range e.virtual {
		r.Stop()
		e.past = append(e.past, r)
		delete(e.virtual, at)
	}
}

// closePast ends the connections of everything that clear has closed.
func (e *envoys) closePast() {
	e.mu.Lock()
	past := e.past
	e.past = nil
	e.mu.Unlock()
	for _, r := range past {
		r.Close()
	}
}

// died remembers an Envoy that ended without being told to.
func (e *envoys) died(pod string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dead[pod], e.keep = err, true
	close(e.told)
	e.told = make(chan struct{})
}

// diedOf is why a pod's Envoy has died by itself; nil: it has not.
func (e *envoys) diedOf(pod string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.dead[pod]
}

// gone forgets the death of a pod that is stopped.
func (e *envoys) gone(pod string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.dead, pod)
}

// alive returns what is closed when an Envoy dies, and why those that have died did.
func (e *envoys) alive() (told <-chan struct{}, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, pod := range slices.Sorted(maps.Keys(e.dead)) {
		errs = append(errs, fmt.Errorf("%w: %w", topology.ErrEnvoy, e.dead[pod]))
	}
	return e.told, errors.Join(errs...)
}

// whileAlive returns a context that ends when an Envoy dies; its cause says which and why.
func (e *envoys) whileAlive(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	told, err := e.alive()
	if err != nil {
		cancel(err)
	}
	go func() {
		select {
		case <-told:
			_, err := e.alive()
			cancel(err)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// envoySidecar is a real Envoy as a pod's sidecar or gateway.
type envoySidecar struct {
	pod     *pod
	process *envoy.Process
	watched chan struct{} // closed when the process has ended and that is known

	mu        sync.Mutex
	published map[uint16][2]*link.Passing // gateway: for clients from outside, and for other Envoys
}

// outbound is the socket that takes what a pod's app sends.
func (e *envoys) outbound(pod string) string { return e.w.net.socketName("outbound." + pod) }

// startEnvoy starts the pod's Envoy. It has no configuration until the next push.
func (p *pod) startEnvoy(s *translate.Pod) error {
	e := p.w.envoys
	ejections := als.Ejections{Proxy: s.ID(), Instant: p.w.clock.Instant, Place: p.w.net.logical}
	var lines func([]byte)
	if take := p.w.spec.AccessLog; take != nil {
		lines = func(line []byte) { take(s.ID(), line) }
	}
	process, err := envoy.Start(p.ended, envoy.Options{
		AccessLog: lines,
		Binary:    e.binary, Name: s.ID(), Dir: e.dir, Log: p.w.log,
		Node:    &corev3.Node{Id: live.NodeID(s), Cluster: s.Workload + "." + s.Namespace},
		Control: e.control, Reports: e.reports, Delta: true,
		Source: p.w.net.place(netip.AddrPortFrom(s.IP, 0)).Addr(),
		Ejections: func(line []byte) {
			c, ok, err := ejections.Change(line)
			switch {
			case err != nil:
				p.w.log.Warn("outlier event", "pod", s.ID(), "err", err)
			case ok:
				p.w.rec.Change(c)
			}
		},
	})
	if err != nil {
		return err
	}
	side := &envoySidecar{
		pod: p, process: process, watched: make(chan struct{}),
		published: map[uint16][2]*link.Passing{},
	}
	p.mu.Lock()
	p.side = side
	p.mu.Unlock()
	go func() {
		defer close(side.watched)
		<-process.Exited()
		if err := process.Err(); err != nil {
			e.died(s.ID(), err)
		}
	}()
	return nil
}

// connections are the gauges of the connections that an Envoy has with clients and endpoints.
const connections = `^(http|tcp)\..*\.downstream_cx_active$|^cluster\..*\.upstream_cx_active$`

func (s *envoySidecar) open(ctx context.Context) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	stats, err := s.process.Stats(ctx, connections)
	for name, v := range stats {
		if !strings.HasPrefix(name, "http.admin.") && !strings.HasPrefix(name, "cluster.mesh-lab") {
			n += int(v)
		}
	}
	return n, err
}

func (s *envoySidecar) pause() error  { return s.process.Pause() }
func (s *envoySidecar) resume() error { return s.process.Resume() }

// What settle asks Envoy for: how many log entries it has made and how many it could not keep, and
// how many requests are under way; and of each listener, how many connections no filter chain took:
// they have entries that the first number does not count.
const (
	entriesMade = "access_logs.grpc_access_log.logs_written"
	entriesLost = "access_logs.grpc_access_log.logs_dropped"
	ownRequest  = "http.admin.downstream_rq_active"
	settleStats = `^access_logs\.grpc_access_log\.logs_(written|dropped)$` +
		`|^http\..*\.downstream_rq_active$|^listener\..*` + noChain + `$`
	noChain = `.no_filter_chain_match`
)

// settlePatience bounds how long an Envoy may take to answer and to hand over its log entries.
const settlePatience = 30 * time.Second

// dying bounds how long it takes from the end of a process until it is known.
const dying = 5 * time.Second

// settle waits until what has ended is recorded. A pod that is being stopped has nothing more to
// report.
func (s *envoySidecar) settle(ctx context.Context) error {
	patient, cancel := context.WithTimeoutCause(ctx, settlePatience,
		fmt.Errorf("its access log has not come within %s", settlePatience))
	defer cancel()
	err := s.reported(patient)
	if err == nil || s.pod.ended.Err() != nil {
		return nil
	}
	select { // one that is about to end does not answer any more
	case <-s.watched:
	case <-time.After(dying):
	}
	if _, dead := s.pod.w.envoys.alive(); dead != nil {
		return dead
	}
	if ctx.Err() == nil && patient.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(patient), err)
	}
	return fmt.Errorf("%w of %s: %w", topology.ErrEnvoy, s.pod.spec.Load().ID(), err)
}

// reported waits until every log entry that Envoy has made has come. The entry of an exchange whose
// end the client has seen may still be in the making, as long as Envoy counts it among its
// requests; those that go on for longer are not waited for.
func (s *envoySidecar) reported(ctx context.Context) error {
	const looks, pause = 10, 2 * time.Millisecond
	node := s.pod.spec.Load().ID()
	for range looks {
		stats, err := s.process.Stats(ctx, settleStats)
		if err != nil {
			return err
		}
		if n := stats[entriesLost]; n > 0 {
			return fmt.Errorf("it dropped %d entries of its access log: records are missing", n)
		}
		made := als.Entries{Requests: stats[entriesMade]}
		for name, n := range stats {
			if strings.HasSuffix(name, noChain) {
				made.Unmatched += n
				delete(stats, name)
			}
		}
		if err := s.pod.w.envoys.logs.Await(ctx, node, made); err != nil {
			return err
		}
		delete(stats, entriesMade)
		delete(stats, entriesLost)
		delete(stats, ownRequest)
		active := uint64(0)
		for _, n := range stats {
			active += n
		}
		if active == 0 {
			break
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
	return nil
}

// stopGrace is how long an Envoy that is stopped may take.
const stopGrace = time.Second

// close ends the process and what leads to it.
func (s *envoySidecar) close(ctx context.Context) error {
	e := s.pod.w.envoys
	s.mu.Lock()
	open := slices.Collect(maps.Values(s.published))
	clear(s.published)
	s.mu.Unlock()
	for _, r := range open {
		r[0].Close()
		r[1].Close()
	}
	// In order, so that its access logs are written; but a busy machine may let that take seconds,
	// and nothing else is lost with it.
	ctx, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	err := s.process.Stop(ctx)
	if ctx.Err() != nil {
		err = nil // it was killed instead
	}
	<-s.watched
	id := s.pod.spec.Load().ID()
	e.gone(id)
	e.logs.Forget(id) // who takes its place counts its entries from zero
	return err
}
