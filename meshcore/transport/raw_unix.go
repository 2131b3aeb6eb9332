//go:build unix

package transport

import (
	"io"
	"syscall"
)

// canPeek says that sockets can be read without waiting.
const canPeek = true

// readNow reads without waiting: errNothing when nothing is there.
func readNow(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), b)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, errNothing
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
