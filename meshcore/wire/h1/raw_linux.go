//go:build linux && (amd64 || arm64) && !race

package h1

import (
	"syscall"
	"unsafe"
)

// raw says that descriptors can be read and written inside of RawConn.Read and Write.
const raw = true

// call makes a system call that does not wait: the sockets are non-blocking. So the scheduler need
// not hear of it. When it does, it wakes the thread that takes processors back from those who
// wait (runtime/proc.go entersyscallWakeSysmon), again and again in a proxy that is mostly idle;
// that cost a tenth of all time.
func call(trap, fd uintptr, b []byte, flags uintptr) (n int, err error, again bool) {
	for {
		r, _, e := syscall.RawSyscall6(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))),
			uintptr(len(b)), flags, 0, 0)
		switch e {
		case 0:
			return int(r), nil, false
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, nil, true
		}
		return 0, e, false
	}
}

// readFD reads without waiting; again says that nothing is there.
func readFD(fd uintptr, b []byte) (n int, err error, again bool) {
	return call(syscall.SYS_READ, fd, b, 0)
}

// peekFD says whether anything is to be read (bytes or the end), without taking it.
func peekFD(fd uintptr, b []byte) (readable bool) {
	_, _, again := call(syscall.SYS_RECVFROM, fd, b, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return !again
}

// writeFD writes without waiting; again says that there is no room.
func writeFD(fd uintptr, b []byte) (n int, err error, again bool) {
	return call(syscall.SYS_WRITE, fd, b, 0)
}
