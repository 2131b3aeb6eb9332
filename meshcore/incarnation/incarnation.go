// Package incarnation tells one life of a process from another: its id may be given to another once
// it is gone, the time that it started can not.
package incarnation

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// Incarnation is one life of a process.
type Incarnation struct {
	PID   int    `json:"pid"`
	Start string `json:"start"`
}

// Lives says whether this very process runs.
func (i Incarnation) Lives() bool {
	now, ok := Of(i.PID)
	return ok && now == i
}

// Of finds out when a process started; ok is false when there is none, or only its remains.
func Of(pid int) (i Incarnation, ok bool) {
	start := AskPS
	if runtime.GOOS == "linux" {
		start = ReadProc
	}
	s := start(pid)
	return Incarnation{pid, s}, s != ""
}

// Self is this process.
func Self() (i Incarnation, ok bool) { return Of(os.Getpid()) }

// ReadProc reads the kernel's own record: the state is field 3, the start in ticks since boot
// field 22; see proc(5).
func ReadProc(pid int) string {
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

// AskPS asks where there is no /proc.
func AskPS(pid int) string {
	c := exec.Command("ps", "-o", "stat=", "-o", "lstart=", "-p", strconv.Itoa(pid))
	c.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	out, err := c.Output()
	state, start, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || strings.HasPrefix(state, "Z") {
		return ""
	}
	return strings.TrimSpace(start)
}
