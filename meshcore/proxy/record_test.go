package proxy

import (
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// What records say, as the real Envoy's do (meshcore/envoy/als has both beside each other).

// TestRecordOfTunnel: to the record, an upstream that ends a tunnel has broken off.
func TestRecordOfTunnel(t *testing.T) {
	both(t, settings{}, func(t *testing.T, b *bed) {
		c := b.dial()
		c.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		up := b.accept()
		up.head()
		up.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n" +
			"Upgrade: websocket\r\n\r\nbye")
		up.Conn.Close()
		c.head()
		c.want("bye")
		c.eof()
		r := b.record()
		const details = "upstream_reset_after_response_started{connection_termination}"
		if r.Status != 101 || r.Flags != "UC" || r.Details != details || r.Attempts[0].Flags != "UC" ||
			r.BytesSent != 3 {
			t.Errorf("%+v", r)
		}
	})
}

// TestRecordOfMalformed: a head that was not understood leaves no trace but where it came from; a
// body that is not, no doubt of what was asked for.
func TestRecordOfMalformed(t *testing.T) {
	b := newBed(t, settings{})
	for text, want := range map[string]observe.Request{
		"GET /a HTTP/1.1\r\nhost a\r\n\r\n": {Status: 400, Flags: "DPE"},
		"GET /a HTTP/1.0\r\nhost: a\r\nx-request-id: i\r\n\r\n": {Status: 426, Flags: "DPE",
			Details: "low_version"},
		"POST /a HTTP/1.1\r\nhost: a\r\nx-request-id: i\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n": {
			Status: 400, Flags: "DPE", ID: "i", Method: "POST", Path: "/a", Authority: "a",
			Cluster: "up", Upstream: bedUp.String()},
	} {
		c := b.dial()
		c.send(text)
		c.answer("GET")
		r := b.record()
		if want.Details != "" && r.Details != want.Details || r.Details == "" ||
			r.Remote != c.Conn.LocalAddr().String() || r.Protocol != "HTTP/1.1" {
			t.Errorf("%q: %+v", text, r)
		}
		got := observe.Request{Status: r.Status, Flags: r.Flags, Details: want.Details, ID: r.ID,
			Method: r.Method, Path: r.Path, Authority: r.Authority, Cluster: r.Cluster,
			Upstream: r.Upstream}
		if got.ID != want.ID || got.Status != want.Status || got.Flags != want.Flags ||
			got.Method != want.Method || got.Path != want.Path || got.Cluster != want.Cluster ||
			got.Authority != want.Authority || got.Upstream != want.Upstream ||
			len(r.Attempts) != min(1, len(want.Cluster)) {
			t.Errorf("%q: %+v", text, r)
		}
	}
}

// TestRecordOfOverflow: who is not even let into the queue was sent to no host; who finds a
// connection but may not use it, was.
func TestRecordOfOverflow(t *testing.T) {
	for upstream, l := range map[string]*limits{
		"":             {connections: 1, pending: 0, requests: 1},
		bedUp.String(): {connections: 1, pending: 1, requests: 0},
	} {
		b := newBed(t, settings{breaker: l})
		c := b.dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.answer("GET")
		r := b.record()
		if r.Flags != "UO" || r.Cluster != "up" || r.Upstream != upstream ||
			len(r.Attempts) != 1 || r.Attempts[0].Upstream != upstream ||
			r.Attempts[0].Cluster != "up" {
			t.Errorf("%+v", r)
		}
	}
}

// TestRecordOfNoChain: a connection that no filter chain takes is recorded by its listener.
func TestRecordOfNoChain(t *testing.T) {
	b := newBed(t, settings{})
	s := snapshot(settings{})
	s.Listeners["l"].FilterChains[0].FilterChainMatch = &listenerv3.FilterChainMatch{
		DestinationPort: wrapperspb.UInt32(1)}
	if err := b.p.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	c := b.dial()
	c.eof()
	r := b.record()
	if r.Flags != "NR" || r.Protocol != "TCP" || r.Listener != "l" || r.Status != 0 || r.ID != "" ||
		r.Local != bedBind.String() || r.Remote != c.Conn.LocalAddr().String() ||
		r.Reporter != observe.Source {
		t.Errorf("%+v", r)
	}
}

// TestResetOfNoChain: what listener filters have looked at stays unread, so that the client is
// reset.
func TestResetOfNoChain(t *testing.T) {
	b := newBed(t, settings{})
	s := snapshot(settings{})
	s.Listeners["l"].FilterChains[0].FilterChainMatch = &listenerv3.FilterChainMatch{
		TransportProtocol: "tls"}
	s.Listeners["l"].ListenerFilters = append(s.Listeners["l"].ListenerFilters,
		&listenerv3.ListenerFilter{Name: "tls", ConfigType: &listenerv3.ListenerFilter_TypedConfig{
			TypedConfig: typed(&tlsinspectorv3.TlsInspector{})}})
	if err := b.p.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	c := b.dial()
	c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, err := c.Read(make([]byte, 1)); err == nil || !isReset(err) {
		t.Errorf("got %v, want a reset", err)
	}
	if r := b.record(); r.Flags != "NR" {
		t.Errorf("%+v", r)
	}
}

// TestRecordOfReset: the reset of a TCP connection has a flag if it was the upstream's.
func TestRecordOfReset(t *testing.T) {
	for _, byUpstream := range []bool{false, true} {
		both(t, settings{tcp: true}, func(t *testing.T, b *bed) {
			c := b.dial()
			c.send("hello")
			up := b.accept()
			up.want("hello")
			resets, want := c, ""
			if byUpstream {
				resets, want = up, "UR"
			}
			if err := below(resets).SetLinger(0); err != nil {
				t.Fatal(err)
			}
			below(resets).Close()
			if r := b.record(); r.Flags != want {
				t.Errorf("flags %q, want %q", r.Flags, want)
			}
		})
	}
}

// TestRecordOfNoMirror: a copy that finds no host is not sent, and not recorded.
func TestRecordOfNoMirror(t *testing.T) {
	b := newBed(t, settings{mirror: true})
	s := snapshot(settings{mirror: true})
	s.Endpoints["mirror"].Endpoints = nil
	if err := b.p.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	b.echo(b.up)
	c := b.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c.status(200, "GET / 0 ")
	if r := b.record(); len(r.Mirrors) != 0 {
		t.Errorf("%+v", r.Mirrors)
	}
}
