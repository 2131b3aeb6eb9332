package envoy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// incarnation is one life of a process: its id may be given to another once it is gone, the time
// that it started can not.
type incarnation struct {
	PID   int    `json:"pid"`
	Start string `json:"start"`
}

// left is a pid file: an Envoy, and the process that started it.
type left struct {
	Envoy incarnation `json:"envoy"`
	Owner incarnation `json:"owner"`
	Admin string      `json:"admin"`
}

// writePID notes who runs, for Sweep. Caller must have started the process.
func (f files) writePID(pid int) error {
	var l left
	var ok bool
	if l.Envoy, ok = incarnate(pid); !ok {
		return nil // it has ended already: nothing to sweep
	}
	if l.Owner, ok = incarnate(os.Getpid()); !ok {
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
	if l.Owner.lives() {
		return false
	}
	if l.Envoy.lives() {
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

// lives says whether this very process runs.
func (i incarnation) lives() bool {
	now, ok := incarnate(i.PID)
	return ok && now == i
}

// incarnate finds out when a process started; ok is false when there is none, or only its remains.
func incarnate(pid int) (i incarnation, ok bool) {
	start := askPS
	if runtime.GOOS == "linux" {
		start = readProc
	}
	s := start(pid)
	return incarnation{pid, s}, s != ""
}

// readProc reads the kernel's own record: the state is field 3, the start in ticks since boot
// field 22; see proc(5).
func readProc(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// Field 2 is the program's name in parentheses, which may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + fields[19]
}

// askPS asks where there is no /proc.
func askPS(pid int) string {
	c := exec.Command("ps", "-o", "stat=", "-o", "lstart=", "-p", strconv.Itoa(pid))
	c.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	out, err := c.Output()
	state, start, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || strings.HasPrefix(state, "Z") {
		return ""
	}
	return strings.TrimSpace(start)
}
