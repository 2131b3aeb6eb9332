package host

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
)

func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, _, err := Network{}.Listen(t.Context(), engine.Address{Path: path, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", i, err)
	}
	if _, _, err := (Network{}).Listen(t.Context(), engine.Address{Path: path}); err == nil {
		t.Error("a socket that somebody listens on was taken")
	}
	// One that was left behind is taken.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	l, _, err = Network{}.Listen(t.Context(), engine.Address{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}()
	c, err := Network{}.Dial(t.Context(), netip.Addr{}, engine.Address{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if at := (Network{}).Local(c); at.IsValid() {
		t.Error(at)
	}
	if to, ok := (Network{}).OriginalDst(c); ok {
		t.Error(to)
	}
	c.Close()
	l.Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is left behind")
	}
	// What is no socket is never removed.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (Network{}).Listen(t.Context(), engine.Address{Path: path}); err == nil {
		t.Error("a file was taken for a socket")
	}
}

func TestTCP(t *testing.T) {
	local := netip.MustParseAddr("127.0.0.1")
	l, _, err := Network{}.Listen(t.Context(),
		engine.Address{AddrPort: netip.AddrPortFrom(local, 0)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := engine.Address{AddrPort: l.Addr().(*net.TCPAddr).AddrPort()}
	for _, from := range []netip.Addr{{}, local, netip.IPv6Loopback()} {
		c, err := Network{}.Dial(t.Context(), from, to)
		if err != nil {
			t.Fatalf("from %v: %v", from, err)
		}
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if at := (Network{}).Local(in); at != to.AddrPort {
			t.Errorf("arrived at %v, not %v", at, to)
		}
		// Nothing has been redirected here.
		if dst, ok := (Network{}).OriginalDst(in); ok {
			t.Errorf("original destination %v", dst)
		}
		c.Close()
		in.Close()
	}
}
