package lab_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// daemon is a process that runs until a test ends it, and what it has said.
type daemon struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd

	mu    sync.Mutex
	text  bytes.Buffer
	more  chan struct{} // closed, and made anew, when there is more text
	from  int           // await looks from here
	ended chan struct{}
	err   error // of Wait
}

// launch starts a process; the end of the test kills it.
func launch(t *testing.T, name string, args ...string) *daemon {
	t.Helper()
	d := &daemon{
		t: t, name: name, cmd: exec.Command(args[0], args[1:]...), more: make(chan struct{}),
		ended: make(chan struct{}),
	}
	d.cmd.Stdout, d.cmd.Stderr = d, d
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.err = d.cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			t.Logf("%s said at last:\n%s", name, tail(d.text.String(), 4000))
		}
	})
	return d
}

// tail is the end of a text.
func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// Write takes what the process says.
func (d *daemon) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.text.Write(b)
	close(d.more)
	d.more = make(chan struct{})
	return len(b), nil
}

// await returns when the process has said something that matches since the last call, and goes on
// after it.
func (d *daemon) await(pattern string) string {
	d.t.Helper()
	re := regexp.MustCompile(pattern)
	limit := time.After(time.Minute)
	for {
		d.mu.Lock()
		text := d.text.Bytes()[d.from:]
		m := re.FindSubmatchIndex(text)
		more := d.more
		if m != nil {
			d.from += m[1]
			got := string(text[m[0]:m[1]])
			d.mu.Unlock()
			return got
		}
		d.mu.Unlock()
		select {
		case <-more:
		case <-d.ended:
			d.t.Fatalf("%s ended (%v) before it said %s", d.name, d.err, pattern)
		case <-limit:
			d.t.Fatalf("%s has not said %s", d.name, pattern)
		}
	}
}

// has says whether the process has said something at any time.
func (d *daemon) has(text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Contains(d.text.String(), text)
}

func (d *daemon) signal(sig os.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
}

// kill ends the process at once.
func (d *daemon) kill() {
	d.cmd.Process.Signal(syscall.SIGKILL) //nolint:errcheck // it may have ended
	<-d.ended
}

// exit waits for the process's end and returns its status.
func (d *daemon) exit() int {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(time.Minute):
		d.t.Fatalf("%s does not end", d.name)
	}
	var xe *exec.ExitError
	if errors.As(d.err, &xe) {
		return xe.ExitCode()
	}
	return 0
}

// adminClient asks an admin port that is a pipe.
func adminClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
}

// serving returns when the workers of the proxy at an admin port have started.
func (d *daemon) serving(admin string) {
	d.t.Helper()
	c := adminClient(admin)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for {
		body, err := get(c, "http://admin/stats?filter=listener_manager.workers_started")
		if err == nil && body == "listener_manager.workers_started: 1\n" {
			return
		}
		select {
		case <-tick.C:
		case <-d.ended:
			d.t.Fatalf("%s ended (%v)", d.name, d.err)
		case <-limit:
			d.t.Fatalf("%s does not serve: %s %v", d.name, body, err)
		}
	}
}

// dataPlane starts a proxy of a kind on a bootstrap and returns when it serves.
func dataPlane(t *testing.T, kind, name, bootstrap, admin string) *daemon {
	t.Helper()
	args := []string{"mesh-lab", "proxy"}
	if kind == "envoy" {
		args = []string{envoy.Binary(t).Path}
	}
	d := launch(t, name, append(args, "-c", bootstrap, "--concurrency", "1",
		"--disable-hot-restart", "-l", "info")...)
	d.serving(admin)
	return d
}
