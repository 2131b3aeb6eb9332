package docker

import (
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/mesh-lab/mesh-lab/meshcore/incarnation"
)

// listen opens a unix socket for connections that are passed on: on Linux one without a file.
func listen() (net.Listener, error) {
	if runtime.GOOS == "linux" {
		return net.Listen("unix", "@mesh-lab-"+rand.Text())
	}
	dir, err := incarnation.MkdirTemp("", incarnation.Sockets)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return socketFile{l, dir}, nil
}

// socketFile is a socket in a directory of its own.
type socketFile struct {
	net.Listener
	dir string
}

// Close removes the directory, too.
func (s socketFile) Close() error { return errors.Join(s.Listener.Close(), os.RemoveAll(s.dir)) }
