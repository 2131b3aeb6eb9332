package tunnel

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// TestLocalAddr: a connection's own end is the one that the other side sees, wherever it was made:
// records are found by it.
func TestLocalAddr(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	listen := func() net.Listener {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	hub, agent, there := listen(), listen(), listen()
	localhost := netip.MustParseAddr("127.0.0.1")
	a := &Server{Token: "t"}
	go a.ServeAgent(ctx, agent) //nolint:errcheck // ends with its listener
	h := &Server{
		Token: "t", Outside: localhost, Calls: map[string]func(context.Context, []byte) (any, error){
			"now": func(context.Context, []byte) (any, error) { return 0, nil },
		},
		AgentPort: uint16(agent.Addr().(*net.TCPAddr).Port),
	}
	go h.ServeHub(ctx, hub, nil) //nolint:errcheck // ends with its listener
	c, err := Dial(ctx, hub.Addr().String(), "t", clock.NewReal())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	to := there.Addr().(*net.TCPAddr).AddrPort()
	for name, dial := range map[string]func() (net.Conn, error){
		"outside": func() (net.Conn, error) { return c.Outside(ctx, to) },
		"pod":     func() (net.Conn, error) { return c.Dial(ctx, localhost, to.String()) },
		"hub":     func() (net.Conn, error) { return c.Inside(ctx, to) },
	} {
		conn, err := dial()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		seen, err := there.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := conn.LocalAddr().String(), seen.RemoteAddr().String(); got != want {
			t.Errorf("%s: local address %s, the other side sees %s", name, got, want)
		}
		if _, ok := conn.LocalAddr().(*net.TCPAddr); !ok {
			t.Errorf("%s: local address is a %T", name, conn.LocalAddr())
		}
		conn.Close()
		seen.Close()
	}
}
