package embedded

import (
	"context"
	"errors"
	"net"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
	"github.com/mesh-lab/mesh-lab/meshcore/subscribe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// meshcore is our own data plane as a pod's sidecar or gateway.
type meshcore struct {
	pod     *pod
	engine  *engine.Engine
	proxy   *proxy.Proxy
	stopSub func() // ends the ADS subscription and the engine's timer; waits
}

// startMeshcore starts the pod's sidecar, or the gateway, and its subscription to the control
// plane.
func (p *pod) startMeshcore(s *translate.Pod) error {
	side := &meshcore{pod: p}
	e := engine.New(engine.Options{
		Node: s.ID(), Seed: clock.Sub(p.w.spec.Seed, "engine", s.ID()), Exact: p.w.spec.Exact,
		Workload:    live.WorkloadOf(s),
		KeepHeaders: p.w.spec.KeepHeaders,
		Removed:     proxy.Removed,
		Checks:      &p.w.checks,
		Changed:     p.w.rec.Change,
		Wake:        func(at clock.Instant) { side.proxy.Wake(at) },
		Wall:        p.w.clock.Wall,
		IP:          s.IP,
		Locality: lb.Locality{
			Region: s.Locality.Region, Zone: s.Locality.Zone, SubZone: s.Locality.Subzone,
		},
	})
	opt := proxy.Options{
		Engine: e, Network: &podNetwork{side}, Clock: p.w.clock, Sink: p.w.rec, Log: p.w.log,
		Seed: clock.Sub(p.w.spec.Seed, "proxy", s.ID()),
	}
	if log := p.w.spec.AccessLog; log != nil {
		opt.AccessLog = podLog{s.ID(), log}
	}
	side.engine, side.proxy = e, proxy.New(opt)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	sub := &subscribe.Client{
		Node: &corev3.Node{Id: live.NodeID(s)}, Pool: p.w.pool, Conn: p.w.local.Conn, Delta: true,
		Target: dataPlane{ctx, e, side.proxy, p.w.tamper},
	}
	side.stopSub = func() { cancel(); <-done }
	p.mu.Lock()
	p.side = side
	p.mu.Unlock()
	go func() {
		defer close(done)
		sub.Run(ctx) //nolint:errcheck // ends with the context
	}()
	return p.recapture(side)
}

// dataPlane feeds the subscription's snapshots to the data plane.
type dataPlane struct {
	ctx    context.Context
	engine *engine.Engine
	proxy  *proxy.Proxy
	tamper func(*xds.Snapshot) *xds.Snapshot
}

// Check says whether the engine can carry a resource out.
func (d dataPlane) Check(m proto.Message) error { return d.engine.Check(m) }

// Update puts a snapshot into effect.
func (d dataPlane) Update(s *xds.Snapshot) error {
	if d.tamper != nil {
		s = d.tamper(s)
	}
	return d.proxy.Update(d.ctx, s)
}

// capture serves a socket as the outbound listener, with one original destination.
func (s *meshcore) capture(l net.Listener, to netip.AddrPort) (stop func(), err error) {
	return s.proxy.Serve(l, proxy.Origin{
		Bind: engine.Address{
			AddrPort: netip.AddrPortFrom(netip.IPv4Unspecified(), outboundPort)},
		Local:  to,
		Remote: netip.AddrPortFrom(s.pod.spec.Load().IP, 0),
	})
}

func (s *meshcore) settle(ctx context.Context) error { return s.proxy.Settle(ctx) }

func (s *meshcore) open(context.Context) (conns int, err error) {
	down, up := s.proxy.Open()
	return down + up, nil
}

func (s *meshcore) pause() error {
	s.proxy.Pause()
	return nil
}

func (s *meshcore) resume() error {
	s.proxy.Resume()
	return nil
}

func (s *meshcore) close(context.Context) error {
	s.proxy.Resume() // an update may wait
	s.stopSub()
	return s.proxy.Close()
}

// podLog takes the access log lines of one pod. Pods have no disks here: a line for a file goes
// where the others go.
type podLog struct {
	pod  string
	take func(pod string, line []byte)
}

// AccessLog passes a line on.
func (l podLog) AccessLog(_ string, line []byte) { l.take(l.pod, line) }

// podNetwork is the network as one pod's proxy sees it.
type podNetwork struct{ side *meshcore }

// Listen binds a listener's logical address. A gateway's ports are published on 127.0.0.1 too.
func (n *podNetwork) Listen(
	_ context.Context, addr engine.Address,
) (net.Listener, bool, error) {
	p := n.side.pod
	ip := p.spec.Load().IP
	l, err := p.w.net.bind(ip, addr.Port())
	if err != nil {
		return nil, false, err
	}
	l = p.w.net.publish(ip, addr.Port(), l)
	if p.spec.Load().Role == translate.Gateway {
		if l, err = n.side.publish(addr, l); err != nil {
			return nil, false, err
		}
	}
	return l, true, nil
}

// publish opens a gateway's port on 127.0.0.1 for the user's own clients, who come from outside. It
// is closed with the listener.
func (s *meshcore) publish(addr engine.Address, l net.Listener) (net.Listener, error) {
	p := s.pod
	out, err := p.w.outside(p.servicePort(addr.Port()))
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	_, err = s.proxy.Serve(p.fromOutside(out, addr.Port()), proxy.Origin{
		Bind: addr, Local: netip.AddrPortFrom(p.spec.Load().IP, addr.Port()),
		Remote: netip.AddrPortFrom(topology.OutsideAddr, 0),
	})
	if err != nil {
		return nil, errors.Join(err, out.Close(), l.Close())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.published[addr.Port()] = out
	return &known{Listener: l, closed: func() {
		p.mu.Lock()
		if p.published[addr.Port()] == out {
			delete(p.published, addr.Port())
		}
		p.mu.Unlock()
		out.Close()
	}}, nil
}

// Dial connects the pod's proxy to a logical address: to its own app, to another pod, or to one
// behind a Service.
func (n *podNetwork) Dial(
	ctx context.Context, from netip.Addr, at engine.Address,
) (net.Conn, error) {
	p, to := n.side.pod, at.AddrPort
	s := p.spec.Load()
	// What comes from 127.0.0.6 has passed the inbound listener and is the app's. A pod that calls
	// itself by its own address meets its own sidecar again, as under Istio's iptables
	// (tools/istio-iptables/pkg/capture/run.go: appN => Envoy (client) => Envoy (server) => appN).
	if to.Addr().IsLoopback() || to.Addr() == s.IP && from.IsValid() {
		t, err := p.w.net.call(netip.AddrPortFrom(s.IP, to.Port()))
		if err != nil {
			return nil, err
		}
		return p.w.net.connect(ctx, t, netip.AddrPortFrom(from, 0), to)
	}
	return p.w.dialPod(ctx, netip.AddrPortFrom(s.IP, 0), p.w.balance(to))
}

// LocalAddr is the pod's address, as the other side sees it, or what the proxy binds.
func (n *podNetwork) LocalAddr(c net.Conn, from netip.Addr, to netip.AddrPort) netip.AddrPort {
	port := uint16(c.LocalAddr().(*net.TCPAddr).Port)
	switch {
	case from.IsValid():
		return netip.AddrPortFrom(from, port)
	case to.Addr().IsLoopback():
		return netip.AddrPortFrom(localhost, port)
	}
	return netip.AddrPortFrom(n.side.pod.spec.Load().IP, port)
}
