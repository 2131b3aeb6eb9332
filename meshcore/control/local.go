package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Sizes of the gRPC transport. Windows are limits, not buffers: an idle stream holds none of it.
const (
	streamWindow = 1 << 20
	connWindow   = 16 << 20
	maxMessage   = 256 << 20 // configuration of a whole mesh comes in one message
	pipeBuffer   = 256 << 10
)

// GRPCOptions returns the options for a gRPC server that serves a Server.
func GRPCOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connWindow),
		grpc.SharedWriteBuffer(true),
	}
}

// LocalServer is a Server that is served in memory, over one connection that any number of clients
// share.
type LocalServer struct {
	Server *Server
	Conn   *grpc.ClientConn // for subscribe.Client

	mu       sync.Mutex
	open     []func() (net.Listener, error) // sockets beside the one in memory
	listener *bufconn.Listener              // nil while stopped
	grpc     *grpc.Server
	served   *sync.WaitGroup
}

// Local starts a server in memory. Close ends it.
func Local(c clock.Clock, sink Sink) *LocalServer {
	l := &LocalServer{Server: New(Options{Clock: c, Sink: sink})}
	conn, err := grpc.NewClient("passthrough:///control",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(l.dial),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithSharedWriteBuffer(true),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{
			BaseDelay: 10 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second,
		}}),
	)
	if err != nil {
		panic("control: local connection: " + err.Error()) // the target above is well-formed
	}
	l.Conn = conn
	l.serve(nil)
	return l
}

// Listen serves on a socket, too, whenever the server runs: for proxies that are processes of their
// own. open opens it again after each Stop.
func (l *LocalServer) Listen(open func() (net.Listener, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, open)
	if l.listener == nil {
		return nil
	}
	on, err := open()
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	l.grow(on)
	return nil
}

var errStopped = errors.New("control plane is stopped")

func (l *LocalServer) dial(ctx context.Context, _ string) (net.Conn, error) {
	l.mu.Lock()
	listener := l.listener
	l.mu.Unlock()
	if listener == nil {
		return nil, errStopped
	}
	return listener.DialContext(ctx)
}

// Start serves again after Stop; clients find back by themselves.
func (l *LocalServer) Start() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		return nil
	}
	var sockets []net.Listener
	for _, open := range l.open {
		on, err := open()
		if err != nil {
			for _, s := range sockets {
				s.Close()
			}
			return fmt.Errorf("control: %w", err)
		}
		sockets = append(sockets, on)
	}
	l.serve(sockets)
	l.Conn.ResetConnectBackoff()
	return nil
}

// serve begins to serve in memory and on sockets.
func (l *LocalServer) serve(sockets []net.Listener) {
	l.listener = bufconn.Listen(pipeBuffer)
	l.grpc = grpc.NewServer(GRPCOptions()...)
	l.Server.Register(l.grpc)
	l.served = &sync.WaitGroup{}
	for _, on := range append(sockets, l.listener) {
		l.grow(on)
	}
}

// grow serves on one more listener.
func (l *LocalServer) grow(on net.Listener) {
	g := l.grpc
	l.served.Go(func() { _ = g.Serve(on) }) // ends with Stop, and only then
}

// Stop ends all streams and refuses new ones: a control plane that is down. Proxies keep what they
// have.
func (l *LocalServer) Stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener == nil {
		return
	}
	l.grpc.Stop()
	l.served.Wait()
	l.listener = nil
}

// Running says whether it serves.
func (l *LocalServer) Running() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listener != nil
}

// Close ends it and releases the connection.
func (l *LocalServer) Close() error {
	l.Stop()
	return l.Conn.Close()
}
