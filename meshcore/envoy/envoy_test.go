package envoy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	real "github.com/mesh-lab/mesh-lab/testdata/envoy"
)

var background = context.Background()

const nodeID = "sidecar~10.244.0.2~pod.default~default.svc.cluster.local"

// short makes a directory whose path leaves room for a socket's.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "envoy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve serves ADS on a unix socket.
func serve(t *testing.T, socket string) *control.Server {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ads := control.New(control.Options{})
	g := grpc.NewServer(control.GRPCOptions()...)
	ads.Register(g)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-served })
	return ads
}

func options(b envoy.Binary, dir string) envoy.Options {
	return envoy.Options{
		Binary: b, Dir: dir, Name: "pod.default", Control: filepath.Join(dir, "ads"),
		Node: &corev3.Node{Id: nodeID, Cluster: "pod"},
	}
}

// start starts an Envoy that does not outlive the test.
func start(t *testing.T, o envoy.Options) *envoy.Process {
	t.Helper()
	p, err := envoy.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(p.LogTail(50))
		}
	})
	return p
}

// set gives the one proxy a snapshot.
func set(t *testing.T, ads *control.Server, s *xds.Snapshot) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := ads.Set(ctx, map[string]*xds.Snapshot{"pod.default": s}); err != nil {
		t.Fatal(err)
	}
}

// TestServes: every version serves under our control plane, in both protocols, and leaves nothing
// but its log.
func TestServes(t *testing.T) {
	for _, b := range real.Binaries(t) {
		for _, delta := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/delta=%v", b.Version, delta), func(t *testing.T) {
				dir := short(t)
				ads := serve(t, filepath.Join(dir, "ads"))
				o := options(b, dir)
				o.Delta = delta
				p := start(t, o)
				up, socket := upstream(t, http.StatusOK), filepath.Join(short(t), "in")
				set(t, ads, snapshot(socket, up))
				if code := get(t, socket); code != http.StatusOK {
					t.Errorf("got %d of the app", code)
				}
				asked(t, p)
				stopped(t, p, dir)
			})
		}
	}
}

