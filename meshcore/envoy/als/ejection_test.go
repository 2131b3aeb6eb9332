package als

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

func TestChange(t *testing.T) {
	j := Ejections{Proxy: "a-1.default",
		Instant: func(t time.Time) clock.Instant { return clock.Instant(t.Unix()) },
		Place: func(a netip.AddrPort) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr("10.244.0.2"), a.Port())
		}}
	const common = `"type":"CONSECUTIVE_5XX","cluster_name":"b","upstream_url":"127.64.0.2:80",` +
		`"timestamp":"1970-01-01T00:00:07.5Z","secs_since_last_action":"3","new_in_a_later_envoy":1,`
	for _, c := range []struct {
		line string
		want observe.Change
		ok   bool
		err  string
	}{
		{line: `{` + common + `"action":"EJECT","num_ejections":1,"enforced":true}`, ok: true,
			want: observe.Change{At: 7, Kind: "eject", What: "b 10.244.0.2:80", By: "a-1.default"}},
		{line: `{` + common + `"action":"UNEJECT","num_ejections":1,"enforced":false}`, ok: true,
			want: observe.Change{At: 7, Kind: "uneject", What: "b 10.244.0.2:80", By: "a-1.default"}},
		{line: `{` + common + `"action":"EJECT","enforced":false}`},
		{line: `{`, err: `outlier event "{": `},
		{line: `{"action":"EJECT"}`, err: `upstream_url: `},
	} {
		got, ok, err := j.Change([]byte(c.line))
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", c.line, err, c.err)
		}
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %+v %v", c.line, got, ok)
		}
	}
}

// TestEjections has the real Envoy and our own proxy eject a host: the changes agree.
func TestEjections(t *testing.T) {
	envoyBinary(t)
	serve := func(start func(*xds.Snapshot) *plane, await func(n int) []observe.Change) []observe.Change {
		s := xds.NewSnapshot()
		c := newConfig("ejecting", 0)
		simple(unavailable)(c, func(serve func(*backend, net.Conn)) string {
			return newBackend(t, serve).Addr().String()
		})
		c.cluster.OutlierDetection = &clusterv3.OutlierDetection{
			Consecutive_5Xx: wrapperspb.UInt32(2), Interval: durationpb.New(50 * time.Millisecond),
			BaseEjectionTime:   durationpb.New(100 * time.Millisecond),
			MaxEjectionPercent: wrapperspb.UInt32(100)}
		c.add(s)
		p := start(s)
		crowd(t, p.addr[c.name], 1, 3, func(int) string {
			return "GET / HTTP/1.1\r\nhost: a\r\n\r\n"
		})
		changes := await(2)
		for i := range changes {
			cluster, at, _ := strings.Cut(changes[i].What, " ")
			if changes[i].At <= 0 || at != c.addresses[0] {
				t.Errorf("%+v, want %s", changes[i], c.addresses[0])
			}
			changes[i].At, changes[i].What = 0, cluster
		}
		return changes
	}
	log := filepath.Join(t.TempDir(), "outliers")
	theirs := serve(func(s *xds.Snapshot) *plane {
		return startEnvoy(t, s, func(b *bootstrapv3.Bootstrap) {
			b.ClusterManager = &bootstrapv3.ClusterManager{
				OutlierDetection: &bootstrapv3.ClusterManager_OutlierDetection{EventLogPath: log}}
		}).plane
	}, func(n int) []observe.Change { return readChanges(t, log, n) })
	changes := make(chan observe.Change, 10)
	ours := serve(func(s *xds.Snapshot) *plane { return startEjecting(t, s, changes) },
		func(n int) (out []observe.Change) {
			for range n {
				out = append(out, <-changes)
			}
			return out
		})
	if fmt.Sprint(theirs) != fmt.Sprint(ours) || len(ours) != 2 {
		t.Errorf("envoy %+v\nours %+v", theirs, ours)
	}
}

// readChanges reads Envoy's log until there are n changes; Envoy writes it from time to time.
func readChanges(t *testing.T, file string, n int) []observe.Change {
	t.Helper()
	j := Ejections{Proxy: self.Name,
		Instant: func(t time.Time) clock.Instant { return clock.Instant(t.UnixNano()) }}
	late := time.After(20 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out []observe.Change
		for line := range strings.Lines(string(data)) {
			c, ok, err := j.Change([]byte(line))
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				out = append(out, c)
			}
		}
		if len(out) >= n {
			return out
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d changes in %q", len(out), data)
		}
	}
}
