package probe

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/proxy"
)

// world is the network of our proxy: every listener gets a port of its own, upstreams are where they say.
type world struct{}

func (world) Listen(ctx context.Context, _ engine.Address) (net.Listener, bool, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	return l, false, err
}

func (world) Dial(ctx context.Context, _ netip.Addr, to engine.Address) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
}

func (world) Record(*observe.Request) {}

// startProxy runs our proxy with what Envoy was given, and returns where each case's listener is.
func startProxy(t *testing.T, probes []probe, ups []*upstream) func(i int) string {
	t.Helper()
	c := clock.NewReal()
	p := proxy.New(proxy.Options{
		Engine:  engine.New(engine.Options{Node: "probe", Removed: proxy.Removed, Wall: c.Wall}),
		Network: world{}, Clock: c, Seed: 1, Sink: world{},
	})
	t.Cleanup(func() { p.Close() })
	if err := p.Update(t.Context(), snapshot(probes, ups)); err != nil {
		t.Fatal(err)
	}
	return func(i int) string { return p.Addr(engine.Address{AddrPort: listenerAddr(i)}).String() }
}

// TestProxy has our proxy show what Envoy shows, or what is listed as a difference.
func TestProxy(t *testing.T) {
	probes, names := selected()
	ups := upstreams(t, probes)
	got := play(t, probes, ups, startProxy(t, probes, ups))
	if *only != "" {
		for i, n := range names {
			t.Logf("%s\n%s", n, got[i])
		}
	}
	want := wanted(t)
	if *update && *only == "" {
		text := map[string]string{}
		for i, n := range names {
			if reasonFor(n) != "" {
				text[n] = got[i]
			}
		}
		writeGolden(t, "ours", differing(), text)
	}
	ours := readGolden(t, "ours").text
	for i, n := range names {
		reason := reasonFor(n)
		switch {
		case reason != "" && got[i] == want[n]:
			t.Errorf("%s: does what Envoy does; strike it from the differences", n)
		case got[i] != cmp.Or(ours[n], want[n]):
			t.Errorf("%s: (-wanted +ours)\n%s", n, gocmp.Diff(
				strings.Split(cmp.Or(ours[n], want[n]), "\n"), strings.Split(got[i], "\n")))
		}
	}
}
