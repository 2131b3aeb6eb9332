package envoy_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	real "github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// TestOwnerKilled: kill -9 of mesh-lab leaves no Envoy, one that it has paused neither, and no file
// once the next one has swept.
func TestOwnerKilled(t *testing.T) {
	t.Run("running", func(t *testing.T) { testOwnerKilled(t, false) })
	t.Run("paused", func(t *testing.T) { testOwnerKilled(t, true) })
}

func testOwnerKilled(t *testing.T, paused bool) {
	b := real.Binary(t)
	// Envoy becomes this process' child when its parent is gone, so that its end can be waited for.
	const setChildSubreaper = 36 // prctl(2)
	if _, _, no := syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); no != 0 {
		t.Fatal(no)
	}
	dir := short(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), "ROLE=owner", "BINARY="+b.Path, "DIR="+dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.StdinPipe(); err != nil { // it waits for what never comes
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the owner said %q", line)
	}
	left(t, dir, "a.b.json", "a.b.log", "a.b.pid")
	if paused {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // it was killed
	patience := time.AfterFunc(20*time.Second, func() { _ = syscall.Kill(pid, syscall.SIGTERM) })
	defer patience.Stop()
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.Signal() != syscall.SIGKILL {
		t.Errorf("ended by %v, exit status %d; %v", status.Signal(), status.ExitStatus(), err)
	}
	if n := envoy.Sweep(dir); n != 0 {
		t.Errorf("the kernel left %d to end", n)
	}
	left(t, dir)
}

// TestThreadEnds: an Envoy outlives the thread whose goroutine started it.
func TestThreadEnds(t *testing.T) {
	o := options(real.Binary(t), short(t))
	var p *envoy.Process
	var thread int
	passing(func(id int) {
		thread = id
		p = start(t, o)
	})
	deadline := time.Now().Add(20 * time.Second)
	for err := error(nil); err == nil; _, err = os.Stat(fmt.Sprintf("/proc/self/task/%d", thread)) {
		if runtime.Gosched(); time.Now().After(deadline) {
			t.Fatal("the thread does not end")
		}
	}
	live(t, p)
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// passing runs f on a thread that ends with it. The main thread never does: it is held meanwhile.
func passing(f func(thread int)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if id := syscall.Gettid(); id != syscall.Getpid() {
			f(id)
			return
		}
		defer runtime.UnlockOSThread()
		passing(f)
	}()
	<-done
}
