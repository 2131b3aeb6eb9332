package envoy

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/mesh-lab/mesh-lab/meshcore/incarnation"
)

// left is a pid file: an Envoy, and the process that started it.
type left struct {
	Envoy incarnation.Incarnation `json:"envoy"`
	Owner incarnation.Incarnation `json:"owner"`
	Admin string                  `json:"admin"`
}

// writePID notes who runs, for Sweep. Caller must have started the process.
func (f files) writePID(pid int) error {
	var l left
	var ok bool
	if l.Envoy, ok = incarnation.Of(pid); !ok {
		return nil // it has ended already: nothing to sweep
	}
	if l.Owner, ok = incarnation.Self(); !ok {
		return fmt.Errorf("%s: the system does not say when this process started", f.pid)
	}
	l.Admin = f.admin
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return os.WriteFile(f.pid, text, 0o600)
}

// Sweep ends the Envoys whose mesh-lab was killed, of a run directory or of a folder of run
// directories, removes their files (logs too) and the run directories that are empty then, and says
// how many it ended. The Envoys of a mesh-lab that lives it leaves alone. On Linux the kernel has
// ended them before.
func Sweep(dir string) (ended int) {
	for _, pattern := range []string{"*.pid", "*/*.pid"} {
		names, _ := filepath.Glob(filepath.Join(glob(dir), pattern)) // only a bad pattern fails
		for _, name := range names {
			if sweep(dir, name) {
				ended++
			}
		}
	}
	return ended
}

// RunPrefix begins the names of run directories that incarnation.MkdirTemp makes.
const RunPrefix = "envoy-"

// kept is a file in a run directory whose logs somebody may want to read.
const kept = "kept"

// Keep has SweepRuns leave a run directory alone that has ended in order, unless all are to go.
func Keep(dir string) error { return os.WriteFile(filepath.Join(dir, kept), nil, 0o600) }

// SweepRuns sweeps a folder of run directories, and removes those whose mesh-lab has ended, at
// whatever moment it did; those that were kept only if all are to go.
func SweepRuns(dir string, all bool) (ended int) {
	ended = Sweep(dir)
	for _, run := range incarnation.Dirs(dir, RunPrefix) {
		if _, err := os.Stat(filepath.Join(run, kept)); all || err != nil {
			_ = os.RemoveAll(run) // what can not be removed is not ours
		}
	}
	return ended
}

// glob protects what a pattern would take for its own.
func glob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

func sweep(dir, name string) (ended bool) {
	text, err := os.ReadFile(name)
	if err != nil {
		return false
	}
	var l left
	if json.Unmarshal(text, &l) != nil || l.Envoy.PID <= 1 || l.Owner.PID < 1 {
		return false // somebody else's file, or one that is being written
	}
	if l.Owner.Lives() {
		return false
	}
	if l.Envoy.Lives() {
		ended = syscall.Kill(l.Envoy.PID, syscall.SIGKILL) == nil
	}
	stem := strings.TrimSuffix(name, ".pid")
	for _, f := range []string{name, stem + ".json", stem + ".log"} {
		_ = os.Remove(f) // it may be gone
	}
	if filepath.Dir(l.Admin) == filepath.Dir(name) {
		_ = os.Remove(l.Admin) // the same
	}
	if run := filepath.Dir(name); filepath.Clean(dir) != run {
		_ = os.Remove(run) // it has other files
	}
	return ended
}
