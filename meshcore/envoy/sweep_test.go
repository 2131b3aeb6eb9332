package envoy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/meshcore/incarnation"
	real "github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// life and pidFile are what Start notes for Sweep.
type life struct {
	PID   int    `json:"pid"`
	Start string `json:"start"`
}

type pidFile struct {
	Envoy life   `json:"envoy"`
	Owner life   `json:"owner"`
	Admin string `json:"admin"`
}

func readPID(t *testing.T, name string) (p pidFile) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p pidFile) write(t *testing.T, name string) {
	t.Helper()
	text, err := json.Marshal(p)
	if err == nil {
		err = os.WriteFile(name, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSweep: a stray Envoy is ended and its files go; one whose owner lives is left alone.
func TestSweep(t *testing.T) {
	dir := filepath.Join(short(t), "run[1]") // as a pattern it would match another name
	p := start(t, options(real.Binary(t), dir))
	file := filepath.Join(dir, "pod.default.pid")
	if n := envoy.Sweep(dir) + envoy.Sweep(filepath.Dir(dir)); n != 0 {
		t.Fatalf("%d Envoys of this process were ended", n)
	}
	live(t, p)
	note := readPID(t, file)
	if note.Envoy.PID != p.PID() || note.Owner.PID != os.Getpid() {
		t.Fatalf("noted %+v", note)
	}
	note.Owner.Start = "another life"
	note.write(t, file)
	if n := envoy.Sweep(dir); n != 1 {
		t.Fatalf("%d ended", n)
	}
	<-p.Exited()
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("it ended by %v", err)
	}
	left(t, dir)
	if n := envoy.Sweep(dir) + envoy.Sweep(filepath.Join(dir, "none")); n != 0 {
		t.Errorf("%d ended of nothing", n)
	}
}

// TestSweepSparesOthers: a process that was given a dead Envoy's id lives on; the files go.
func TestSweepSparesOthers(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), "ROLE=innocent")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	runs := short(t)
	dir := filepath.Join(runs, "run")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	admin := filepath.Join(dir, "admin-1")
	other := filepath.Join(runs, "other")
	for _, f := range []string{"a.json", "a.log", "admin-1", "b.json", "keep", "x.pid", "y.pid"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	gone := life{os.Getpid(), "another life"}
	reused := life{c.Process.Pid, "another life"}
	pidFile{reused, gone, admin}.write(t, filepath.Join(dir, "a.pid"))
	pidFile{reused, gone, other}.write(t, filepath.Join(dir, "b.pid"))
	pidFile{life{0, ""}, gone, ""}.write(t, filepath.Join(dir, "y.pid")) // kill(0) is the whole group
	if n := envoy.Sweep(runs); n != 0 {
		t.Errorf("%d ended", n)
	}
	left(t, dir, "keep", "x.pid", "y.pid")
	left(t, runs, "other", "run")
	for _, f := range []string{"keep", "x.pid", "y.pid"} {
		if err := os.Remove(filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	pidFile{gone, gone, ""}.write(t, filepath.Join(dir, "c.pid"))
	envoy.Sweep(runs)
	left(t, runs, "other") // an empty run directory goes, too
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("the innocent ended: %v", err)
	}
}

// TestStarts: both ways to know when a process started agree on which is which.
func TestStarts(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), "ROLE=innocent")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ways := map[string]func(int) string{"ps": envoy.AskPS}
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		ways["proc"] = envoy.ReadProc
	}
	for name, start := range ways {
		if s := start(c.Process.Pid); s == "" || s != start(c.Process.Pid) {
			t.Errorf("%s: %q, then %q", name, s, start(c.Process.Pid))
		}
		if a, b := start(1), start(c.Process.Pid); a == b {
			t.Errorf("%s: process 1 and %d both started %q", name, c.Process.Pid, a)
		}
	}
	in.Close()
	deadline := time.Now().Add(20 * time.Second)
	for name, start := range ways { // it is not reaped: its remains are no life
		for start(c.Process.Pid) != "" {
			if runtime.Gosched(); time.Now().After(deadline) {
				t.Fatalf("%s: a process that has ended started %q", name, start(c.Process.Pid))
			}
		}
	}
	if _, err := c.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	for name, start := range ways {
		if s := start(c.Process.Pid); s != "" {
			t.Errorf("%s: the dead %d started %q", name, c.Process.Pid, s)
		}
	}
}

// TestSweepRuns: a run directory whose mesh-lab has ended goes, also one that tells of no Envoy;
// one that was kept for somebody to read goes with all.
func TestSweepRuns(t *testing.T) {
	runs := short(t)
	own, err := incarnation.MkdirTemp(runs, envoy.RunPrefix)
	if err != nil {
		t.Fatal(err)
	}
	mine := filepath.Base(own)
	for _, name := range []string{"envoy-2000000000-0123abcd-1", "envoy-2000000000-0123abcd-2"} {
		if err := os.Mkdir(filepath.Join(runs, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(runs, name, "a.log"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{own, filepath.Join(runs, "envoy-2000000000-0123abcd-2")} {
		if err := envoy.Keep(dir); err != nil {
			t.Fatal(err)
		}
	}
	envoy.SweepRuns(runs, false)
	want := []string{mine, "envoy-2000000000-0123abcd-2"}
	slices.Sort(want)
	left(t, runs, want...)
	envoy.SweepRuns(runs, true)
	left(t, runs, mine)
}
