package als

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// crowd has clients send requests at the same time, each over one connection, one after another.
func crowd(t testing.TB, addr string, clients, each int, text func(n int) string) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			r := bufio.NewReader(c)
			for j := range each {
				_, _ = io.WriteString(c, text(i*each+j))
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
			}
		})
	}
	wg.Wait()
}

// settle waits for everything that Envoy has written.
func (e *envoy) settle(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := e.s.Await(ctx, self.Name, Entries{Requests: e.written(t)}); err != nil {
		t.Error(err)
	}
}

// TestOneID: the attempts and copies of requests that all have the same x-request-id are told apart.
func TestOneID(t *testing.T) {
	s := xds.NewSnapshot()
	c := newConfig("one ID", 0)
	c.action.RetryPolicy = retry(1, "5xx")
	c.action.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{
		{Cluster: c.name + "-mirror"}}
	c.cluster.CircuitBreakers = limits(100, 100, 100)
	c.cluster.CircuitBreakers.Thresholds[0].MaxRetries = wrapperspb.UInt32(100)
	var mu sync.Mutex
	seen := map[string]bool{}
	// The first attempt of request n fails with status 500 + n.
	b := newBackend(t, func(_ *backend, c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			mu.Lock()
			again := seen[req.URL.Path]
			seen[req.URL.Path] = true
			mu.Unlock()
			if again {
				_, _ = io.WriteString(c, ok)
			} else {
				_, _ = fmt.Fprintf(c, "HTTP/1.1 %s x\r\ncontent-length: 0\r\n\r\n", req.URL.Path[1:])
			}
		}
	})
	c.addresses, c.mirror = []string{b.Addr().String()}, []string{newBackend(t, answers(ok)).Addr().String()}
	c.add(s)
	e := startEnvoy(t, s)
	crowd(t, e.addr[c.name], 20, 5, func(n int) string {
		return fmt.Sprintf("GET /%d HTTP/1.1\r\nhost: a\r\nx-request-id: same\r\n\r\n", 500+n)
	})
	e.settle(t)
	records := e.await(t, c.name, 100)
	for _, r := range records {
		if r.ID != "same" || len(r.Attempts) != 2 || r.Path != fmt.Sprint("/", r.Attempts[0].Status) ||
			r.Attempts[1].Status != 200 || len(r.Mirrors) != 1 {
			t.Errorf("%+v", r)
		}
	}
	if len(records) != 100 || e.s.Dropped(self.Name) != 0 {
		t.Errorf("%d records, %d dropped", len(records), e.s.Dropped(self.Name))
	}
}

// TestEveryRecord counts: nothing is lost under load, and nothing comes late.
func TestEveryRecord(t *testing.T) {
	clients, each := 8, 2500
	if testing.Short() {
		each = 100
	}
	s := xds.NewSnapshot()
	c := newConfig("load", 0)
	simple(ok)(c, func(serve func(*backend, net.Conn)) string {
		return newBackend(t, serve).Addr().String()
	})
	c.add(s)
	e := startEnvoy(t, s)
	began := time.Now()
	crowd(t, e.addr[c.name], clients, each, func(n int) string {
		return fmt.Sprintf("GET /%d HTTP/1.1\r\nhost: a\r\n\r\n", n)
	})
	ended := time.Now()
	e.settle(t)
	n := clients * each
	t.Logf("%d requests in %v, all records %v later", n, ended.Sub(began), time.Since(ended))
	if got := e.s.Received(self.Name); got != uint64(2*n) || got != e.written(t) {
		t.Errorf("received %d entries, want %d, as Envoy wrote: %d", got, 2*n, e.written(t))
	}
	records := e.await(t, c.name, n)
	paths := map[string]bool{}
	for _, r := range records {
		paths[r.Path] = true
		if len(r.Attempts) != 1 || r.Attempts[0].Status != 200 || r.Status != 200 {
			n := e.s.node(self.Name)
			n.mu.Lock()
			t.Errorf("%+v\nleft over: %+v", r, n.tries)
			n.mu.Unlock()
		}
	}
	if len(records) != n || len(paths) != n || e.s.Dropped(self.Name) != 0 {
		t.Errorf("%d records of %d requests, %d entries dropped", len(records), len(paths),
			e.s.Dropped(self.Name))
	}
}
