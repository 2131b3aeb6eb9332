package link

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// BenchmarkRoundTrip sends 1 KiB there and back: over the kernel's own connection, over one that no
// fault is about, and over one that a relay carries because a fault has been.
func BenchmarkRoundTrip(b *testing.B) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c) //nolint:errcheck // ends with the connection
		}
	}()
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp4", l.Addr().String())
	}
	trip := func(b *testing.B, c net.Conn) {
		defer c.Close()
		buf := make([]byte, 1<<10)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Write(buf); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, buf); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("kernel", func(b *testing.B) {
		c, err := dial(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		trip(b, c)
	})
	for _, diverted := range []bool{false, true} {
		name := map[bool]string{false: "whole", true: "diverted"}[diverted]
		b.Run(name, func(b *testing.B) {
			links := New(clock.NewReal())
			defer links.Close()
			c, err := links.Dial(b.Context(), ab, dial)
			if err != nil {
				b.Fatal(err)
			}
			if diverted {
				if err := links.divert(c.(*Conn)); err != nil {
					b.Fatal(err)
				}
			}
			trip(b, c)
		})
	}
}
