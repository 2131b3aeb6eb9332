package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

// Container is one container of a lab.
type Container struct {
	ID   string
	lab  *Lab
	spec Spec
	made *testcontainers.DockerContainer

	mu      sync.Mutex
	exits   []Exit
	changed chan struct{} // closed with the next exit; nil: nobody waits
	gone    bool          // it is removed, or about to be
	ended   chan struct{} // closed when its output is read
	stop    context.CancelFunc
}

// Exit is one end of a container's process, as Docker tells it.
type Exit struct {
	At     time.Time
	Status string // 137: killed
}

// String is how a receipt tells it.
func (x Exit) String() string {
	return fmt.Sprintf("exited with status %s at %s", x.Status, x.At.UTC().Format("15:04:05.000"))
}

// Pod and Part are its labels.
func (c *Container) Pod() string { return c.spec.Pod }

// Part says what it is of its pod.
func (c *Container) Part() string { return c.spec.Part }

// heard takes an event.
func (c *Container) heard(m events.Message) {
	x, ok := exit(m)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exits = append(c.exits, x)
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// Exits are the ends of its process so far.
func (c *Container) Exits() []Exit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Exit(nil), c.exits...)
}

// AwaitExit waits until its process has ended n times, and returns the last of these ends.
func (c *Container) AwaitExit(ctx context.Context, n int) (Exit, error) {
	for {
		c.mu.Lock()
		if len(c.exits) >= n {
			x := c.exits[n-1]
			c.mu.Unlock()
			return x, nil
		}
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return Exit{}, fmt.Errorf("docker has not told that the %s has ended: %w", c.what(),
				ctx.Err())
		}
	}
}

// what names it in errors.
func (c *Container) what() string {
	if c.spec.Pod == "" {
		return c.spec.Part
	}
	return c.spec.Part + " of " + c.spec.Pod
}

// Kill ends its process at once, and returns the end as Docker has told it.
func (c *Container) Kill(ctx context.Context) (Exit, error) {
	before := len(c.Exits())
	if _, err := c.lab.e.client.ContainerKill(ctx, c.ID,
		client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		return Exit{}, c.fail("kill", err)
	}
	return c.AwaitExit(ctx, before+1)
}

// Again starts its process anew, after an end.
func (c *Container) Again(ctx context.Context) error {
	_, err := c.lab.e.client.ContainerStart(ctx, c.ID, client.ContainerStartOptions{})
	if err != nil {
		return c.fail("start", err)
	}
	c.follow()
	return nil
}

// Pause stops all its processes, as SIGSTOP does.
func (c *Container) Pause(ctx context.Context) error {
	_, err := c.lab.e.client.ContainerPause(ctx, c.ID, client.ContainerPauseOptions{})
	return c.fail("pause", err)
}

// Unpause has them go on.
func (c *Container) Unpause(ctx context.Context) error {
	_, err := c.lab.e.client.ContainerUnpause(ctx, c.ID, client.ContainerUnpauseOptions{})
	return c.fail("unpause", err)
}

// period is of the CPU quota: Docker's own.
const period = 100 * time.Millisecond

// Limit leaves it a share of one core; 0: as much as there is.
func (c *Container) Limit(ctx context.Context, cpu float64) error {
	r := container.Resources{CPUPeriod: period.Microseconds(), CPUQuota: -1}
	if cpu > 0 {
		r.CPUQuota = max(int64(cpu*float64(period.Microseconds())), 1000) // the kernel's least
	}
	_, err := c.lab.e.client.ContainerUpdate(ctx, c.ID,
		client.ContainerUpdateOptions{Resources: &r})
	return c.fail("limit", err)
}

// Throttled says how often, and for how long, its processes had to wait for CPU that they might not
// have.
func (c *Container) Throttled(
	ctx context.Context,
) (periods uint64, waited time.Duration, err error) {
	s, err := c.stats(ctx)
	t := s.CPUStats.ThrottlingData
	return t.ThrottledPeriods, time.Duration(t.ThrottledTime), err
}

// Memory is what it has in use, in bytes.
func (c *Container) Memory(ctx context.Context) (uint64, error) {
	s, err := c.stats(ctx)
	return s.MemoryStats.Usage, err
}

