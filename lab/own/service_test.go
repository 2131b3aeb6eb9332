package own_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mesh-lab/mesh-lab/lab/own"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/testdata/wait"
)

// hasty is a clock whose waits are short; it notes how long they were to be.
type hasty struct {
	*clock.Real
	hear  func(string)
	mu    sync.Mutex
	waits []time.Duration
}

func (h *hasty) AfterFunc(d time.Duration, f func()) func() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d >= time.Second {
		h.waits = append(h.waits, d)
		h.hear(fmt.Sprint("wait ", d))
	}
	return h.Real.AfterFunc(min(d, 5*time.Millisecond), f)
}

// bed is a service under test, and all that is heard of it.
type bed struct {
	t     *testing.T
	clock *hasty
	*own.Service

	mu    sync.Mutex
	heard []string // lines, and "ready true", "open false" and so on
	more  chan struct{}
}

func (b *bed) hear(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.heard = append(b.heard, what)
	close(b.more)
	b.more = make(chan struct{})
}

// await returns the first thing heard that matches, as it is heard.
func (b *bed) await(pattern string) string {
	b.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.After(time.Minute)
	for {
		b.mu.Lock()
		i, more := slices.IndexFunc(b.heard, re.MatchString), b.more
		if i >= 0 {
			defer b.mu.Unlock()
			return b.heard[i]
		}
		b.mu.Unlock()
		select {
		case <-more:
		case <-late:
			b.mu.Lock()
			defer b.mu.Unlock()
			b.t.Fatalf("not heard: %s; but\n%s", pattern, strings.Join(b.heard, "\n"))
		}
	}
}

// all returns what has been heard.
func (b *bed) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.heard, "\n")
}

// start runs a service in a role of this binary.
func start(t *testing.T, s *own.Spec, change func(*own.Options), env ...string) *bed {
	t.Helper()
	b := &bed{t: t, clock: &hasty{Real: clock.NewReal()}, more: make(chan struct{})}
	b.clock.hear = b.hear
	o := own.Options{
		Spec: s, Clock: b.clock,
		Env:  func() []string { return append(os.Environ(), append(env, "POD_NAME=mine-0")...) },
		Line: func(line []byte) { b.hear(string(line)) },
		Say:  func(line []byte) { b.hear(string(line)) },
		Open: func(open bool) { b.hear(fmt.Sprint("open ", open)) },
		Ready: func(_ context.Context, ready bool) error {
			b.hear(fmt.Sprint("ready ", ready))
			return nil
		},
	}
	if change != nil {
		change(&o)
	}
	var err error
	if b.Service, err = own.New(o); err != nil {
		t.Fatal(err)
	}
	b.Start()
	t.Cleanup(func() { b.Stop(context.Background()) })
	return b
}

// spec is that of a command: this test binary.
func spec(t *testing.T, arguments string, change func(*corev1.Container)) *own.Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := corev1.Container{}
	if change != nil {
		change(&c)
	}
	s, err := own.Parse(map[string]string{
		own.CommandAnnotation: "'" + self + "' " + arguments}, c, []uint16{8080, 9090}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *bed) pids(n int) []int {
	b.t.Helper()
	var out []int
	wait.Until(b.t, b.all, func() bool {
		out = nil
		for _, m := range regexp.MustCompile(`(?m)^pid (\d+)$`).FindAllStringSubmatch(b.all(), -1) {
			pid, _ := strconv.Atoi(m[1])
			out = append(out, pid)
		}
		return len(out) >= n
	})
	return out
}

// gone wants a process to end, waiting for what the kernel and its parent have yet to do.
func gone(t *testing.T, pid int) {
	t.Helper()
	wait.Until(t, func() string { return fmt.Sprintf("process %d is gone", pid) }, func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		zombie := err == nil && strings.Contains(string(text), ") Z ")
		return syscall.Kill(pid, 0) != nil || zombie
	})
}

func get(b *bed, port uint16) (string, error) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get("http://" + b.Address(port) + "/")
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return string(text), err
}

// TestCommand: a command gets its port, becomes ready, is asked to end, and leaves nothing.
func TestCommand(t *testing.T) {
	b := start(t, spec(t, `"two words" $PORT "${WHO:-nobody}" a\ b`, nil), nil, role+"=serve", "WHO=me")
	b.await("^ready true$")
	<-b.Settled
	_, port, _ := strings.Cut(b.Address(8080), ":")
	if got, err := get(b, 8080); err != nil || got != "mine-0 on "+port {
		t.Errorf("answers %q, %v; port %s", got, err, port)
	}
	b.await(`^args two words\|` + port + `\|me\|a b$`)
	if a := b.Address(9090); a == "" || a == b.Address(8080) {
		t.Errorf("port 9090 is at %q", a)
	}
	if a := b.Address(7070); a != "" {
		t.Errorf("port 7070, which nobody declares, is at %q", a)
	}
	if err := b.Problem(); err != nil {
		t.Error(err)
	}
	b.Stop(context.Background())
	b.await("^asked to end$")
	gone(t, b.pids(1)[0])
	if strings.Contains(b.all(), "again") {
		t.Errorf("a command that is stopped is said to have crashed: %s", b.all())
	}
}

