package engine

import (
	"net/netip"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
	"github.com/mesh-lab/mesh-lab/testdata/truth"
)

// fastPath is one request as a driver sends it, with everything reused.
type fastPath struct {
	e    *Engine
	ch   *Chain
	ci   *ConnInfo
	x    Exchange
	req  wire.Head
	resp wire.Head
	n    uint64
}

func newFastPath(t testing.TB) *fastPath {
	var c truth.Case
	for _, c = range truth.Cases(t, "chain") {
		if c.Name == "canary" {
			break
		}
	}
	e := New(Options{Node: "a.b"})
	var node string
	for _, node = range c.Nodes {
		if node == "preference-v1-0.trail" {
			break
		}
	}
	if err := e.Update(0, recorded(t, c, node)); err != nil {
		t.Fatal(err)
	}
	f := &fastPath{e: e, ci: &ConnInfo{Local: netip.MustParseAddrPort("10.96.0.12:8080"),
		Remote: netip.MustParseAddrPort("10.244.0.3:40000"), Transport: "raw_buffer",
		ALPN: []string{"http/1.1"}}}
	f.ch = e.Listener(bindOf("0.0.0.0:15001"), f.ci.Local).Chain(f.ci)
	return f
}

func field(h *wire.Head, name, value string) {
	h.Fields = append(h.Fields, wire.Field{Name: []byte(name), Value: []byte(value)})
}

func (f *fastPath) request(t testing.TB) {
	h := &f.req
	if f.n == 0 {
		field(h, "user-agent", "fortio.org/fortio")
		field(h, "accept", "*/*")
		field(h, "x-a", "b")
		field(&f.resp, "content-type", "text/plain")
		field(&f.resp, "content-length", "32")
	}
	f.n++
	fields := h.Fields[:3]
	h.Reset()
	h.Fields = fields
	h.Method, h.Target = bytesOf("GET"), bytesOf("/")
	h.Authority, h.Minor, h.NoBody = bytesOf("recommendation:8080"), 1, true
	now := clock.Instant(f.n * 1000)
	d := f.e.Start(&f.x, f.ch, f.ci, h, now, clock.Mix(f.n))
	if d.Kind != Attempt {
		t.Fatalf("%+v: %+v", d, f.x.Record)
	}
	f.x.Handle(Event{Kind: Connected, Reused: true}, now)
	fields = f.resp.Fields[:2]
	f.resp.Reset()
	f.resp.Fields, f.resp.Status = fields, 200
	if d = f.x.Handle(Event{Kind: ResponseHead, Head: &f.resp}, now+500); d.Kind != Forward {
		t.Fatalf("%+v", d)
	}
	f.x.Handle(Event{Kind: Sent}, now+600)
}

func TestFastPathDoesNotAllocate(t *testing.T) {
	f := newFastPath(t)
	for range 100 {
		f.request(t)
	}
	if n := testing.AllocsPerRun(2000, func() { f.request(t) }); n > 0 {
		t.Errorf("%v allocations per request", n)
	}
}

func BenchmarkExchange(b *testing.B) {
	f := newFastPath(b)
	b.ReportAllocs()
	for b.Loop() {
		f.request(b)
	}
}

// BenchmarkUpdate is one sidecar's share of a push that changes one route configuration.
func BenchmarkUpdate(b *testing.B) {
	var c truth.Case
	for _, c = range truth.Cases(b, "chain") {
		if c.Name == "canary" {
			break
		}
	}
	s := recorded(b, c, c.Nodes[0])
	e := New(Options{})
	if err := e.Update(0, s); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		next := *s
		next.Routes = map[string]*routev3.RouteConfiguration{}
		for n, r := range s.Routes {
			next.Routes[n] = proto.Clone(r).(*routev3.RouteConfiguration)
			next.Routes[n].MaxDirectResponseBodySizeBytes.Value++
		}
		s = &next
		if err := e.Update(0, s); err != nil {
			b.Fatal(err)
		}
	}
}
