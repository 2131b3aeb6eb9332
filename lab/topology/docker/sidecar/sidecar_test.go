package sidecar_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/sidecar"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/observe/sent"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// listen opens a port of its own on loopback.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// snapshot has one listener that answers 200 itself.
func snapshot(t *testing.T, port uint32) *xds.Snapshot {
	t.Helper()
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: "test",
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{
			RouteConfig: &routev3.RouteConfiguration{
				Name: "r", VirtualHosts: []*routev3.VirtualHost{{
					Name: "v", Domains: []string{"*"}, Routes: []*routev3.Route{{
						Name: "direct",
						Match: &routev3.RouteMatch{
							PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
						Action: &routev3.Route_DirectResponse{
							DirectResponse: &routev3.DirectResponseAction{Status: 200}},
					}},
				}},
			},
		},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{
				TypedConfig: packed(t, &routerv3.Router{})},
		}},
	}
	s := xds.NewSnapshot()
	s.Listeners["l"] = &listenerv3.Listener{
		Name: "l",
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{
				Address:       "127.0.0.1",
				PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
			}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(t, manager)},
		}}}},
	}
	return s
}

// TestLife shows a sidecar's whole life: it is configured, serves, its records are there once they
// are settled, and the last ones are sent at its end.
func TestLife(t *testing.T) {
	ads, records, free := listen(t), listen(t), listen(t)
	port := netip.MustParseAddrPort(free.Addr().String()).Port()
	free.Close()
	server := control.New(control.Options{})
	g := grpc.NewServer(control.GRPCOptions()...)
	server.Register(g)
	go g.Serve(ads) //nolint:errcheck // ends with Stop
	defer g.Stop()

	rec := observe.NewRecorder()
	receiver := sent.NewReceiver(sent.ReceiverOptions{Sink: rec, Token: "t"})
	peers := make(chan *sent.Peer, 1)
	go func() {
		c, err := records.Accept()
		if err != nil {
			return
		}
		p, err := receiver.Serve(c)
		if err != nil {
			t.Error(err)
		}
		peers <- p
	}()

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run, end := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- sidecar.Main(run, sidecar.Config{
			Node:    "sidecar~10.244.0.2~a.default~default.svc.cluster.local",
			Control: ads.Addr().String(), Records: records.Addr().String(), Token: "t",
			IP:       netip.MustParseAddr("10.244.0.2"),
			Workload: observe.Workload{Pod: "a", Workload: "a", Namespace: "default", Version: "v1"},
			Seed:     1, KeepHeaders: []string{"x-kept"},
		}, slog.New(slog.DiscardHandler))
	}()
	_, err := server.Set(ctx, map[string]*xds.Snapshot{"a.default": snapshot(t, uint32(port))})
	if err != nil {
		t.Fatal(err)
	}
	peer := <-peers
	ask := func() {
		t.Helper()
		r, _ := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
		r.Header.Set("X-Kept", "yes")
		r.Header.Set("X-Other", "no")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body) //nolint:errcheck // it is empty
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	const n = 50
	for range n {
		ask()
	}
	if err := peer.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	h := rec.Snapshot()
	if len(h.Requests) != n {
		t.Fatalf("%d records after %d requests", len(h.Requests), n)
	}
	r := h.Requests[0]
	if r.Proxy != "a.default" || r.Workload != "a" || r.Version != "v1" || r.Route != "direct" ||
		r.Status != 200 || len(r.Headers) != 1 || r.Headers["x-kept"] != "yes" {
		t.Errorf("record %+v", r)
	}
	// A connection that no filter chain takes is recorded, too.
	nobodys := snapshot(t, uint32(port))
	nobodys.Listeners["l"].FilterChains[0].FilterChainMatch = &listenerv3.FilterChainMatch{
		DestinationPort: wrapperspb.UInt32(1)}
	if _, err := server.Set(ctx, map[string]*xds.Snapshot{"a.default": nobodys}); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, c) //nolint:errcheck // it is closed
	c.Close()
	http.DefaultClient.CloseIdleConnections()
	end()
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-peer.Done()
	h = rec.Snapshot()
	if len(h.Requests) != n+1 {
		t.Fatalf("%d records at its end, want %d", len(h.Requests), n+1)
	}
	if r := h.Requests[n]; r.Flags != "NR" || r.Proxy != "a.default" {
		t.Errorf("record of a connection that no filter chain takes: %+v", r)
	}
}

// TestRefused: a sidecar whose records nobody takes says so, and ends.
func TestRefused(t *testing.T) {
	records := listen(t)
	receiver := sent.NewReceiver(sent.ReceiverOptions{Sink: observe.NewRecorder(), Token: "right"})
	go func() {
		if c, err := records.Accept(); err == nil {
			receiver.Serve(c) //nolint:errcheck // refuses it
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := sidecar.Main(ctx, sidecar.Config{
		Node:    "sidecar~10.244.0.2~a.default~default.svc.cluster.local",
		Control: "127.0.0.1:1", Records: records.Addr().String(), Token: "wrong",
	}, slog.New(slog.DiscardHandler))
	if err == nil || ctx.Err() != nil {
		t.Errorf("%v", err)
	}
}
