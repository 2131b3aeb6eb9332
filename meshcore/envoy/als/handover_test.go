package als

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// header is a PROXY protocol v2 header.
func header(from, to netip.AddrPort) []byte {
	h := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x11, 0, 12)
	a, b := from.Addr().As4(), to.Addr().As4()
	h = append(append(h, a[:]...), b[:]...)
	h = binary.BigEndian.AppendUint16(h, from.Port())
	return binary.BigEndian.AppendUint16(h, to.Port())
}

// TestHandover: a connection that one listener hands over to another one is recorded by that, with
// the addresses that were captured.
func TestHandover(t *testing.T) {
	dir, err := os.MkdirTemp("", "als") // short: the path of a socket is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := xds.NewSnapshot()
	c := newConfig("0.0.0.0_80", 0)
	simple(ok)(c, func(serve func(*backend, net.Conn)) string {
		return newBackend(t, serve).Addr().String()
	})
	c.add(s)
	tcp := newConfig("virtualOutbound", 1)
	tcp.hcm = nil
	tcp.add(s)
	pipe := filepath.Join(dir, "out")
	e := startEnvoy(t, s, func(b *bootstrapv3.Bootstrap) {
		for _, l := range b.StaticResources.Listeners {
			if l.Name == c.name {
				l.Address = socket("0.0.0.0:80")
				l.BindToPort = wrapperspb.Bool(false)
				continue
			}
			l.Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: pipe}}}
			l.UseOriginalDst = wrapperspb.Bool(true)
			l.ListenerFilters = []*listenerv3.ListenerFilter{{
				Name: "envoy.filters.listener.proxy_protocol",
				ConfigType: &listenerv3.ListenerFilter_TypedConfig{
					TypedConfig: pack(&proxyprotocolv3.ProxyProtocol{})},
			}}
		}
	})
	from := netip.MustParseAddrPort("10.244.0.1:40000")
	for _, to := range []string{"10.96.0.7:80", "10.96.0.7:81"} {
		conn, err := net.Dial("unix", pipe)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(header(from, netip.MustParseAddrPort(to)))
		_, _ = io.WriteString(conn, request("GET", "/a"))
		_, _ = io.Copy(io.Discard, conn)
		conn.Close()
	}
	for name, local := range map[string]string{c.name: "10.96.0.7:80", tcp.name: "10.96.0.7:81"} {
		r := e.await(t, name, 1)[0]
		if r.Local != local || r.Remote != from.String() || r.Chain != "chain of "+name {
			t.Errorf("%+v", r)
		}
	}
}
