package stock_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/meshcore/identity"
	"github.com/mesh-lab/mesh-lab/meshcore/stock"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	testenvoy "github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// bed is a control server with two real Envoys: what the first sends to "mutual" the second takes,
// over mutual TLS with the secrets of an authority.
type bed struct {
	t         *testing.T
	dir       string
	server    *control.Server
	authority *identity.Authority
	snaps     map[string]*xds.Snapshot
	client    *http.Client
}

func newBed(t *testing.T) *bed {
	binary := testenvoy.Binary(t)
	a, err := identity.New(identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{
		t: t, dir: t.TempDir(), server: control.New(control.Options{Clock: clock.NewReal()}),
		authority: a,
	}
	ads := filepath.Join(b.dir, "ads")
	l, err := net.Listen("unix", ads)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(control.GRPCOptions()...)
	b.server.Register(g)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-served })
	for _, name := range []string{"client", "server"} {
		p, err := envoy.Start(t.Context(), envoy.Options{
			Binary: binary, Name: name, Dir: b.dir, Control: ads, Delta: name == "client",
			Node: &corev3.Node{Id: "sidecar~10.244.0.2~" + name + ".default~x", Cluster: name},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(name, p.LogTail(30))
			}
			_ = p.Stop(context.WithoutCancel(t.Context()))
		})
	}
	b.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(b.dir, "out"))
		}}}
	t.Cleanup(b.client.CloseIdleConnections)
	return b
}

// set lowers the snapshots, adds secrets and waits until both Envoys have ACKed them.
func (b *bed) set() control.Result {
	b.t.Helper()
	low, all := stock.NewLowering(), map[string]*xds.Snapshot{}
	for name, s := range b.snaps {
		own, err := b.authority.Secrets(identity.Workload{Namespace: "default", ServiceAccount: name})
		if err != nil {
			b.t.Fatal(err)
		}
		c := *s
		c.Secrets = maps.Clone(own)
		if all[name+".default"], err = low.Snapshot(&c); err != nil {
			b.t.Fatal(err)
		}
	}
	r, err := b.server.Set(b.t.Context(), all)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// get asks for a path, whose first segment is the cluster that the client's routes lead to.
func (b *bed) get(path string) (string, error) {
	res, err := b.client.Get("http://any" + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	return fmt.Sprint(res.StatusCode, " ", res.Header.Get("peer")), nil
}

// offers is a TLS server that notes the ALPN that clients offer, and takes none of them.
type offers struct {
	mu   sync.Mutex
	seen [][]string
}

func (o *offers) listen(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.seen = append(o.seen, h.SupportedProtos)
		return nil, errors.New("seen")
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = tls.Server(c, config).Handshake()
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).Port
}

func (o *offers) last() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen[len(o.seen)-1]
}

// TestEnvoy has two real Envoys complete Istio's mutual TLS with the secrets that they are given, in
// delta and in the state of the world: requests offer the ALPN of HTTP, what is not HTTP, or has TLS
// of another kind, what its own context says. New certificates are pushed alone, and no request is
// lost by it.
func TestEnvoy(t *testing.T) {
	b := newBed(t)
	var o offers
	b.snaps = map[string]*xds.Snapshot{
		"client": clientSnapshot(t, b.dir, o.listen(t)), "server": serverSnapshot(t, b.dir),
	}
	b.set()
	const peer = "200 spiffe://cluster.local/ns/default/sa/client"
	if got, err := b.get("/mutual/"); err != nil || got != peer {
		t.Errorf("got %q, %v, want %q", got, err, peer)
	}
	for path, want := range map[string][]string{
		"/watched/": {"istio-http/1.1", "istio"}, "/simple/": {"simple"},
		"/none/": {"http/1.1"}, // Envoy's own, of whoever says nothing
	} {
		if _, err := b.get(path); err != nil {
			t.Error(err)
		}
		if got := o.last(); !slices.Equal(got, want) {
			t.Errorf("%s: offers %q, want %q", path, got, want)
		}
	}
	tcp, err := net.Dial("unix", filepath.Join(b.dir, "tcp"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(tcp, "a line") //nolint:errcheck
	_, _ = io.ReadAll(tcp)    // until the handshake upstream has failed
	tcp.Close()
	if got := o.last(); !slices.Equal(got, []string{"istio"}) {
		t.Errorf("TCP offers %q", got)
	}
	rotate(b, peer)
}

// rotate issues certificates anew while requests on new connections go on.
func rotate(b *bed, want string) {
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			b.client.CloseIdleConnections()
			if got, err := b.get("/mutual/"); err != nil || got != want {
				done <- fmt.Errorf("meanwhile: %q, %v", got, err)
				return
			}
		}
	}()
	for range 10 {
		b.authority.Rotate()
		if r := b.set(); r.Stages != 1 || r.Changed != 2 {
			b.t.Errorf("%+v, want one stage for both proxies", r)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		b.t.Error(err)
	}
	for _, s := range b.server.Status() {
		for kind, st := range s.Types {
			if st.Sent != st.Acked || st.Nack != "" {
				b.t.Errorf("%s %s: %+v", s.Node, kind, st)
			}
		}
	}
}
