package lab

import (
	"context"
	"io"
	"syscall"
	"testing"
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
