// Package sidecar is our data plane as a process of its own, in the place of the envoy binary: an
// Envoy bootstrap tells it who it is, what is static, and which ADS server tells the rest.
//
//	bootstrap ─┬─ static clusters, listeners ─────────────┐
//	           └─ ADS ◀─ subscribe ─▶ dynamic resources ──┴▶ plane ─▶ resolve ─▶ engine, proxy
//	                                                           │                     │
//	                                              admin ◀──────┴────── counters ◀────┘
package sidecar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy/host"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Options is what a sidecar is made of.
type Options struct {
	Bootstrap *bootstrapv3.Bootstrap // checked by bootstrap.Check and Validate
	Flags     *adminv3.CommandLineOptions
	Version   string // what /server_info says
	Log       *slog.Logger
	Level     *slog.LevelVar // of Log; POST /logging changes it
	Seed      uint64
	DrainTime time.Duration // how long an end waits for requests under way

	// What a lab wants to know of its proxies, beside the admin port; each may be nil.
	Clock     *clock.Real          // nil: one that begins now
	Sink      proxy.Sink           // takes the records
	Changed   func(observe.Change) // hears of ejections; nil: they are logged
	AccessLog engine.LogSink       // takes the lines of access logs in the place of their files
	// KeepHeaders, Exact and IP are as in engine.Options; without IP it is the machine's own.
	KeepHeaders []string
	Exact       bool
	IP          netip.Addr
}

// Sidecar is one running data plane.
type Sidecar struct {
	opt    Options
	clock  *clock.Real
	engine *engine.Engine
	proxy  *proxy.Proxy
	plane  *plane
	counts *counters
	admin  net.Listener // nil without an admin port
	began  time.Time
	quit   chan struct{} // POST /quitquitquit
	failed healthcheck
	logs   accessLogs
}

// Validate says what of a bootstrap's resources can not be carried out; it opens no socket.
func Validate(b *bootstrapv3.Bootstrap) error {
	e := engine.New(engine.Options{Node: "validate"})
	var errs []error
	s := static(b)
	for i, c := range b.GetStaticResources().GetClusters() {
		errs = append(errs, prefixed(checkCluster(e, c), "static_resources.clusters", i))
		if _, eds := xds.EndpointName(c); eds {
			errs = append(errs, fmt.Errorf("static_resources.clusters[%d]: Cluster %s: type: EDS "+
				"is not carried out yet for static clusters; give it a load_assignment", i,
				c.GetName()))
		}
	}
	for i, l := range b.GetStaticResources().GetListeners() {
		errs = append(errs, prefixed(e.Check(l), "static_resources.listeners", i))
		names, err := xds.RouteNames(l)
		if err == nil && len(names) > 0 {
			errs = append(errs, fmt.Errorf("static_resources.listeners[%d]: Listener %s: rds is "+
				"not carried out yet for static listeners; give it a route_config", i, l.GetName()))
		}
	}
	if len(s.Listeners) != len(b.GetStaticResources().GetListeners()) {
		errs = append(errs, errors.New("static_resources.listeners: two have one name"))
	}
	return errors.Join(errs...)
}

// prefixed begins each line of an error with where its resource stands.
func prefixed(err error, field string, i int) error {
	if err == nil {
		return nil
	}
	at := fmt.Sprintf("%s[%d]: ", field, i)
	return errors.New(at + strings.ReplaceAll(err.Error(), "\n", "\n"+at))
}

// static returns a bootstrap's own resources. A listener without a name has a random one in Envoy;
// here its place is its name.
func static(b *bootstrapv3.Bootstrap) *xds.Snapshot {
	s := xds.NewSnapshot()
	for _, c := range b.GetStaticResources().GetClusters() {
		s.Clusters[c.GetName()] = c
	}
	for i, l := range b.GetStaticResources().GetListeners() {
		if l.GetName() == "" {
			l.Name = fmt.Sprintf("static_resources.listeners[%d]", i)
		}
		s.Listeners[l.GetName()] = l
	}
	return s
}

