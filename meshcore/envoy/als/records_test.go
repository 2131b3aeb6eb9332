package als

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// play has every case served by a data plane: start is given the snapshot; what it returns has the
// records.
func play(t *testing.T, start func(*testing.T, *xds.Snapshot) *plane) map[string][]observe.Request {
	t.Helper()
	s := xds.NewSnapshot()
	for i := range cases {
		c := newConfig(cases[i].name, i)
		cases[i].setup(c, func(serve func(*backend, net.Conn)) string {
			return newBackend(t, serve).Addr().String()
		})
		c.add(s)
	}
	p := start(t, s)
	out := map[string][]observe.Request{}
	for i := range cases {
		c := &cases[i]
		began := time.Now()
		conn, err := net.Dial("tcp", p.addr[c.name])
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		c.client(t, conn.(*net.TCPConn))
		conn.Close()
		out[c.name] = p.await(t, c.name, max(1, c.records))
		t.Log(c.name, time.Since(began))
	}
	return out
}

// normal takes out what can not be the same, and says whether it is there.
func normal(list []observe.Request) []observe.Request {
	for i := range list {
		r := &list[i]
		r.Start, r.Duration, r.Draw = 0, 0, 0 // Envoy does not tell what it drew
		r.UpstreamTime = min(r.UpstreamTime, 1)
		r.FaultDelay = min(r.FaultDelay, 1)
		r.Remote = host(r.Remote)
		if len(r.ID) == 36 {
			r.ID = "generated"
		}
		r.Upstream = known(r.Upstream)
		for _, list := range [][]observe.Attempt{r.Attempts, r.Mirrors} {
			for j := range list {
				list[j].Start, list[j].Duration = 0, 0
				list[j].Upstream = known(list[j].Upstream)
			}
		}
	}
	return list
}

func host(at string) string {
	h, _, err := net.SplitHostPort(at)
	if err != nil {
		return at
	}
	return h
}

// known says that there is an address: the backends' ports differ from run to run.
func known(at string) string { return host(at) }

// TestRecords has the real Envoy and our own proxy serve the same requests: the records agree.
func TestRecords(t *testing.T) {
	envoyBinary(t)
	var e *envoy
	theirs := play(t, func(t *testing.T, s *xds.Snapshot) *plane {
		e = startEnvoy(t, s)
		return e.plane
	})
	ours := play(t, startProxy)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			want, got := normal(theirs[c.name]), normal(ours[c.name])
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-envoy +ours)\n%s", diff)
				e.raw.show(t, c.name)
			}
		})
	}
}

// send writes a request and reads to the end of the connection.
func send(text string) func(*testing.T, *net.TCPConn) {
	return func(t *testing.T, c *net.TCPConn) {
		t.Helper()
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, c)
	}
}

// get is a request after which the connection is closed.
func get(path string, headers ...string) func(*testing.T, *net.TCPConn) {
	return send(request("GET", path, headers...))
}

func request(method, path string, headers ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nhost: shop:8080\r\nuser-agent: test\r\n", method, path)
	for _, h := range append(headers, "x-request-id: id-of-the-client", "connection: close") {
		b.WriteString(h + "\r\n")
	}
	return b.String() + "\r\n"
}
