// Package terminal is for tests of programs that draw on a terminal: it runs them in one, types,
// and reads what the screen shows.
package terminal

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/hinshun/vt10x"
	"golang.org/x/term"
)

// Terminal is a terminal with a program in it.
type Terminal struct {
	t      testing.TB
	pty    *os.File
	tty    *os.File
	before *term.State
	vt     vt10x.Terminal
	cmd    *exec.Cmd
	read   chan struct{} // closed when all that was written has been read

	mu      sync.Mutex
	changed chan struct{} // closed with the next output
	written strings.Builder
}

// Start runs a program in a terminal of a size; with the test it ends.
func Start(t testing.TB, cmd *exec.Cmd, columns, rows int) *Terminal {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	x := &Terminal{t: t, pty: master, tty: tty, cmd: cmd, read: make(chan struct{}),
		vt:      vt10x.New(vt10x.WithSize(columns, rows), vt10x.WithWriter(master)),
		changed: make(chan struct{})}
	x.resize(columns, rows)
	if x.before, err = term.GetState(int(tty.Fd())); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go x.follow()
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it has ended, usually
		cmd.Wait()         //nolint:errcheck // as above
		tty.Close()
		master.Close()
		<-x.read
	})
	return x
}

// follow shows the terminal what is written.
func (x *Terminal) follow() {
	defer close(x.read)
	b := make([]byte, 64<<10)
	for {
		n, err := x.pty.Read(b)
		if n > 0 {
			x.vt.Write(b[:n]) //nolint:errcheck // to memory
			x.mu.Lock()
			x.written.Write(b[:n])
			close(x.changed)
			x.changed = make(chan struct{})
			x.mu.Unlock()
		}
		if err != nil {
			return // on Linux EIO, when nobody has it open any more
		}
	}
}

// Screen is what is seen.
func (x *Terminal) Screen() string { return x.vt.String() }

// Env is the program's environment.
func (x *Terminal) Env() []string { return x.cmd.Env }

// Written is all that the program has written.
func (x *Terminal) Written() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.written.String()
}

// Type types a text; Keys has the keys that are none.
func (x *Terminal) Type(text string) {
	x.t.Helper()
	if _, err := io.WriteString(x.pty, text); err != nil {
		x.t.Fatal(err)
	}
}

// Keys that type nothing.
const (
	Enter  = "\r"
	Escape = "\x1b"
	Tab    = "\t"
	Left   = "\x1b[D"
	Right  = "\x1b[C"
	CtrlC  = "\x03"
)

// Until waits until the screen shows all texts.
func (x *Terminal) Until(texts ...string) {
	x.t.Helper()
	x.UntilSo(strings.Join(texts, " and "), func(screen string) bool {
		for _, s := range texts {
			if !strings.Contains(screen, s) {
				return false
			}
		}
		return true
	})
}

// UntilSo waits until the screen is as it should be; a minute is too long.
func (x *Terminal) UntilSo(what string, so func(screen string) bool) {
	x.t.Helper()
	late := time.After(time.Minute)
	for {
		x.mu.Lock()
		changed := x.changed
		x.mu.Unlock()
		if so(x.Screen()) {
			return
		}
		select {
		case <-changed:
		case <-x.read:
			if !so(x.Screen()) {
				x.t.Fatalf("the program has ended before the screen showed %s:\n%s", what,
					x.Screen())
			}
			return
		case <-late:
			x.t.Fatalf("the screen does not show %s:\n%s", what, x.Screen())
		}
	}
}

// Resize gives the terminal another size.
func (x *Terminal) Resize(columns, rows int) {
	x.t.Helper()
	x.vt.Resize(columns, rows)
	x.resize(columns, rows)
}

func (x *Terminal) resize(columns, rows int) {
	size := &pty.Winsize{Rows: uint16(rows), Cols: uint16(columns)}
	if err := pty.Setsize(x.pty, size); err != nil {
		x.t.Fatal(err)
	}
}

// Signal sends the program a signal.
func (x *Terminal) Signal(s os.Signal) {
	x.t.Helper()
	if err := x.cmd.Process.Signal(s); err != nil {
		x.t.Fatal(err)
	}
}

// Wait waits for the program's end, and returns its exit status.
func (x *Terminal) Wait() int {
	x.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- x.cmd.Wait() }()
	select {
	case err := <-ended:
		var status *exec.ExitError
		if err != nil && !errors.As(err, &status) {
			x.t.Fatal(err)
		}
	case <-time.After(time.Minute):
		x.t.Fatalf("the program does not end:\n%s", x.Screen())
	}
	return x.cmd.ProcessState.ExitCode()
}

// Restored says in which way the terminal is not as it was before; empty: it is.
func (x *Terminal) Restored() string {
	x.t.Helper()
	const last = "that was all"
	if _, err := x.tty.WriteString("\r\n" + last + "\r\n"); err != nil {
		x.t.Fatal(err)
	}
	x.Until(last)
	after, err := term.GetState(int(x.tty.Fd()))
	if err != nil {
		x.t.Fatal(err)
	}
	mode := x.vt.Mode()
	switch {
	case !reflect.DeepEqual(x.before, after):
		return "its lines are still raw"
	case mode&vt10x.ModeAltScreen != 0:
		return "the other screen is still shown"
	case mode&(vt10x.ModeMouseButton|vt10x.ModeMouseMotion|vt10x.ModeMouseMany) != 0:
		return "the mouse is still taken"
	case !x.vt.CursorVisible():
		return "the cursor is hidden"
	}
	return ""
}
