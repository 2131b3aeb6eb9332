//go:build unix

package sent

import "golang.org/x/sys/unix"

// monotonic is the clock that Go's runtime takes for time.Since.
func monotonic() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return 0
	}
	return t.Nano()
}
