package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Client is the lab's end.
type Client struct {
	session *yamux.Session
	clock   clock.Clock
	offset  time.Duration // from the hub's monotonic clock to the lab's
}

// Dial connects to the hub at an address, and learns how its clock differs from the lab's.
func Dial(ctx context.Context, address, token string, c clock.Clock) (*Client, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	session, err := greet(raw, token)
	if err != nil {
		raw.Close()
		return nil, err
	}
	x := &Client{session: session, clock: c}
	if err := x.measure(ctx); err != nil {
		session.Close()
		return nil, err
	}
	return x, nil
}

// greet tells the token, and waits until it is known: Docker's own proxy takes connections that
// lead nowhere yet.
func greet(raw net.Conn, token string) (*yamux.Session, error) {
	if err := writeLine(raw, Header{Token: token}); err != nil {
		return nil, err
	}
	in := newConn(raw)
	var a answer
	if err := readLine(in.r, &a); err != nil {
		return nil, err
	}
	if err := a.err(); err != nil {
		return nil, err
	}
	return yamux.Client(in, config())
}

// config is what both ends of the connection have. Streams may wait for long.
func config() *yamux.Config {
	c := yamux.DefaultConfig()
	c.AcceptBacklog = 4096
	c.EnableKeepAlive = false // both are on one machine: an end is seen
	c.MaxStreamWindowSize = 1 << 20
	c.LogOutput = io.Discard
	c.StreamOpenTimeout = 0
	return c
}

// measure learns the difference of the clocks; the shortest way there and back tells best.
func (c *Client) measure(ctx context.Context) error {
	shortest := time.Hour
	for range 5 {
		before := c.clock.Now()
		var there int64
		if err := c.Call(ctx, netip.Addr{}, "now", nil, &there); err != nil {
			return err
		}
		took := c.clock.Now().Sub(before)
		if took < shortest {
			shortest = took
			c.offset = time.Duration(before.Add(took/2)) - time.Duration(there)
		}
	}
	return nil
}

// Instant is the lab's instant of a monotonic time inside, in nanoseconds (CLOCK_MONOTONIC, which
// containers share).
func (c *Client) Instant(mono int64) clock.Instant {
	return clock.Instant(mono).Add(c.offset)
}

// Close ends it, and every stream.
func (c *Client) Close() error { return c.session.Close() }

// open opens a stream, and says what it is about.
func (c *Client) open(ctx context.Context, h Header) (*conn, error) {
	s, err := c.session.OpenStream()
	if err != nil {
		return nil, fmt.Errorf("the lab's hub: %w", err)
	}
	x := newConn(s)
	stop := context.AfterFunc(ctx, func() { x.Close() })
	defer stop()
	var a answer
	if err = writeLine(x, h); err == nil {
		err = readLine(x.r, &a)
	}
	if err == nil {
		err = a.err()
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		x.Close()
		return nil, err
	}
	if a.Local.IsValid() {
		x.local = net.TCPAddrFromAddrPort(a.Local)
	}
	return x, nil
}

// Dial connects from a pod's name space to HOST:PORT, as its app would: the pod's own resolver
// knows the name, and the kernel takes what its sidecar is to have.
func (c *Client) Dial(ctx context.Context, pod netip.Addr, to string) (net.Conn, error) {
	return c.open(ctx, Header{Op: OpDial, At: pod, To: to})
}

// Outside connects as a client from outside of the mesh.
func (c *Client) Outside(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return c.open(ctx, Header{Op: OpOutside, To: to.String()})
}

// Inside connects from the hub, as one of the lab's own parts.
func (c *Client) Inside(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return c.open(ctx, Header{Op: OpDial, To: to.String()})
}

// Call calls a function of an agent; of the hub where at is none. in and out are JSON, out may be
// nil.
func (c *Client) Call(ctx context.Context, at netip.Addr, name string, in, out any) error {
	s, err := c.open(ctx, Header{Op: OpCall, At: at, Name: name})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	err = writeLine(s, in)
	var a answer
	if err == nil {
		err = readLine(s.r, &a)
	}
	if err == nil {
		err = a.err()
	}
	if err == nil && out != nil {
		err = readLine(s.r, out)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// waitPause is how often Wait asks.
const waitPause = 5 * time.Millisecond

// Wait waits until the agent at an address has everything set up.
func (c *Client) Wait(ctx context.Context, at netip.Addr) error {
	for {
		var ready bool
		short, cancel := context.WithTimeout(ctx, time.Second)
		err := c.Call(short, at, "ping", nil, &ready)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(waitPause):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// Accept waits for a stream from inside.
func (c *Client) Accept() (Header, net.Conn, error) {
	for {
		s, err := c.session.AcceptStream()
		if err != nil {
			return Header{}, nil, err
		}
		x := newConn(s)
		var h Header
		if err := readLine(x.r, &h); err != nil {
			x.Close()
			continue
		}
		return h, x, nil
	}
}
