package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	needed "github.com/mesh-lab/mesh-lab/testdata/docker"
)

// comeAndGo is what a process does that is to be killed: a lab comes up, is asked something,
// and goes down, again and again.
func comeAndGo() {
	ctx := context.Background()
	files, err := runner.Bundled("echo")
	if err != nil {
		panic(err)
	}
	c, _ := istio.Read(files, istio.ReadOptions{})
	for {
		fmt.Println("up")
		m, err := docker.Driver{}.Up(ctx, topology.Spec{Config: c})
		if err != nil {
			panic(err)
		}
		ask(ctx, m, "curl-0.default", "echo:8080", time.Second)
		if err := m.Close(ctx); err != nil {
			panic(err)
		}
	}
}

// kills is how many moments are tried.
func kills() int {
	if n, err := strconv.Atoi(os.Getenv("MESHLAB_KILLS")); err == nil {
		return n
	}
	return 2
}

// TestKilled: whenever a mesh-lab is killed, a sweep afterwards leaves nothing of it: no container
// (and so no process, no name space and none of its rules), no network, no temporary file.
func TestKilled(t *testing.T) {
	needed.Needed(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range kills() {
		// From the beginning of the bring-up to after the end, on a slow machine.
		after := time.Duration(random.Int64N(int64(12 * time.Second)))
		tmp := t.TempDir()
		c := exec.Command(self)
		c.Env = append(os.Environ(), "ROLE=come and go", "TMPDIR="+tmp)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 2)); err != nil { // it is about to begin
			t.Fatal(err)
		}
		<-time.After(after) // the moment, not a wait for anything
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		c.Wait() //nolint:errcheck // it was killed
		left(t, c.Process.Pid, tmp, after)
	}
}

// left sweeps, and looks for what is left of a process.
func left(t *testing.T, pid int, tmp string, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := engine.Connect(ctx, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	swept, err := e.Sweep(ctx, 2*engine.Quiet)
	if err != nil {
		t.Errorf("killed after %s: %v", after, err)
	}
	t.Logf("killed after %s: swept %s", after, swept)
	owner := fmt.Sprintf("%q:%d,", "pid", pid)
	for _, kind := range []string{"ps -a --format {{.ID}}", "network ls --format {{.ID}}"} {
		args := append(strings.Fields(kind), "--filter", "label="+engine.OwnerLabel)
		ids, err := exec.Command("docker", args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range strings.Fields(string(ids)) {
			text, err := exec.Command("docker", "inspect", id).Output()
			if err == nil && strings.Contains(strings.ReplaceAll(string(text), `\"`, `"`), owner) {
				t.Errorf("killed after %s: %s left %s", after, args[0], id)
			}
		}
	}
	files, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Errorf("killed after %s: a temporary file is left: %s", after, f.Name())
	}
}

// TestSideBySide: two labs at once have the same addresses and names, and know nothing of each
// other.
func TestSideBySide(t *testing.T) {
	needed.Needed(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var labs [2]topology.Mesh
	errs := make(chan error, len(labs))
	for i := range labs {
		labs[i] = up(ctx, t, "meshcore", "echo")
		go func() {
			for range 20 {
				if got := ask(ctx, labs[i], "curl-0.default", "echo:8080", 20*time.Second); got != clean {
					errs <- fmt.Errorf("lab %d: %s", i, got)
					return
				}
			}
			errs <- nil
		}()
	}
	for range labs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if err := labs[0].Close(ctx); err != nil {
		t.Error(err)
	}
	if got := ask(ctx, labs[1], "curl-0.default", "echo:8080", 20*time.Second); got != clean {
		t.Errorf("when its neighbour has ended: %s", got)
	}
}

// TestAbsent: without Docker nothing is started, and what to do is said.
func TestAbsent(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	_, err := docker.Driver{}.Up(t.Context(), topology.Spec{Config: &istio.Config{}})
	var u *engine.UnusableError
	if !errors.As(err, &u) || u.Do == "" {
		t.Errorf("without Docker: %v", err)
	}
}
