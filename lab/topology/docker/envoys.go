package docker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/part"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy/als"
	"github.com/mesh-lab/mesh-lab/meshcore/istio/intercept"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// reports takes the access logs of real Envoys, which come through the hub.
type reports struct {
	*lines
	logs   *als.Server
	server *grpc.Server
	served sync.WaitGroup
}

// startReports begins to take them.
func (w *world) startReports() {
	r := &reports{lines: newLines(), server: grpc.NewServer(control.GRPCOptions()...)}
	r.logs = als.New(als.Options{
		Clock: w.clock, Sink: w.rec, Node: w.node, Workload: w.workload,
		KeepHeaders: w.spec.KeepHeaders,
	})
	r.logs.Register(r.server)
	w.reports = r
	r.served.Go(func() { _ = r.server.Serve(r) }) // ends with Stop
}

func (r *reports) close() {
	r.server.Stop()
	r.Close()
	r.served.Wait()
}

// node says who a proxy is that reports.
func (w *world) node(id string) (als.Proxy, bool) {
	parsed, err := xds.ParseNodeID(id)
	w.mu.Lock()
	p := w.pods[parsed.Key()]
	w.mu.Unlock()
	if err != nil || p == nil {
		return als.Proxy{}, false
	}
	s := p.Spec()
	return als.Proxy{Name: s.ID(), Workload: live.WorkloadOf(s)}, true
}

// workload says who is at an address.
func (w *world) workload(at netip.AddrPort) observe.Workload {
	for _, p := range w.mesh.Registry().Pods {
		if p.IP == at.Addr() {
			return live.WorkloadOf(p)
		}
	}
	return observe.Workload{}
}

// adminAt is where an Envoy answers of itself, in its pod.
var adminAt = netip.MustParseAddrPort("127.0.0.1:15000")

// events is the file that takes outlier events: what begins with a brace on standard error.
const events = "/dev/stderr"

// startEnvoy starts a pod's Envoy. It has no configuration until the next push.
func (p *pod) startEnvoy(ctx context.Context, s *translate.Pod) error {
	args, err := envoy.Contained{
		Node:    &corev3.Node{Id: live.NodeID(s), Cluster: s.Workload + "." + s.Namespace},
		Control: netip.AddrPortFrom(part.ControlIP, part.ControlPort),
		Reports: netip.AddrPortFrom(part.HubIP, part.ReportsPort),
		Admin:   adminAt, Source: s.IP, Events: events,
	}.Arguments()
	if err != nil {
		return err
	}
	p.admin = envoy.NewAdmin(s.ID(), func(ctx context.Context) (net.Conn, error) {
		return p.w.door.Dial(ctx, s.IP, adminAt.String())
	})
	ejections := als.Ejections{Proxy: s.ID(), Instant: p.w.clock.Instant}
	p.proxy, err = p.w.lab.Start(ctx, engine.Spec{
		Pod: s.ID(), Part: "proxy", Image: p.w.envoy, Entrypoint: []string{"/envoy"}, Cmd: args,
		User: fmt.Sprintf("%d:%d", intercept.ProxyUID, intercept.ProxyGID), Join: p.infra,
		Line: func(line []byte, stderr bool) {
			if !stderr {
				p.accessLog(line)
				return
			}
			if strings.HasPrefix(string(line), "{") {
				if c, ok, err := ejections.Change(line); err == nil && ok {
					p.w.rec.Change(c)
					return
				}
			}
			p.w.log.Debug(string(line), "pod", s.ID(), "part", "envoy")
		},
	})
	return err
}

// What settling asks Envoy for: see lab/topology/embedded.
const (
	entriesMade = "access_logs.grpc_access_log.logs_written"
	entriesLost = "access_logs.grpc_access_log.logs_dropped"
	ownRequest  = "http.admin.downstream_rq_active"
	settleStats = `^access_logs\.grpc_access_log\.logs_(written|dropped)$` +
		`|^http\..*\.downstream_rq_active$|^listener\..*` + noChain + `$`
	noChain        = `.no_filter_chain_match`
	settlePatience = 10 * time.Second
)

// settleEnvoy waits until every log entry that its Envoy has made has come.
func (p *pod) settleEnvoy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	const looks, pause = 10, 2 * time.Millisecond
	for range looks {
		stats, err := p.admin.Stats(ctx, settleStats)
		if err != nil {
			return fmt.Errorf("%w of %s: %w", topology.ErrEnvoy, p.Spec().ID(), err)
		}
		if n := stats[entriesLost]; n > 0 {
			return fmt.Errorf("%w of %s dropped %d entries of its access log: records are missing",
				topology.ErrEnvoy, p.Spec().ID(), n)
		}
		made := als.Entries{Requests: stats[entriesMade]}
		active := uint64(0)
		for name, n := range stats {
			switch {
			case strings.HasSuffix(name, noChain):
				made.Unmatched += n
			case name != entriesMade && name != ownRequest:
				active += n
			}
		}
		if err := p.w.reports.logs.Await(ctx, p.Spec().ID(), made); err != nil {
			return fmt.Errorf("%w of %s: its access log has not come: %w", topology.ErrEnvoy,
				p.Spec().ID(), err)
		}
		if active == 0 {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
