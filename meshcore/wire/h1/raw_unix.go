//go:build unix

package h1

import "syscall"

// rawReads says that the first bytes can be read inside RawConn.Read.
const rawReads = true

// readFD reads without waiting; again says that nothing is there.
func readFD(fd uintptr, b []byte) (n int, err error, again bool) {
	for {
		n, err = syscall.Read(int(fd), b)
		switch err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, nil, true
		}
		return n, err, false
	}
}

// peekFD says whether anything is to be read (bytes or the end), without taking it.
func peekFD(fd uintptr, b []byte) (readable bool) {
	for {
		_, _, err := syscall.Recvfrom(int(fd), b, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err == syscall.EINTR {
			continue
		}
		return err != syscall.EAGAIN
	}
}
