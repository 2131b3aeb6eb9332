package link

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/testdata/wait"
)

// bed is links with one server.
type bed struct {
	*Links
	t        *testing.T
	listener *net.TCPListener
}

func newBed(t *testing.T) *bed {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{New(clock.NewReal()), t, l}
	t.Cleanup(func() { l.Close(); b.Close() })
	return b
}

var ab = Way{From: "a.x", To: "b.x", Port: 80}

// open connects, and returns the server's end.
func (b *bed) open(w Way) (client net.Conn, server *net.TCPConn) {
	b.t.Helper()
	client, err := b.Dial(b.t.Context(), w, b.dial)
	if err != nil {
		b.t.Fatal(err)
	}
	server, err = b.listener.AcceptTCP()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func (b *bed) dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp4", b.listener.Addr().String())
}

func (b *bed) breaks(f topology.Fault) *Fault {
	b.t.Helper()
	if f.Kind == "" {
		f.Kind = topology.FaultLink
	}
	broken, err := b.Break(f)
	if err != nil {
		b.t.Fatal(err)
	}
	return broken
}

func (b *bed) send(to io.Writer, text string) {
	b.t.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) receive(from io.Reader, text string) {
	b.t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != text {
		b.t.Fatalf("received %q, %v; want %q", got, err, text)
	}
}

// receipt waits until a fault has held so many bytes.
func (b *bed) receipt(f *Fault, bytes int64) (r topology.Receipt) {
	b.t.Helper()
	wait.Until(b.t, func() string { return "the fault has held what was sent" }, func() bool {
		r, _ = f.Receipt(b.t.Context())
		return r.Bytes >= bytes
	})
	return r
}

// TestPartitionSilencesOpenConnections has a connection fall silent one way and go on afterwards
// with every byte, also for who was waiting in a read when it began.
func TestPartitionSilencesOpenConnections(t *testing.T) {
	b := newBed(t)
	client, server := b.open(ab)
	b.send(client, "before")
	b.receive(server, "before")
	answered := make(chan string)
	go func() { // waits in the kernel's own connection
		got := make([]byte, 6)
		io.ReadFull(client, got)
		answered <- string(got)
	}()
	f := b.breaks(topology.Fault{Kind: topology.FaultPartition, From: []string{"a.x"},
		To: []string{"b.x"}})
	b.send(client, "during")
	r := b.receipt(f, 6)
	if r.Fired != 1 || r.Bytes != 6 || r.First == 0 || r.Last < r.First {
		t.Errorf("receipt %+v", r)
	}
	server.SetReadDeadline(time.Now())
	if n, err := server.Read(make([]byte, 1)); n > 0 || !errors.Is(err, context.DeadlineExceeded) &&
		!strings.Contains(err.Error(), "timeout") {
		t.Errorf("the server got %d bytes, %v", n, err)
	}
	server.SetReadDeadline(time.Time{})
	b.send(server, "answer") // the other way is open
	if got := <-answered; got != "answer" {
		t.Errorf("received %q", got)
	}
	if err := b.Whole(); err == nil {
		t.Error("the links say that they are whole")
	}
	f.Heal(t.Context())
	b.receive(server, "during")
	b.send(client, "after")
	b.receive(server, "after")
	if err := b.Whole(); err != nil {
		t.Error(err)
	}
	if later, _ := f.Receipt(t.Context()); later.Bytes != r.Bytes || later.Fired != r.Fired {
		t.Errorf("receipt after the end %+v, was %+v", later, r)
	}
}

// TestPartitionIsOfPackets has what From sends dropped also where To has opened the connection, and
// leaves everybody else alone.
func TestPartitionIsOfPackets(t *testing.T) {
	b := newBed(t)
	client, server := b.open(Way{From: "b.x", To: "a.x", Port: 80})
	other, otherServer := b.open(Way{From: "c.x", To: "b.x", Port: 80})
	f := b.breaks(topology.Fault{Kind: topology.FaultPartition, From: []string{"a.x"},
		To: []string{"b.x"}})
	b.send(client, "asked")
	b.receive(server, "asked")
	b.send(server, "answer")
	b.receipt(f, 6)
	b.send(other, "free")
	b.receive(otherServer, "free")
	f.Heal(t.Context())
	b.receive(client, "answer")
}

