//go:build unix

package h1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// sockets are both ends of a TCP connection whose sending side takes few bytes at once.
func sockets(t *testing.T) (ours, theirs *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	ours, theirs = c.(*net.TCPConn), a.(*net.TCPConn)
	if err := ours.SetWriteBuffer(4096); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// piece is what fits into the writer's buffer.
var piece = bytes.Repeat([]byte("0123456789abcdef"), smallSize/16)

// send writes pieces until there is an error.
func send(c *Client, pieces int) error {
	c.out.left = -1
	for range pieces {
		if err := errors.Join(c.WriteBody(piece, false), c.Flush()); err != nil {
			return err
		}
	}
	return nil
}

// TestWriteWaits writes more than a socket takes at once: the writes wait for the reader, and what they
// could not write at once follows, once.
func TestWriteWaits(t *testing.T) {
	ours, theirs := sockets(t)
	const pieces = 200
	done := make(chan error, 1)
	go func() { done <- errors.Join(send(NewClient(ours), pieces), ours.Close()) }()
	got, err := io.ReadAll(theirs)
	if err != nil || !bytes.Equal(got, bytes.Repeat(piece, pieces)) {
		t.Errorf("%d bytes came, want %d as they were written; %v", len(got), pieces*len(piece), err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestWritePartly writes into a pipe that takes a part: the rest follows when there is room again.
func TestWritePartly(t *testing.T) {
	var p [2]int
	if err := syscall.Pipe(p[:]); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(p[0])
	defer syscall.Close(p[1])
	if err := syscall.SetNonblock(p[1], true); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat(piece, 20)
	w := writer{rest: want}
	var got []byte
	room := make([]byte, len(want))
	calls := 0
	for done := false; !done && len(got) < len(want); calls++ {
		done = w.tryRest(uintptr(p[1]))
		n, err := syscall.Read(p[0], room)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, room[:n]...)
	}
	if !bytes.Equal(got, want) || len(w.rest) > 0 || w.err != nil || calls < 2 {
		t.Errorf("%d bytes of %d came in %d calls, %d are left; %v", len(got), len(want), calls,
			len(w.rest), w.err)
	}
}

// TestWriteDeadline wakes a write that waits for a peer who does not read.
func TestWriteDeadline(t *testing.T) {
	ours, _ := sockets(t)
	stop := time.AfterFunc(50*time.Millisecond, func() { ours.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop.Stop()
	if err := send(NewClient(ours), 1<<16); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

// TestWriteClosed writes to a peer who has gone, and on a connection that we have closed.
func TestWriteClosed(t *testing.T) {
	ours, theirs := sockets(t)
	if err := errors.Join(theirs.SetLinger(0), theirs.Close()); err != nil {
		t.Fatal(err)
	}
	c := NewClient(ours)
	err := send(c, 1<<16)
	if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("to a peer who has gone: %v, want EPIPE or ECONNRESET", err)
	}
	ours.Close()
	if err := send(c, 1); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed connection: %v, want %v", err, net.ErrClosed)
	}
}
