//go:build !unix

package h1

const raw = false

func readFD(fd uintptr, b []byte) (n int, err error, again bool) { panic("h1: no raw reads") }

func peekFD(fd uintptr, b []byte) (readable bool) { return false }

func writeFD(fd uintptr, b []byte) (n int, err error, again bool) { panic("h1: no raw writes") }
