//go:build unix && !(linux && (amd64 || arm64) && !race)

package h1

import "syscall"

// raw says that descriptors can be read and written inside of RawConn.Read and Write.
const raw = true

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

// writeFD writes without waiting; again says that there is no room.
func writeFD(fd uintptr, b []byte) (n int, err error, again bool) {
	for {
		n, err = syscall.Write(int(fd), b)
		switch err {
		case nil:
			return n, nil, false
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, nil, true
		}
		return 0, err, false
	}
}
