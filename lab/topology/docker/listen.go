package docker

import (
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"runtime"
)

// listen opens a unix socket for connections that are passed on: on Linux one without a file.
func listen() (net.Listener, error) {
	name := "mesh-lab-" + rand.Text()
	if runtime.GOOS == "linux" {
		return net.Listen("unix", "@"+name)
	}
	return net.Listen("unix", filepath.Join(os.TempDir(), name[:20]+".sock"))
}
