package plane_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/plane"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/subscribe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// proxyOf is a data plane that takes everything but what is called "bad".
type proxyOf struct{ got chan *xds.Snapshot }

func (p proxyOf) Check(m proto.Message) error {
	if xds.Name(m) == "bad" {
		return errors.New("clusters are not to be bad")
	}
	return nil
}

func (p proxyOf) Update(s *xds.Snapshot) error {
	select {
	case p.got <- s:
	default:
	}
	return nil
}

// sink keeps what it is told.
type sink struct {
	mu  sync.Mutex
	all []observe.Push
	had chan struct{}
}

func (s *sink) Push(p observe.Push) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, p)
	select {
	case s.had <- struct{}{}:
	default:
	}
}

// listen opens a socket on loopback.
func listen(t *testing.T, at string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serve starts a Server at two addresses; stop kills it.
func serve(t *testing.T, ads, lab net.Listener) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		plane.New("secret").Serve(ctx, ads, lab) //nolint:errcheck // it is stopped
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func snapshot(clusters ...string) map[string]*xds.Snapshot {
	s := xds.NewSnapshot()
	for _, name := range clusters {
		s.Clusters[name] = &clusterv3.Cluster{Name: name}
	}
	return map[string]*xds.Snapshot{"a.default": s}
}

// TestRemote: what the lab tells a control plane of its own process reaches proxies, refusals and
// pushes come back, and one that was started again knows nothing until it is told.
func TestRemote(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ads, lab := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	stop := serve(t, ads, lab)
	s := &sink{had: make(chan struct{}, 1)}
	c := plane.NewClient("secret", clock.NewReal(), s, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp4", lab.Addr().String())
	})
	t.Cleanup(func() { c.Close() })
	if err := c.Join(ctx); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(ads.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := proxyOf{make(chan *xds.Snapshot, 10)}
	sub := &subscribe.Client{Node: &corev3.Node{Id: "sidecar~10.244.0.2~a.default~default.svc.cluster.local"},
		Pool: &subscribe.Pool{}, Conn: conn, Delta: true, Target: p}
	go sub.Run(ctx) //nolint:errcheck // ends with the test
	res, err := c.Set(ctx, snapshot("one"), nil)
	if err != nil || res.Nodes != 1 || res.Changed != 1 {
		t.Fatalf("set: %+v, %v", res, err)
	}
	for got := range p.got {
		if got.Clusters["one"] != nil {
			break
		}
	}
	<-s.had // a push, with an instant of the lab's clock
	s.mu.Lock()
	if at := time.Duration(s.all[0].At); at < -time.Second || at > time.Minute {
		t.Errorf("pushed at %v", at)
	}
	s.mu.Unlock()
	var nack *control.NackError
	if _, err := c.Set(ctx, snapshot("bad"), nil); !errors.As(err, &nack) || nack.Node != "a.default" {
		t.Errorf("a refusal is told as %v", err)
	}
	if st := c.Status(); len(st) != 1 || !st[0].Connected || st[0].Types["CDS"].Nack == "" {
		t.Errorf("status %+v", st)
	}
	again(ctx, t, c, stop, ads.Addr().String(), lab.Addr().String())
}

// again ends the control plane, and starts another in its place.
func again(ctx context.Context, t *testing.T, c *plane.Client, stop func(), ads, lab string) {
	t.Helper()
	stop()
	if _, err := c.Set(ctx, snapshot("two"), nil); err == nil {
		t.Error("one that is gone was told something")
	}
	if st := c.Status(); len(st) != 1 || st[0].Connected {
		t.Errorf("status of one that is gone: %+v", st)
	}
	serve(t, listen(t, ads), listen(t, lab))
	if err := c.Join(ctx); err != nil {
		t.Fatal(err)
	}
	if res, err := c.Set(ctx, snapshot("two"), nil); err != nil || res.Changed != 1 {
		t.Errorf("after a restart: %+v, %v", res, err)
	}
}
