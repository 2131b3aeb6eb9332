package lab_test

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/testdata/envoy"
	"github.com/mesh-lab/mesh-lab/testdata/wait"
)

// TestKilledWithEnvoys: whenever a mesh-lab is killed that has real Envoys, the next start, and
// `down --all`, leave no process of it (and so no port) and no file. MESHLAB_KILLS says how many
// moments are tried.
func TestKilledWithEnvoys(t *testing.T) {
	envoy.Binary(t)
	kills, err := strconv.Atoi(os.Getenv("MESHLAB_KILLS"))
	if err != nil {
		kills = 2
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := &killedLab{state: t.TempDir(), tmp: t.TempDir()}
	file, err := filepath.Abs("testdata/killed.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// It comes up, is asked something, and goes down.
	whole := []string{"request", "-f", file, "--proxy", "envoy", "--from", "echo", "http://echo:8080/"}
	l.run(t, whole...)
	took := l.run(t, whole...)
	l.left(t, "of one that ended by itself")
	for i := range kills {
		after := time.Duration(random.Int64N(int64(took)))
		c := l.command(whole...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(after) // the moment, not a wait for anything
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		c.Wait() //nolint:errcheck // it was killed
		if i%2 == 0 {
			took = l.run(t, whole...)
		} else {
			l.run(t, "down", "--all")
		}
		l.left(t, "killed after "+after.String()+" of "+took.String())
	}
}

// killedLab is where a lab may leave something.
type killedLab struct{ state, tmp string }

// command is a mesh-lab that knows no Docker, which others use.
func (l *killedLab) command(args ...string) *exec.Cmd {
	c := exec.Command("mesh-lab", args...)
	c.Env = append(os.Environ(), "MESHLAB_STATE="+l.state, "TMPDIR="+l.tmp,
		"DOCKER_HOST=unix:///nonexistent/docker.sock")
	return c
}

// run runs it to its end, and says how long that took.
func (l *killedLab) run(t *testing.T, args ...string) time.Duration {
	t.Helper()
	began := time.Now()
	if out, err := l.command(args...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return time.Since(began)
}

// left says what there is of a lab after its end.
func (l *killedLab) left(t *testing.T, what string) {
	t.Helper()
	// The kernel ends the children of the killed, and tells nobody.
	wait.Until(t, func() string { return what + ": a process is left" },
		func() bool { return l.processes(t) == 0 })
	for _, dir := range []string{l.state, l.tmp} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if path != dir && path != filepath.Join(l.state, "envoy") {
				t.Errorf("%s: %s is left", what, path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// processes counts those that were started with the lab's state.
func (l *killedLab) processes(t *testing.T) (n int) {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range environs {
		text, err := os.ReadFile(name)
		if err == nil && bytes.Contains(text, []byte("MESHLAB_STATE="+l.state+"\x00")) {
			n++
		}
	}
	return n
}