// Port is where one of its ports is published.
func (c *Container) Port(ctx context.Context, port uint16) (netip.AddrPort, error) {
	i, err := c.lab.e.client.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
	if err != nil {
		return netip.AddrPort{}, c.fail("inspect", err)
	}
	p, _ := network.PortFrom(port, network.TCP)
	for _, b := range i.Container.NetworkSettings.Ports[p] {
		n, err := strconv.ParseUint(b.HostPort, 10, 16)
		if err == nil && n > 0 {
			return netip.AddrPortFrom(localhost, uint16(n)), nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("docker: the %s has ended, or port %d is not published",
		c.what(), port)
}

// PID is of its first process, on the machine that Docker runs on; 0 when it does not run.
func (c *Container) PID(ctx context.Context) (int, error) {
	i, err := c.lab.e.client.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
	if err != nil {
		return 0, c.fail("inspect", err)
	}
	return i.Container.State.Pid, nil
}

var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func exposed(ports []Published) (out []string) {
	for _, p := range ports {
		out = append(out, strconv.Itoa(int(p.Port))+"/tcp")
	}
	return out
}

func bindings(ports []Published) network.PortMap {
	out := network.PortMap{}
	for _, p := range ports {
		port, _ := network.PortFrom(p.Port, network.TCP)
		at := ""
		if p.At != 0 {
			at = strconv.Itoa(int(p.At))
		}
		out[port] = []network.PortBinding{{HostIP: localhost, HostPort: at}}
	}
	return out
}

// Remove ends it at once, and removes it. It may be called again.
func (c *Container) Remove(ctx context.Context) error {
	if c.ID == "" {
		return nil
	}
	c.closing()
	err := c.lab.e.removeContainers(ctx, []string{c.ID})
	c.unfollow()
	c.lab.mu.Lock()
	delete(c.lab.all, c.ID)
	c.lab.mu.Unlock()
	return err
}

// closing notes that its end is wanted.
func (c *Container) closing() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
}

// Wanted says whether its end would be news.
func (c *Container) Wanted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.gone
}

// follow has what it writes be taken, until it ends.
func (c *Container) follow() {
	if c.spec.Line == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	since := ""
	if c.stop != nil { // it was started again: what it wrote before is known
		c.stop()
		<-c.ended
		if n := len(c.exits); n > 0 {
			since = strconv.FormatFloat(float64(c.exits[n-1].At.UnixNano())/1e9, 'f', 9, 64)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop, c.ended = cancel, make(chan struct{})
	go func(ended chan struct{}) {
		defer close(ended)
		if err := c.read(ctx, since); err != nil && ctx.Err() == nil {
			c.lab.e.log.Debug("output of a container", "container", c.what(), "err", err)
		}
	}(c.ended)
}

// unfollow waits until its output is read.
func (c *Container) unfollow() {
	c.mu.Lock()
	stop, ended := c.stop, c.ended
	c.mu.Unlock()
	if stop == nil {
		return
	}
	select {
	case <-ended:
	case <-time.After(period): // what is left is nobody's
	}
	stop()
	<-ended
}

// read takes its output apart.
func (c *Container) read(ctx context.Context, since string) error {
	r, err := c.lab.e.client.ContainerLogs(ctx, c.ID, client.ContainerLogsOptions{
		ShowStdout: true, ShowStderr: true, Follow: true, Since: since,
	})
	if err != nil {
		return err
	}
	defer r.Close()
	var mu sync.Mutex
	lines := func(stderr bool) (*io.PipeWriter, <-chan struct{}) {
		in, out := io.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s := bufio.NewScanner(in)
			s.Buffer(nil, 1<<20)
			for s.Scan() {
				mu.Lock()
				c.spec.Line(s.Bytes(), stderr)
				mu.Unlock()
			}
			in.CloseWithError(s.Err())
		}()
		return out, done
	}
	stdout, done1 := lines(false)
	stderr, done2 := lines(true)
	_, err = stdcopy.StdCopy(stdout, stderr, r)
	stdout.Close()
	stderr.Close()
	<-done1
	<-done2
	return err
}

// Tail is the end of what it wrote to standard error, for messages.
func (c *Container) Tail(ctx context.Context, lines int) string {
	r, err := c.lab.e.client.ContainerLogs(ctx, c.ID, client.ContainerLogsOptions{
		ShowStderr: true, ShowStdout: true, Tail: strconv.Itoa(lines),
	})
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	out := &limited{}
	stdcopy.StdCopy(out, out, r) //nolint:errcheck // what came is what there is
	return string(out.text)
}

// limited keeps a bounded text.
type limited struct{ text []byte }

func (l *limited) Write(b []byte) (int, error) {
	const most = 64 << 10
	l.text = append(l.text, b[:min(len(b), most-len(l.text))]...)
	return len(b), nil
}

// fail says what could not be done; nil stays nil.
func (c *Container) fail(verb string, err error) error {
	switch {
	case err == nil:
		return nil
	case cerrdefs.IsNotFound(err):
		err = errors.New("it is gone")
	}
	return fmt.Errorf("docker: %s the %s: %w", verb, c.what(), err)
}