// TestCrash: what a command that crashed has said last is told where its lines are not; it is
// started again after pauses that double.
func TestCrash(t *testing.T) {
	s := spec(t, "", nil)
	b := start(t, s, func(o *own.Options) { o.Line = nil }, role+"=crash")
	b.await(`exit status 3; it starts again in 4s$`)
	<-b.Settled
	b.Stop(context.Background())
	b.clock.mu.Lock()
	defer b.clock.mu.Unlock()
	if want := []time.Duration{1e9, 2e9, 4e9}; !slices.Equal(b.clock.waits[:3], want) {
		t.Errorf("it waited %v", b.clock.waits)
	}
	all := b.all()
	if strings.Contains(all, "line 2\n") || !strings.Contains(all, "line 3\n") ||
		!strings.Contains(all, "line 11\nno end\nmesh-lab: "+s.Command) {
		t.Errorf("heard\n%s", all)
	}
}

// TestQuit: a service that ends while it is ready is not ready any more, and comes back.
func TestQuit(t *testing.T) {
	b := start(t, spec(t, "", nil), nil, role+"=serve")
	b.await("^ready true$")
	first := b.pids(1)[0]
	http.Get("http://" + b.Address(8080) + "/quit") //nolint:errcheck,bodyclose // it breaks off
	b.await("^open false$")
	b.await("^ready false$")
	b.await("exit status 0; it starts again in 1s$")
	if second := b.pids(2)[1]; second == first {
		t.Error("it is the same process")
	}
	if all := b.all(); strings.Index(all, "ready false") > strings.Index(all, "wait 1s") {
		t.Errorf("it was not told before the pause: %s", all)
	}
	wait.Until(t, b.all, func() bool { return strings.Count(b.all(), "ready true") == 2 })
	if _, err := get(b, 8080); err != nil {
		t.Error(err)
	}
}

// TestReadinessProbe: an HTTP probe decides, also later on.
func TestReadinessProbe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ready")
	b := start(t, spec(t, "", func(c *corev1.Container) {
		c.Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}
		c.ReadinessProbe = &corev1.Probe{FailureThreshold: 2, ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromString("web")}}}
	}), nil, role+"=serve", "READY_FILE="+file)
	problem := func() string { return fmt.Sprint(b.Problem()) }
	wait.Until(t, problem, func() bool {
		return strings.Contains(problem(), "/ready is answered with 503")
	})
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.await("^ready true$")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	b.await("^ready false$")
	b.await("^mesh-lab: not ready: .* 503")
}

// TestExecProbe runs in the command's environment.
func TestExecProbe(t *testing.T) {
	b := start(t, spec(t, "", func(c *corev1.Container) {
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
			Exec: &corev1.ExecAction{Command: []string{"sh", "-c", `test "$PORT" = "$PORT_8080"`}}}}
	}), nil, role+"=serve")
	b.await("^ready true$")
}

// TestExecProbeChildren: of a probe that takes too long nothing is left, its own children included.
func TestExecProbeChildren(t *testing.T) {
	file := filepath.Join(t.TempDir(), "children")
	start(t, spec(t, "", func(c *corev1.Container) {
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
			Exec: &corev1.ExecAction{Command: []string{
				"sh", "-c", `sleep 1000 & echo $! >>` + file + `; wait`}}}}
	}), nil, role+"=serve")
	children := func() []string {
		text, _ := os.ReadFile(file)
		return strings.Fields(string(text))
	}
	wait.Until(t, func() string { return "no second probe" }, func() bool { return len(children()) > 1 })
	pid, err := strconv.Atoi(children()[0])
	if err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
}

// TestStubborn: a command that does not end by SIGTERM is killed, and its children with it.
func TestStubborn(t *testing.T) {
	for _, r := range []string{"stubborn", "tree"} {
		b := start(t, spec(t, "", nil), nil, role+"="+r)
		b.await("^ready true$")
		pids := b.pids(map[string]int{"stubborn": 1, "tree": 2}[r])
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		b.Stop(ctx)
		cancel()
		for _, pid := range pids {
			gone(t, pid)
		}
	}
}