// New makes a sidecar and opens its admin port. Close it.
func New(o Options) (*Sidecar, error) {
	s := &Sidecar{
		opt: o, clock: cmp.Or(o.Clock, clock.NewReal()), began: time.Now(),
		quit: make(chan struct{}, 1), counts: &counters{sink: o.Sink},
	}
	node := o.Bootstrap.GetNode()
	s.logs.log = o.Log
	name := node.GetId()
	if id, err := xds.ParseNodeID(name); err == nil {
		name = id.Key()
	}
	l := node.GetLocality()
	changed, ip := o.Changed, o.IP
	if changed == nil {
		changed = func(c observe.Change) { o.Log.Info(c.Kind, "endpoint", c.What) }
	}
	if !ip.IsValid() {
		ip = host.Own()
	}
	s.engine = engine.New(engine.Options{
		Node: name, IP: ip, KeepHeaders: o.KeepHeaders, Exact: o.Exact, Changed: changed,
		Seed: clock.Sub(o.Seed, "engine"), Removed: proxy.Removed,
		Workload: workload(node), Wall: s.clock.Wall,
		Wake:     func(at clock.Instant) { s.proxy.Wake(at) },
		Locality: lb.Locality{Region: l.GetRegion(), Zone: l.GetZone(), SubZone: l.GetSubZone()},
	})
	var lines engine.LogSink = &s.logs
	if o.AccessLog != nil {
		lines = o.AccessLog
	}
	s.proxy = proxy.New(proxy.Options{
		Engine: s.engine, Network: host.Network{}, Clock: s.clock, Sink: s.counts, Log: o.Log,
		AccessLog: lines, Seed: clock.Sub(o.Seed, "proxy"),
	})
	s.plane = newPlane(s)
	if a := o.Bootstrap.GetAdmin().GetAddress(); a != nil {
		at, err := address(a)
		if err == nil {
			s.admin, _, err = host.Network{}.Listen(context.Background(), at)
		}
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("admin.address: %w", err)
		}
	}
	return s, nil
}

// workload is who the node's metadata says it is, for records.
func workload(n *corev3.Node) observe.Workload {
	m := n.GetMetadata().GetFields()
	labels := m["LABELS"].GetStructValue().GetFields()
	return observe.Workload{
		Pod: m["NAME"].GetStringValue(), Workload: m["WORKLOAD_NAME"].GetStringValue(),
		Namespace: m["NAMESPACE"].GetStringValue(), Service: labels["app"].GetStringValue(),
		Version: labels["version"].GetStringValue(),
	}
}

// address reads a socket or pipe address.
func address(a *corev3.Address) (engine.Address, error) {
	if p := a.GetPipe(); p != nil {
		return engine.Address{Path: p.GetPath(), Mode: p.GetMode()}, nil
	}
	s := a.GetSocketAddress()
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return engine.Address{}, fmt.Errorf("malformed IP address: %s", s.GetAddress())
	}
	return engine.Address{AddrPort: netip.AddrPortFrom(ip, uint16(s.GetPortValue()))}, nil
}

// Admin returns where the admin port is; nil without one.
func (s *Sidecar) Admin() net.Addr {
	if s.admin == nil {
		return nil
	}
	return s.admin.Addr()
}

// Run serves until ctx ends or the admin port is told to quit, then lets what is under way end.
func (s *Sidecar) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.admin != nil {
		stop := s.serveAdmin()
		defer stop()
	}
	stop, err := s.subscribe(ctx)
	if err != nil {
		return err
	}
	defer stop()
	select {
	case <-ctx.Done():
	case <-s.quit:
	}
	s.opt.Log.Info("shutting down")
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx),
		cmp.Or(s.opt.DrainTime, 5*time.Second))
	defer cancel()
	if err := s.proxy.Drain(end); err != nil {
		s.opt.Log.Warn("connections are cut", "err", err)
	}
	return nil
}

// Settle returns when every exchange whose end a client can have seen is with the Sink.
func (s *Sidecar) Settle(ctx context.Context) error { return s.proxy.Settle(ctx) }

// Close ends everything at once.
func (s *Sidecar) Close() error {
	if s.admin != nil {
		s.admin.Close()
	}
	s.plane.resolver.Close()
	err := s.proxy.Close()
	s.logs.reopen()
	return err
}

// State is what /ready and /server_info say.
func (s *Sidecar) state() adminv3.ServerInfo_State {
	switch {
	case s.failed.Load():
		return adminv3.ServerInfo_DRAINING
	case !s.plane.live():
		return adminv3.ServerInfo_INITIALIZING
	}
	return adminv3.ServerInfo_LIVE
}