// TestPartitionRefusesNobody has a new connection wait until the partition is healed, or until its
// own time is over.
func TestPartitionRefusesNobody(t *testing.T) {
	b := newBed(t)
	f := b.breaks(topology.Fault{Kind: topology.FaultPartition})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { _, err := b.Dial(ctx, ab, b.dial); failed <- err }()
	made := make(chan error)
	go func() {
		c, err := b.Dial(t.Context(), ab, b.dial)
		if err == nil {
			c.Close()
		}
		made <- err
	}()
	wait.Until(t, func() string { return "two attempts find nobody" }, func() bool {
		r, _ := f.Receipt(t.Context())
		return r.Fired == 2
	})
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	f.Heal(t.Context())
	if err := <-made; err != nil {
		t.Errorf("after healing: %v", err)
	}
	r, _ := f.Receipt(t.Context())
	if len(r.Evidence) != 1 || r.Evidence[0] != "2 attempts to connect found nobody" {
		t.Errorf("evidence %q", r.Evidence)
	}
}

// TestResetIsExact resets an open connection when the receiver has so many bytes, and no other.
func TestResetIsExact(t *testing.T) {
	for _, after := range []int64{0, 1, 1000, 70_000} {
		b := newBed(t)
		client, server := b.open(ab)
		b.send(client, "before it began")
		b.receive(server, "before it began")
		f := b.breaks(topology.Fault{From: []string{"a.x"}, Link: topology.Link{ResetAfter: &after}})
		written := make(chan error, 1)
		go func() { _, err := client.Write(make([]byte, 200_000)); written <- err }()
		got, err := io.ReadAll(server)
		if int64(len(got)) != after || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after %d: received %d bytes, %v", after, len(got), err)
		}
		// The kernel tells of a reset once: a write or a read.
		werr := <-written
		_, rerr := client.Read(make([]byte, 1))
		if err := errors.Join(werr, rerr); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after %d: the client writes and reads: %v", after, err)
		}
		if r, _ := f.Receipt(t.Context()); r.Fired != 1 || r.Unit != "connections reset" {
			t.Errorf("after %d: receipt %+v", after, r)
		}
	}
}

// TestHalfOpen accepts and passes nothing on, in neither direction.
func TestHalfOpen(t *testing.T) {
	b := newBed(t)
	f := b.breaks(topology.Fault{Link: topology.Link{HalfOpen: true}})
	client, server := b.open(ab)
	b.send(client, "there")
	b.send(server, "back")
	b.receipt(f, 9)
	f.Heal(t.Context())
	b.receive(server, "there")
	b.receive(client, "back")
}

// TestDelayIsOneWay holds what goes forth for its time, and lets answers pass; a change of strength
// is about what waits already.
func TestDelayIsOneWay(t *testing.T) {
	b := newBed(t)
	client, server := b.open(ab)
	f := b.breaks(topology.Fault{From: []string{"a.x"}, Link: topology.Link{Delay: time.Hour}})
	b.send(client, "slow")
	b.send(server, "fast")
	b.receive(client, "fast")
	b.receipt(f, 4)
	const delay = 20 * time.Millisecond
	if err := f.Change(t.Context(), topology.Fault{From: []string{"a.x"},
		Link: topology.Link{Delay: delay}}); err != nil {
		t.Fatal(err)
	}
	b.receive(server, "slow")
	began := time.Now()
	b.send(client, "slow")
	b.receive(server, "slow")
	if took := time.Since(began); took < delay {
		t.Errorf("took %s, want %s at least", took, delay)
	}
	began = time.Now()
	b.open(ab) // what opens a connection is delayed as well
	if took := time.Since(began); took < delay {
		t.Errorf("connected within %s, want %s at least", took, delay)
	}
}

// TestBandwidth bounds how fast bytes come.
func TestBandwidth(t *testing.T) {
	b := newBed(t)
	f := b.breaks(topology.Fault{Link: topology.Link{Bandwidth: 1 << 20}})
	client, server := b.open(ab)
	began := time.Now()
	go client.Write(make([]byte, 100<<10)) //nolint:errcheck // the reader will see
	io.ReadFull(server, make([]byte, 100<<10))
	if took := time.Since(began); took < 75*time.Millisecond {
		t.Errorf("100 KiB at 1 MiB/s took %s", took)
	}
	if r := b.receipt(f, 1); r.Fired != 1 || r.Unit != "connections slowed" {
		t.Errorf("receipt %+v", r)
	}
}

