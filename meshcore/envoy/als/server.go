// Package als is an access log service for real Envoys: what they report becomes the same records
// that our own data plane makes.
//
//	Envoy ── one stream ──▶ entries ─┬─ of requests ──▶ wait for their attempts ─▶ observe.Request
//	                                 ├─ of attempts ──▶ joined by connection, ID and time
//	                                 └─ of TCP connections ─────────────────────▶ observe.Request
//
// Instrument makes a listener report; a Server takes the reports. It judges nothing: what Envoy
// says is what the record says.
package als

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"sync"
	"time"

	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Clock tells when Envoy's wall times were, and calls when waiting has been enough. *clock.Real is
// one.
type Clock interface {
	clock.Clock
	Instant(time.Time) clock.Instant
}

// Sink takes the records. r is borrowed until Record returns; it is called from many goroutines.
type Sink interface {
	Record(r *observe.Request)
}

// Proxy says who reports.
type Proxy struct {
	Name     string // of the records: POD.NAMESPACE
	Workload observe.Workload
}

// Options is what a Server is made of. Clock, Sink and Node are needed.
type Options struct {
	Clock Clock
	Sink  Sink
	// Node says who the proxy with a node id is; what others report is refused.
	Node func(id string) (Proxy, bool)
	// Place turns a real address into the logical one. Nil: they are the same.
	Place func(netip.AddrPort) netip.AddrPort
	// Workload says who is at a logical upstream address, for those whose endpoint metadata does
	// not tell. Nil: nobody knows.
	Workload func(netip.AddrPort) observe.Workload
	// KeepHeaders names the request headers (lower-case) that records keep: those given to
	// Instrument, in the same order.
	KeepHeaders []string
	// Patience is how long the record of a request waits for a copy that it may have; by default
	// one second. It is five times as long for copies that must come, thirty times for attempts.
	Patience time.Duration
}

// Server is an access log service.
type Server struct {
	alsv3.UnimplementedAccessLogServiceServer
	opt Options

	mu    sync.Mutex
	nodes map[string]*node // by Proxy.Name
}

// New returns a server that nobody has reported to.
func New(opt Options) *Server {
	if opt.Patience == 0 {
		opt.Patience = time.Second
	}
	return &Server{opt: opt, nodes: map[string]*node{}}
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	alsv3.RegisterAccessLogServiceServer(r, s)
}

// StreamAccessLogs takes the entries of one proxy until it goes.
func (s *Server) StreamAccessLogs(stream alsv3.AccessLogService_StreamAccessLogsServer) error {
	var n *node
	m := new(alsv3.StreamAccessLogsMessage)
	for {
		if err := stream.RecvMsg(m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if id := m.GetIdentifier(); id != nil {
			name := id.GetNode().GetId()
			p, ok := s.opt.Node(name)
			if !ok {
				return status.Errorf(codes.NotFound, "node %q is not of this mesh", name)
			}
			n = s.node(p.Name)
			n.introduce(p)
		}
		if n == nil {
			return status.Error(codes.InvalidArgument, "the first message has no identifier")
		}
		n.take(m)
	}
}

// node returns what is known of a proxy.
func (s *Server) node(name string) *node {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[name]
	if n == nil {
		n = newNode(&s.opt)
		s.nodes[name] = n
	}
	return n
}

// Entries counts what a proxy has reported, or will, by the counters that Envoy has of it. Of the
// entries of connections there is no counter (measured with 1.40), but that of connections which no
// filter chain took.
type Entries struct {
	Requests  uint64 // of requests, attempts and copies: access_logs.grpc_access_log.logs_written
	Unmatched uint64 // of all listeners: no_filter_chain_match
}

func (e Entries) cover(want Entries) bool {
	return e.Requests >= want.Requests && e.Unmatched >= want.Unmatched
}

// Received returns how many log entries a proxy has reported, of all kinds.
func (s *Server) Received(node string) uint64 { return s.node(node).count() }

// Await returns when a proxy has reported these log entries and their records have been given away,
// or when it is forgotten.
func (s *Server) Await(ctx context.Context, node string, made Entries) error {
	return s.node(node).await(ctx, made)
}

// Dropped returns how many entries of a proxy came to nothing: attempts and copies of requests
// that were never reported.
func (s *Server) Dropped(node string) uint64 { return s.node(node).lost() }

// Forget drops what is known of a proxy that has gone; requests that wait for their attempts are
// recorded without.
func (s *Server) Forget(node string) {
	s.mu.Lock()
	n := s.nodes[node]
	delete(s.nodes, node)
	s.mu.Unlock()
	if n != nil {
		n.flush()
	}
}