// TestApart: a command that leaves its process group is ended all the same: in order, or at once.
func TestApart(t *testing.T) {
	for _, patience := range []time.Duration{time.Minute, 0} {
		b := start(t, spec(t, "", nil), nil, role+"=apart")
		b.await("^ready true$")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		b.Stop(ctx)
		cancel()
		gone(t, b.pids(1)[0])
		if asked := strings.Contains(b.all(), "asked to end"); asked != (patience > 0) {
			t.Errorf("with %v to end in, asked to end: %v", patience, asked)
		}
	}
}

// TestKilled: Stop with a context that is over kills at once: the command hears no SIGTERM.
func TestKilled(t *testing.T) {
	b := start(t, spec(t, "", nil), nil, role+"=serve")
	b.await("^ready true$")
	now, cancel := context.WithCancel(t.Context())
	cancel()
	b.Stop(now)
	gone(t, b.pids(1)[0])
	if strings.Contains(b.all(), "asked to end") {
		t.Error("it was asked to end")
	}
}

// TestStopped: a command that is stopped answers nothing, and goes on as if nothing had been.
func TestStopped(t *testing.T) {
	b := start(t, spec(t, "", nil), nil, role+"=serve")
	b.await("^ready true$")
	if err := b.Stopped(true); err != nil {
		t.Fatal(err)
	}
	c, err := b.Dial(t.Context(), 8080)
	if err != nil {
		t.Fatal("who is stopped takes connections all the same: ", err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("want silence, got %d bytes, %v", n, err)
	}
	if err := b.Stopped(false); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Errorf("it goes on: %v", err)
	}
	if err := b.Stopped(true); err != nil {
		t.Fatal(err)
	}
	b.Stop(t.Context()) // it wakes to end
	gone(t, b.pids(1)[0])
}

// own is the process that TestOwnerIsKilled kills.
func ownOf() *own.Spec {
	s, err := own.Parse(map[string]string{
		own.CommandAnnotation: "'" + os.Args[0] + "'"}, corev1.Container{}, []uint16{8080}, "/")
	if err != nil {
		panic(err)
	}
	return s
}

func ownMain() {
	show := func(line []byte) { fmt.Println(string(line)) }
	var s *own.Service
	ready := func(_ context.Context, ready bool) error {
		if ready && os.Getenv("STOPPED") != "" {
			defer fmt.Println("stopped")
			return s.Stopped(true)
		}
		return nil
	}
	var err error
	s, err = own.New(own.Options{
		Spec: ownOf(), Clock: clock.NewReal(), Line: show, Say: show,
		Env:  func() []string { return append(os.Environ(), role+"=tree") },
		Open: func(bool) {}, Ready: ready,
	})
	if err != nil {
		panic(err)
	}
	s.Start()
	select {}
}

// TestOwnerIsKilled: nothing is left of a command when we are killed, its own children included.
func TestOwnerIsKilled(t *testing.T) {
	t.Run("running", func(t *testing.T) { testOwnerIsKilled(t, "^mesh-lab: ready") })
	t.Run("stopped", func(t *testing.T) { testOwnerIsKilled(t, "^stopped$", "STOPPED=1") })
}

func testOwnerIsKilled(t *testing.T, when string, env ...string) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), append(env, role+"=owner")...)
	b := &bed{t: t, more: make(chan struct{})}
	r, w := io.Pipe()
	c.Stdout, c.Stderr = w, w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		text := ""
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			text += string(buf[:n])
			for {
				line, rest, ok := strings.Cut(text, "\n")
				if !ok {
					break
				}
				b.hear(line)
				text = rest
			}
			if err != nil {
				return
			}
		}
	}()
	b.await(when)
	pids := b.pids(2)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait() //nolint:errcheck // it was killed
	w.Close()
	<-read
	for _, pid := range pids {
		gone(t, pid)
	}
}

// TestForward: an address is ready while something answers there.
func TestForward(t *testing.T) {
	// Nobody but this test is at this address; without such addresses, at this port.
	l, err := net.Listen("tcp4", "127.1.2.3:0")
	if err != nil {
		l, err = own.FreePort(7)
	}
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	s, err := own.Parse(map[string]string{own.ForwardAnnotation: at}, corev1.Container{}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, s, nil)
	<-b.Settled
	if err := b.Problem(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the problem is %v", err)
	}
	web := http.Server{Addr: at, Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	ended := make(chan error)
	go func() { ended <- web.ListenAndServe() }()
	b.await("^ready true$")
	if c, err := b.Dial(t.Context(), 1234); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	web.Close()
	<-ended
	b.await("^ready false$")
	b.await("^mesh-lab: not ready: " + at)
}