// TestAble refuses what can not be, with the reason.
func TestAble(t *testing.T) {
	less := int64(-1)
	for _, c := range []struct {
		fault topology.Fault
		want  string
	}{
		{topology.Fault{Kind: topology.FaultKill}, "not a fault of links"},
		{topology.Fault{Link: topology.Link{Loss: 0.1}}, "packets"},
		{topology.Fault{}, "nothing that a link could suffer"},
		{topology.Fault{Link: topology.Link{Delay: -1}}, "negative"},
		{topology.Fault{Link: topology.Link{Delay: 1, Jitter: 2}}, "jitter"},
		{topology.Fault{Link: topology.Link{Bandwidth: -1}}, "negative"},
		{topology.Fault{Link: topology.Link{ResetAfter: &less}}, "negative"},
	} {
		if c.fault.Kind == "" {
			c.fault.Kind = topology.FaultLink
		}
		if err := Able(c.fault); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.fault, err, c.want)
		}
	}
}

// TestFlappingLosesNothing sends much both ways, by every way to write, while faults of all kinds
// that may not lose a byte come and go: both sides get every byte in order.
func TestFlappingLosesNothing(t *testing.T) {
	b := newBed(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const conns, size = 8, 1 << 20
	stop := make(chan struct{})
	var flaps, all sync.WaitGroup
	flaps.Go(func() {
		for i := uint64(0); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			f := topology.Fault{Kind: topology.FaultLink, Both: i%2 == 0, Seed: i, Link: topology.Link{
				Delay: time.Millisecond, Jitter: time.Millisecond, Bandwidth: 100 << 20}}
			if i%3 == 0 {
				f = topology.Fault{Kind: topology.FaultPartition, Both: i%2 == 0}
			}
			b.breaks(f).Heal(t.Context())
		}
	})
	for range conns {
		client, server := b.open(ab)
		for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			pieces := rand.New(rand.NewPCG(r.Uint64(), 0))
			all.Go(func() { writeAll(t, way[0], data, pieces) })
			all.Go(func() {
				got, err := io.ReadAll(way[1])
				if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
					t.Errorf("received %d of %d bytes, the same: %v, %v", len(got), size,
						bytes.HasPrefix(data, got), err)
				}
			})
		}
	}
	all.Wait()
	close(stop)
	flaps.Wait()
}

// writeAll writes data in pieces, by all ways that there are.
func writeAll(t *testing.T, to net.Conn, data []byte, r *rand.Rand) {
	raw, err := to.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Error(err)
		return
	}
	for len(data) > 0 {
		b := data[:min(len(data), 1+r.IntN(60_000))]
		data = data[len(b):]
		half := len(b) / 2
		v, vectored := to.(interface {
			WriteBuffers(*net.Buffers) (int64, error)
		})
		switch way := r.IntN(3); {
		case way == 0:
			_, err = to.Write(b)
		case way == 1 && vectored:
			_, err = v.WriteBuffers(&net.Buffers{b[:half], b[half:]})
		default:
			err = raw.Write(func(fd uintptr) bool {
				for len(b) > 0 {
					n, err := syscall.Write(int(fd), b)
					if err != nil {
						return !errors.Is(err, syscall.EAGAIN)
					}
					b = b[n:]
				}
				return true
			})
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
	if err := to.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
}

// TestCloseEndsEverything ends connections that are silent.
func TestCloseEndsEverything(t *testing.T) {
	b := newBed(t)
	client, server := b.open(ab)
	f := b.breaks(topology.Fault{Kind: topology.FaultPartition, Both: true})
	b.send(client, "never arrives")
	b.receipt(f, 13)
	client.Close()
	b.Close()
	if _, err := server.Read(make([]byte, 1)); err == nil {
		t.Error("the server got something")
	}
	if _, err := b.Dial(t.Context(), Way{}, b.dial); err == nil {
		t.Error("a connection was made after the end")
	}
}