// asked holds the admin interface to what it is needed for.
func asked(t *testing.T, p *envoy.Process) {
	t.Helper()
	if text, err := p.Admin(t.Context(), "GET", "/ready"); string(text) != "LIVE\n" || err != nil {
		t.Errorf("/ready: %q %v", text, err)
	}
	_, err := p.Admin(t.Context(), "GET", "/nothing")
	if err == nil || !strings.Contains(err.Error(), "pod.default: GET /nothing: 404") {
		t.Errorf("got %v for a path that is not there", err)
	}
	got, err := p.Stats(t.Context(), `^(listener_manager\.total_listeners_active|http\.in\..*|cluster\..*)$`)
	if err != nil || got["listener_manager.total_listeners_active"] != 1 {
		t.Errorf("stats %v %v", got, err)
	}
	if _, ok := got["http.in.downstream_rq_active"]; !ok {
		t.Errorf("no http.in.downstream_rq_active in %v", got)
	}
	for name := range got {
		if strings.HasPrefix(name, "cluster.app.") {
			t.Errorf("stat %s of a cluster, which only costs memory", name)
		}
	}
	for _, name := range []string{"runtime.load_error", "server.envoy_bug_failures",
		"server.static_unknown_fields", "runtime.deprecated_feature_use"} {
		got, err := p.Stats(t.Context(), "^"+regexp.QuoteMeta(name)+"$")
		if n, ok := got[name]; !ok || n != 0 {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	clusters, err := p.Admin(t.Context(), "GET", "/clusters?format=json")
	if err != nil || !strings.Contains(string(clusters), `"app"`) {
		t.Errorf("/clusters: %s %v", clusters, err)
	}
}

// stopped stops a process and looks for what it left.
func stopped(t *testing.T, p *envoy.Process, dir string) {
	t.Helper()
	if err := p.Err(); err != nil {
		t.Errorf("it runs, but Err says %v", err)
	}
	pid := p.PID()
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	<-p.Exited()
	if err := p.Err(); err != nil {
		t.Errorf("it was stopped, but Err says %v", err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("signal to the stopped process: %v", err)
	}
	left(t, dir, "ads", "pod.default.log")
	if err := p.Stop(t.Context()); err != nil {
		t.Errorf("stop again: %v", err)
	}
}

// left compares the files of a directory.
func left(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
}

// TestEjections: an outlier event is here long before Envoy's timer would bring it (10 s).
func TestEjections(t *testing.T) {
	dir := short(t)
	ads := serve(t, filepath.Join(dir, "ads"))
	o := options(real.Binary(t), dir)
	events := make(chan string, 10)
	o.Ejections = func(line []byte) { events <- string(line) }
	p := start(t, o)
	socket := filepath.Join(short(t), "in")
	set(t, ads, snapshot(socket, upstream(t, http.StatusInternalServerError)))
	for i := range 2 {
		if code := get(t, socket); code != http.StatusInternalServerError {
			t.Errorf("request %d: %d", i, code)
		}
	}
	begun := time.Now()
	// The first comes at once in any case, as what starts Envoy's thread that writes.
	for _, want := range []string{"EJECT", "UNEJECT"} {
		select {
		case line := <-events:
			t.Logf("after %v: %s", time.Since(begun), line)
			var event struct {
				Cluster string `json:"cluster_name"`
				Action  string `json:"action"`
			}
			err := json.Unmarshal([]byte(line), &event)
			if err != nil || event.Cluster != "app" || event.Action != want {
				t.Errorf("event %s: %+v %v, want %s", line, event, err, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("no %s, though the host answered 5xx twice and has been out for long", want)
		}
	}
	stopped(t, p, dir)
}

// TestDies: who dies says how, with the end of its log and where that is.
func TestDies(t *testing.T) {
	b := real.Binary(t)
	for name, c := range map[string]struct {
		control string
		kill    syscall.Signal
		want    string
	}{
		"killed":        {"ads", syscall.SIGKILL, `ended by itself: signal: killed; the end of its log \S+/pod\.default\.log:`},
		"terminated":    {"ads", syscall.SIGTERM, `ended by itself: exit status 0; .*:\n(.*\n)*.*caught ENVOY_SIGTERM`},
		"bad bootstrap": {strings.Repeat("long", 40), 0, `ended by itself: exit status 1; .*:\n(.*\n)*.*exceeds maximum UNIX domain socket path`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := short(t)
			o := options(b, dir)
			o.Control = filepath.Join(dir, c.control)
			p := start(t, o)
			if c.kill != 0 {
				live(t, p)
				if err := syscall.Kill(p.PID(), c.kill); err != nil {
					t.Fatal(err)
				}
			}
			<-p.Exited()
			err := p.Err()
			if err == nil || !regexp.MustCompile(c.want).MatchString(err.Error()) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
			if !strings.Contains(fmt.Sprint(err), "the envoy of pod.default (pid "+strconv.Itoa(p.PID())) {
				t.Errorf("%v does not say who", err)
			}
			left(t, dir, "pod.default.log")
			if err := p.Stop(t.Context()); err != nil || p.Err() == nil {
				t.Errorf("stop of a dead one: %v, then Err is %v", err, p.Err())
			}
		})
	}
}

// live returns when the admin interface answers: Envoy handles signals from then on.
func live(t *testing.T, p *envoy.Process) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := p.Admin(t.Context(), "GET", "/server_info"); err == nil {
			return
		}
		select {
		case <-p.Exited():
			t.Fatal(p.Err())
		case <-tick.C:
		}
	}
}

// TestStopOfOneThatDoesNotEnd: a paused process is woken up to end; one that ignores SIGTERM is
// killed when the patience ends; Kill does not ask.
func TestStopOfOneThatDoesNotEnd(t *testing.T) {
	b := real.Binary(t)
	t.Run("paused", func(t *testing.T) {
		p := start(t, options(b, short(t)))
		live(t, p)
		if err := syscall.Kill(p.PID(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := p.Stop(ctx); err != nil || p.Err() != nil {
			t.Errorf("%v, %v", err, p.Err())
		}
	})
	t.Run("deaf", func(t *testing.T) {
		dir := short(t)
		deaf := filepath.Join(dir, "deaf")
		text := "#!/bin/sh\ntrap '' TERM\necho deaf >&2\nwhile :; do read x < " + dir + "/never; done\n"
		if err := os.WriteFile(deaf, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(filepath.Join(dir, "never"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := start(t, options(envoy.Binary{Path: deaf}, filepath.Join(dir, "run")))
		for p.LogTail(1) != "deaf" {
			runtime.Gosched()
		}
		patience := errors.New("no more patience")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(patience)
		err := p.Stop(ctx)
		if !errors.Is(err, patience) || !strings.Contains(err.Error(), "was killed") || p.Err() != nil {
			t.Errorf("%v, %v", err, p.Err())
		}
	})
	t.Run("kill", func(t *testing.T) {
		dir := short(t)
		p := start(t, options(b, dir))
		if err := p.Kill(); err != nil || p.Err() != nil {
			t.Errorf("%v, %v", err, p.Err())
		}
		left(t, dir, "pod.default.log")
	})
}

// TestAgain: a pod that comes back keeps its log.
func TestAgain(t *testing.T) {
	dir := short(t)
	if err := os.WriteFile(filepath.Join(dir, "pod.default.log"), []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, options(real.Binary(t), dir))
	live(t, p)
	for _, f := range []string{"pod.default.json", "pod.default.pid", "pod.default.log"} {
		if info, err := os.Stat(filepath.Join(dir, f)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info, err)
		}
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	tail := p.LogTail(1000)
	if !strings.HasPrefix(tail, "before\n") || !strings.Contains(tail, "ENVOY_SIGTERM") {
		t.Errorf("log %q", tail)
	}
	if last := p.LogTail(1); strings.Contains(last, "\n") || last == "" || !strings.HasSuffix(tail, last) {
		t.Errorf("last line %q", last)
	}
}

// TestCannotStart: what is wrong is said, nothing is left.
func TestCannotStart(t *testing.T) {
	dir := short(t)
	_, err := envoy.Start(t.Context(), options(envoy.Binary{Path: filepath.Join(dir, "none")}, dir))
	if err == nil || !strings.Contains(err.Error(), "start envoy for pod.default: ") ||
		!errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	left(t, dir, "pod.default.log")
	o := options(envoy.Binary{}, filepath.Join(dir, "pod.default.log", "below"))
	if _, err := envoy.Start(t.Context(), o); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := envoy.Start(ended, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestLongName: the longest pod name in the longest namespace has files, too.
func TestLongName(t *testing.T) {
	dir := short(t)
	o := options(real.Binary(t), dir)
	o.Name = strings.Repeat("p", 253) + "." + strings.Repeat("n", 63)
	p := start(t, o)
	live(t, p)
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// upstream is an app that answers everything with one status.
func upstream(t *testing.T, status int) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// get asks through the listener at a unix socket.
func get(t *testing.T, socket string) int {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport}).Get("http://app/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return r.StatusCode
}
