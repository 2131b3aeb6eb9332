package engine_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
	"github.com/mesh-lab/mesh-lab/testdata/docker"
	"github.com/mesh-lab/mesh-lab/testdata/wait"
)

// TestMain is also what containers of these tests run, and a process that leaves some.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "wait":
		fmt.Println("out")
		fmt.Fprintln(os.Stderr, "err")
		select {}
	case os.Getenv("ROLE") == "leaver":
		leave()
	}
	os.Exit(m.Run())
}

// leave starts a lab and says so; then it waits for its end.
func leave() {
	ctx := context.Background()
	e, err := engine.Connect(ctx, slog.Default())
	if err != nil {
		panic(err)
	}
	l, _, err := start(ctx, e, nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(l.ID)
	select {}
}

// start starts a lab with one container, of the binary that runs.
func start(
	ctx context.Context, e *engine.Engine, line func([]byte, bool),
) (*engine.Lab, *engine.Container, error) {
	i, err := e.Part(ctx)
	if err != nil {
		return nil, nil, err
	}
	i.Kind = "test"
	name, _, err := e.Ensure(ctx, i)
	if err != nil {
		return nil, nil, err
	}
	l, err := e.NewLab(ctx)
	if err != nil {
		return nil, nil, err
	}
	c, err := l.Start(ctx, engine.Spec{Pod: "a.default", Part: "app", Image: name,
		Cmd: []string{"wait"}, Publish: []engine.Published{{Port: 80}}, Line: line})
	return l, c, err
}

func connect(t *testing.T) *engine.Engine {
	t.Helper()
	docker.Needed(t)
	e, err := engine.Connect(t.Context(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func TestContainer(t *testing.T) {
	e := connect(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	said := make(chan string, 10)
	l, c, err := start(ctx, e, func(line []byte, stderr bool) { said <- fmt.Sprint(string(line), stderr) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it is asked below
	lines := func() string {                  // standard output and error are told apart; neither is the first
		two := []string{<-said, <-said}
		slices.Sort(two)
		return strings.Join(two, " ")
	}
	const want = "errtrue outfalse"
	if got := lines(); got != want {
		t.Errorf("it said %q, want %q", got, want)
	}
	at, err := c.Port(ctx, 80)
	if err != nil || !at.Addr().IsLoopback() {
		t.Errorf("published at %v, %v", at, err)
	}
	if err := c.Pause(ctx); err != nil {
		t.Error(err)
	}
	if s, err := l.Running(ctx); s[c] != "paused" {
		t.Errorf("paused: %v %v", s, err)
	}
	if err := c.Unpause(ctx); err != nil {
		t.Error(err)
	}
	if err := errors.Join(c.Limit(ctx, 0.1), c.Limit(ctx, 0)); err != nil {
		t.Error(err)
	}
	x, err := c.Kill(ctx)
	if err != nil || x.Status != "137" || time.Since(x.At) > time.Minute {
		t.Errorf("killed: %v, %v", x, err)
	}
	if err := c.Again(ctx); err != nil {
		t.Error(err)
	}
	if got := lines(); got != want {
		t.Errorf("again it said %q", got)
	}
	if s, err := l.Running(ctx); s[c] != "running" {
		t.Errorf("again: %v %v", s, err)
	}
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
	if left := labelled(t, l.ID); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// sweepBusy sweeps while a lab's network is in use, which is waited for.
func sweepBusy(
	ctx context.Context, t *testing.T, e *engine.Engine, lab, container string,
) engine.Swept {
	t.Helper()
	label := "label=" + engine.LabLabel + "=" + lab
	out, err := exec.Command("docker", "network", "ls", "-q", "--filter", label).Output()
	if err != nil {
		t.Fatal(err)
	}
	network := strings.TrimSpace(string(out))
	docker := func(what string) {
		out, err := exec.Command("docker", "network", what, network, container).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", what, err, out)
		}
	}
	docker("connect")
	defer docker("disconnect")
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	swept, err := e.Sweep(short, 0)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a sweep while a network is in use: %v", err)
	}
	return swept
}

// TestImageGone: an image that another process has removed before a container used it is made anew.
func TestImageGone(t *testing.T) {
	e := connect(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	i, err := e.Part(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i.Kind = "gone"
	name, _, err := e.Ensure(ctx, i)
	if err != nil {
		t.Fatal(err)
	}
	remove := func() {
		if out, err := exec.Command("docker", "rmi", "-f", name).CombinedOutput(); err != nil {
			t.Errorf("docker rmi: %v: %s", err, out)
		}
	}
	remove()
	defer remove()
	l, err := e.NewLab(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Start(ctx, engine.Spec{Part: "app", Image: name, Cmd: []string{"wait"}})
	if err := errors.Join(err, l.Close(ctx)); err != nil {
		t.Error(err)
	}
}

// labelled lists what Docker has of a lab.
func labelled(t *testing.T, lab string) string {
	t.Helper()
	var all []string
	for _, kind := range []string{"ps -a", "network ls"} {
		args := append(strings.Fields(kind), "-q", "--filter", "label="+engine.LabLabel+"="+lab)
		out, err := exec.Command("docker", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("docker %s: %v: %s", kind, err, out)
		}
		all = append(all, strings.Fields(string(out))...)
	}
	return strings.Join(all, " ")
}

// TestSweep: what a process has left that was killed goes, what a living one has stays.
func TestSweep(t *testing.T) {
	e := connect(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	alive, living, err := start(ctx, e, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close(context.WithoutCancel(ctx)) //nolint:errcheck // the test is over
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), "ROLE=leaver")
	c.Stderr = t.Output()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(out)
	if !s.Scan() {
		t.Fatalf("no lab: %v, %v", s.Err(), c.Wait())
	}
	lab := s.Text()
	if left := labelled(t, lab); len(strings.Fields(left)) != 2 {
		t.Fatalf("of a lab with a container and a network there is %q", left)
	}
	if _, err := e.Sweep(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if left := labelled(t, lab); len(strings.Fields(left)) != 2 {
		t.Errorf("of a lab whose owner lives there is %q after a sweep", left)
	}
	if err := errors.Join(c.Process.Kill(), ended(c.Wait())); err != nil {
		t.Fatal(err)
	}
	swept := sweepBusy(ctx, t, e, lab, living.ID)
	last, err := e.Sweep(ctx, 0)
	if err != nil || swept.Containers+last.Containers < 1 || last.Networks < 1 {
		t.Errorf("swept %v, then %v, %v", swept, last, err)
	}
	if left := labelled(t, lab); left != "" {
		t.Errorf("left behind: %s", left)
	}
	if left := labelled(t, alive.ID); len(strings.Fields(left)) != 2 {
		t.Errorf("of this process's own lab there is %q", left)
	}
}

// ended forgives that a process was killed.
func ended(err error) error {
	var x *exec.ExitError
	if errors.As(err, &x) {
		return nil
	}
	return err
}

// TestUnusable: what can not be used is said, with what to do.
func TestUnusable(t *testing.T) {
	if os.Getenv("ROLE") != "unusable" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command(self, "-test.run", "^TestUnusable$", "-test.v")
		// No socket anywhere; testcontainers looks in the home directory, too.
		c.Env = append(os.Environ(), "ROLE=unusable", "DOCKER_HOST=unix:///nonexistent/docker.sock",
			"HOME="+t.TempDir(), "XDG_RUNTIME_DIR="+t.TempDir())
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "not installed, or not running") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	_, err := engine.Connect(t.Context(), slog.Default())
	var u *engine.UnusableError
	if !errors.As(err, &u) {
		t.Fatalf("connected: %v", err)
	}
	t.Log(err)
}

// TestReaper: where the reaper's image does not come, the lab does without, and says so.
func TestReaper(t *testing.T) {
	docker.Needed(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0") // a registry that takes connections and is silent
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	engine.Reaper(l.Addr().String()+"/reaper:1", 100*time.Millisecond)
	t.Setenv("TESTCONTAINERS_RYUK_DISABLED", "")
	e := connect(t)
	if len(e.Notes) != 1 || !strings.Contains(e.Notes[0], "reaper can not run") ||
		!strings.Contains(e.Notes[0], "down --all") || e.Version == "" {
		t.Errorf("connected to Docker %q, with notes %q", e.Version, e.Notes)
	}
}

// TestImages: an older image of a kind goes when its maker has ended, the newest one stays.
func TestImages(t *testing.T) {
	e := connect(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	made := connect(t)
	made.Dead()
	kind := fmt.Sprintf("test-%d", os.Getpid())
	make := func(text string) string {
		name, _, err := made.Ensure(ctx, engine.Image{Kind: kind,
			Files: []engine.File{{Path: "/x", Data: []byte(text)}}})
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	there := func(name string) bool {
		return exec.Command("docker", "image", "inspect", name).Run() == nil
	}
	older, before := make("older"), time.Now().Unix()
	wait.Until(t, func() string { return "the next second" }, // as finely as Docker tells
		func() bool { return time.Now().Unix() > before })
	newest := make("newest")
	defer exec.Command("docker", "rmi", newest).Run() //nolint:errcheck // the test is over
	if _, err := e.Sweep(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if there(older) || !there(newest) {
		t.Errorf("there are the older one: %v, the newest one: %v", there(older), there(newest))
	}
}
