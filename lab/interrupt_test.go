package lab

import (
	"context"
	"io"
	"syscall"
	"testing"
	"time"
)

// TestInterruptible ends the context with the first signal, and the process with the second.
func TestInterruptible(t *testing.T) {
	exited := make(chan int)
	ctx, stop := (&env{err: io.Discard}).interruptible(context.Background(), func(code int) { exited <- code })
	for i := range 2 {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			<-ctx.Done()
		}
	}
	if code := <-exited; code != 130 {
		t.Errorf("exit status %d", code)
	}
	stop()
}

// endless is a standard input that interrupts whoever reads it, and then has nothing for it.
type endless struct{ interrupt, closed func() }

func (r endless) Read([]byte) (int, error) {
	r.interrupt()
	r.closed()
	return 0, io.EOF
}

// TestInterruptedWhileReading ends what reads and checks its files: it may be long at it, and holds
// nothing.
func TestInterruptedWhileReading(t *testing.T) {
	t.Setenv("MESHLAB_STATE", t.TempDir())
	for _, args := range [][]string{
		{"validate", "-"}, {"up", "-f", "-"},
		{"request", "-f", "-", "--from", "curl", "http://echo:8080/"},
	} {
		t.Run(args[0], func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			closed := make(chan struct{})
			defer close(closed)
			e := &env{out: io.Discard, err: io.Discard}
			e.in = endless{interrupt, func() { <-closed }}
			root := newRoot(e)
			root.SetArgs(args)
			status := make(chan int, 1)
			go func() { status <- e.status(ctx, root.ExecuteContext(ctx)) }()
			select {
			case code := <-status:
				if code != exitInterrupted {
					t.Errorf("exit status %d", code)
				}
			case <-time.After(time.Minute):
				t.Error("it still reads")
			}
		})
	}
}
