package probe

import (
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// TestHTTP2Refused: a request for a cluster that speaks HTTP/2 fails, and says why; nothing is sent.
func TestHTTP2Refused(t *testing.T) {
	p := probe{name: "http2"}
	u := upstreams(t, []probe{p})[0]
	s := xds.NewSnapshot()
	at := listenerAddr(0)
	s.Listeners["case-0"] = listener("case-0", socket(at.Addr().String(), uint32(at.Port())), &p)
	s.Clusters["case-0"] = http2(cluster("case-0"))
	s.Endpoints["case-0"] = endpoints("case-0", u.port())
	c, w := clock.NewReal(), &lastRecord{}
	x := proxy.New(proxy.Options{
		Engine:  engine.New(engine.Options{Node: "probe", Removed: proxy.Removed, Wall: c.Wall}),
		Network: world{}, Clock: c, Seed: 1, Sink: w,
	})
	t.Cleanup(func() { x.Close() })
	if err := x.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	o := &client{addr: x.Addr(engine.Address{AddrPort: at}).String(), marks: u.marks, served: u.connection}
	if err := o.play([]step{send(askGet), recv}); err != nil {
		t.Fatal(err)
	}
	x.Close()
	var seen strings.Builder
	u.write(&seen)
	details := "upstream_reset_before_response_started{local_connection_failure|HTTP/2_is_not_carried_out_yet}"
	if !strings.Contains(o.out.String(), "503 Service Unavailable") || w.details != details ||
		seen.String() != "upstream: nothing\n" {
		t.Errorf("%s\n%s\n%s", o.out.String(), w.details, seen.String())
	}
}

// lastRecord keeps the details of the last record.
type lastRecord struct{ details string }

// Record takes a record.
func (l *lastRecord) Record(r *observe.Request) { l.details = r.Details }
