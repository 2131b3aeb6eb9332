package incarnation

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Sockets begins the names of directories for temporary files that hold a socket, where sockets
// must be files.
const Sockets = "mesh-lab-socket-"

// MkdirTemp makes a directory whose name begins with prefix and tells which life of which process
// it belongs to, from the moment that it is there: Dirs finds those whose owner has ended.
func MkdirTemp(dir, prefix string) (string, error) {
	i, ok := Self()
	if !ok {
		return "", errors.New("the system does not say when this process started")
	}
	return os.MkdirTemp(dir, fmt.Sprintf("%s%d-%s-", prefix, i.PID, i.digest()))
}

// ListenUnix opens a socket that is a file, in a directory of its own, which remove removes: the
// socket's end does not.
func ListenUnix() (l net.Listener, remove func(), err error) {
	dir, err := MkdirTemp("", Sockets)
	if err != nil {
		return nil, nil, err
	}
	if l, err = net.Listen("unix", filepath.Join(dir, "s")); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return l, func() { os.RemoveAll(dir) }, nil
}

// digest is of the start, as part of a name.
func (i Incarnation) digest() string {
	sum := sha256.Sum256([]byte(i.Start))
	return hex.EncodeToString(sum[:4])
}

// Dirs lists the directories in dir that MkdirTemp has made with prefix for processes that have
// ended.
func Dirs(dir, prefix string) []string {
	entries, _ := os.ReadDir(dir) // where nothing can be read there is nothing to find
	var out []string
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		words := strings.Split(rest, "-")
		if !ok || !e.IsDir() || len(words) != 3 {
			continue
		}
		pid, err := strconv.Atoi(words[0])
		if err != nil || pid < 1 || len(words[1]) != 8 {
			continue
		}
		if now, lives := Of(pid); !lives || now.digest() != words[1] {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out
}
