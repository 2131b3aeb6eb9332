package lab

import (
	"errors"
	"syscall"
)

// isRefused says whether nobody listens behind a socket.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
