// Package control serves snapshots to proxies over ADS, in the state of the world and in delta, and
// keeps the books: what each proxy was sent of each kind, what it ACKed, why it refused.
//
//	Set ─▶ 1 clusters, endpoints are added ─▶ all ACKed
//	    ─▶ 2 listeners and routes move ─▶ all ACKed
//	    ─▶ 3 what is not needed goes ─▶ all ACKed
//
//	proxy ◀── CDS, EDS, SDS, LDS, RDS ── stream (one response of each kind in flight) ◀── node
//
// It generates nothing and keeps no configuration of its own. Nothing in it polls: what waits is
// woken by the answer that it waits for.
package control

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Options configure a Server.
type Options struct {
	Clock clock.Clock // nil: a real one
	Sink  Sink        // may be nil
	// Key names the node that a proxy is; nil: POD.NAMESPACE of its node id. Its error refuses the
	// stream.
	Key func(*corev3.Node) (string, error)
	// Connected is told who has opened a stream, and whether it comes back with resources that it
	// has; Disconnected, that it has ended. Like the Sink, they are called with the server's lock
	// held; they lead to a Set where a node is a new one.
	Connected    func(key string, n *corev3.Node, back bool)
	Disconnected func(key string)
}

// nodeKey is the Key of proxies whose ids are as Istio writes them.
func nodeKey(n *corev3.Node) (string, error) {
	id, err := xds.ParseNodeID(n.GetId())
	return id.Key(), err
}

// Sink is given a record of each response once it has been answered, or its stream has ended
// without an answer. It is called with the server's lock held: it must not call the server.
type Sink interface{ Push(observe.Push) }

// Server is an ADS server. Its methods are safe for concurrent use.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	options Options

	setting chan struct{} // holds a token while a Set runs
	cache   cache         // the running Set's

	mu       sync.Mutex
	nodes    map[string]*node
	waiting  *wait
	troubles []*Troubled
}

// New returns a server that has nothing to give yet: proxies that connect wait for Set.
func New(o Options) *Server {
	if o.Clock == nil {
		o.Clock = clock.NewReal()
	}
	if o.Key == nil {
		o.Key = nodeKey
	}
	return &Server{options: o, setting: make(chan struct{}, 1), nodes: map[string]*node{}}
}

// Register adds the server to a gRPC server made with GRPCOptions.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, s)
}

// NackError is a proxy's refusal of a response. Message names resources and field paths as the
// proxy wrote them.
type NackError struct{ Node, Type, Version, Message string }

// Error names the proxy, the resource type and the reason.
func (e *NackError) Error() string {
	return fmt.Sprintf("proxy %s refused %s: %s", e.Node, e.Type, e.Message)
}

// NodeStatus is what one proxy was sent and what it answered.
type NodeStatus struct {
	Node      string // POD.NAMESPACE
	Connected bool
	Types     map[string]TypeStatus // CDS, EDS, LDS, RDS, SDS: the kinds that it asked for
}

// TypeStatus is the state of one kind at one proxy.
type TypeStatus struct {
	Sent, Acked string // versions; empty before the first
	Nack        string // the last answer's reason; empty when it was an ACK
}

// Status returns the books, sorted by node.
func (s *Server) Status() []NodeStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]NodeStatus, 0, len(s.nodes))
	for _, key := range slices.Sorted(maps.Keys(s.nodes)) {
		n := s.nodes[key]
		ns := NodeStatus{Node: key, Connected: n.stream != nil, Types: map[string]TypeStatus{}}
		for k := range kinds {
			if n.stream != nil && n.stream.subs[k].active {
				sub := &n.stream.subs[k]
				ns.Types[k.String()] = TypeStatus{sub.sent, sub.acked, sub.nack}
			}
		}
		out = append(out, ns)
	}
	return out
}

// Streams returns how many proxies are connected.
func (s *Server) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, n := range s.nodes {
		if n.stream != nil {
			count++
		}
	}
	return count
}

// errReplaced ends a stream whose node has opened a newer one.
var errReplaced = status.Error(codes.Aborted, "a newer stream of this node took over")

// run moves a stream: recv reads and handles one request, send writes one response.
func (s *Server) run(st *stream, recv func() error, send func(*reply) error) error {
	defer s.disconnect(st)
	received := make(chan error, 1)
	go func() {
		for {
			if err := recv(); err != nil {
				received <- err
				return
			}
		}
	}()
	for {
		select {
		case err := <-received:
			return err
		case <-st.gone:
			return errReplaced
		case <-st.wake:
			for r := s.next(st); r != nil; r = s.next(st) {
				if err := send(r); err != nil {
					return err
				}
			}
		}
	}
}

func newStream(delta bool) *stream {
	return &stream{delta: delta, wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

func (s *Server) next(st *stream) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.options.Clock.Now()
	if len(s.troubles) == 0 {
		return st.next(now, nil)
	}
	return st.next(now, func(k kind) bool { return s.holds(st, k, now) })
}

// connect binds a stream to the node that its first request names; back says that the proxy has
// resources already. Caller must hold mu.
func (s *Server) connect(st *stream, id *corev3.Node, back bool) error {
	if st.node != nil {
		return nil
	}
	key, err := s.options.Key(id)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	n := s.node(key)
	if n.stream != nil {
		close(n.stream.gone)
		s.drop(n.stream)
		s.nodes[n.key] = n // drop forgets a node that no Set has named yet
	}
	st.node, n.stream = n, st
	if s.options.Connected != nil {
		s.options.Connected(key, id, back)
	}
	return nil
}

// node returns the node of a key. Caller must hold mu.
func (s *Server) node(key string) *node {
	n := s.nodes[key]
	if n == nil {
		n = &node{key: key}
		s.nodes[key] = n
	}
	return n
}

// disconnect ends a stream.
func (s *Server) disconnect(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.node != nil && st.node.stream == st {
		s.drop(st)
	}
}

// drop takes a stream off its node. Caller must hold mu.
func (s *Server) drop(st *stream) {
	n := st.node
	n.stream = nil
	for k := range kinds {
		if r := st.subs[k].inFlight; r != nil {
			s.record(n, r, observe.Push{})
		}
	}
	if !n.present {
		delete(s.nodes, n.key)
	}
	s.progress(n)
	if s.options.Disconnected != nil {
		s.options.Disconnected(n.key)
	}
}

// record hands out the record of a response. Caller must hold mu.
func (s *Server) record(n *node, r *reply, p observe.Push) {
	if s.options.Sink == nil {
		return
	}
	p.At, p.Proxy, p.Type, p.Version = r.at, n.key, r.kind.String(), r.version
	s.options.Sink.Push(p)
}

// answer takes an ACK or a NACK of the response in flight. Caller must hold mu.
func (s *Server) answer(st *stream, k kind, reason string) {
	r := st.answered(k, reason)
	s.record(st.node, r, observe.Push{Acked: s.options.Clock.Now(), Nack: reason})
}

// handled ends the handling of a request. Caller must hold mu.
func (s *Server) handled(st *stream) {
	st.signal()
	s.progress(st.node)
}
