package proxy

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// late is a clock that an hour passes on between the arrival of something from upstream and the
// moment that the proxy looks at it: the machine was busy.
type late struct {
	clock.Clock
	armed  atomic.Bool
	passed atomic.Int64
}

func (l *late) Now() clock.Instant {
	return l.Clock.Now().Add(time.Duration(l.passed.Load()))
}

type lateConn struct {
	net.Conn
	late *late
}

func (c lateConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.late.armed.CompareAndSwap(true, false) {
		c.late.passed.Store(int64(time.Hour))
	}
	return n, err
}

// TestTimeoutBehindWhatCame has a time-out pass while a response that has come waits for its turn.
// Envoy decodes all that a read brings before it looks at its timers; a client whose response was
// cut would wait for the delayed close on top.
func TestTimeoutBehindWhatCame(t *testing.T) {
	for _, c := range []struct{ name, response, gets, flag string }{
		{"whole", "Content-Length: 3\r\n\r\nabc", "abc", ""},
		{"whole in chunks", "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc", ""},
		{"a part", "Content-Length: 9\r\n\r\nabc", "abc", "UT"},
		{"a part of a chunk", "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n4\r\nbc", "abc", "UT"},
		{"a part of a chunk's head", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1", "abc", "UT"},
	} {
		for _, portable := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				clk := &late{}
				b := newBed(t, settings{timeout: 20 * time.Second, late: clk, portable: portable})
				client := b.dial()
				client.send(plainGet)
				up := b.accept()
				up.head()
				clk.armed.Store(true)
				up.send("HTTP/1.1 200 OK\r\n" + c.response)
				if c.flag == "" {
					client.status(200, c.gets)
				} else {
					client.head()
					up.eof()
				}
				rec := b.record()
				if rec.Flags != c.flag || rec.Status != 200 || rec.BytesSent != int64(len(c.gets)) {
					t.Errorf("status %d, flags %q, %d bytes", rec.Status, rec.Flags, rec.BytesSent)
				}
			})
		}
	}
}
