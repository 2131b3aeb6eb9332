package own

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// guard is a shell that leads a process group. It dies only with the group, which it kills when the
// pipe that it reads ends: with us, however we end. A command's own children are in the group, too,
// which the kernel's parent-death signal would not reach.
const guard = `trap '' TERM INT HUP QUIT; echo; read -r _; kill -s KILL 0`

// group is a process group whose processes do not outlive us.
type group struct {
	guard *exec.Cmd
	alive *os.File // what the guard reads the end of
	once  sync.Once
}

// newGroup makes one with nothing but its guard.
func newGroup() (*group, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	g := &group{guard: exec.Command("/bin/sh", "-c", guard), alive: w}
	g.guard.Stdin = r
	g.guard.Env = []string{}
	g.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := g.guard.StdoutPipe()
	if err == nil {
		err = g.guard.Start()
	}
	r.Close()
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("a shell that guards the command: %w", err)
	}
	if _, err := bufio.NewReader(out).ReadByte(); err != nil { // before it, a signal would end it
		g.kill()
		return nil, errors.New("a shell that guards the command ended")
	}
	return g, nil
}

// add has a command start in the group.
func (g *group) add(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: g.guard.Process.Pid}
}

// terminate asks all processes to end.
func (g *group) terminate(command int) {
	for _, pid := range []int{-g.guard.Process.Pid, g.apart(command)} {
		if pid != 0 { // its processes may have ended; one that is stopped must wake to end
			_ = syscall.Kill(pid, syscall.SIGTERM)
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
}

// stopped has the processes of the group stop, or go on. The guard goes on in any case: it ends the
// others when we are gone, and SIGKILL ends those that are stopped, too.
func (g *group) stopped(stop bool) error {
	sig := syscall.SIGCONT
	if stop {
		sig = syscall.SIGSTOP
	}
	err := syscall.Kill(-g.guard.Process.Pid, sig)
	if stop {
		err = errors.Join(err, syscall.Kill(g.guard.Process.Pid, syscall.SIGCONT))
	}
	return err
}

// apart is whom a signal is sent for a command that has left the group, as with setsid: the group
// that it leads now, or itself; 0 while it is in ours.
func (g *group) apart(command int) int {
	switch in, err := syscall.Getpgid(command); {
	case err != nil, in == g.guard.Process.Pid:
		return 0
	case in == command:
		return -command
	}
	return command
}

// killApart ends a command that has left the group.
func (g *group) killApart(command int) {
	if pid := g.apart(command); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
}

// kill ends what is left of the group. It may be called again: the group's number is nobody else's
// as long as its guard has not been waited for.
func (g *group) kill() {
	g.once.Do(func() {
		_ = syscall.Kill(-g.guard.Process.Pid, syscall.SIGKILL) // the guard at least is there
		_ = g.guard.Wait()                                      // it was killed
		g.alive.Close()
	})
}

// longestLine is where a line of output is cut.
const longestLine = 64 << 10

// output is what a command writes, line by line.
type output struct {
	take func(line []byte)
	done chan struct{}
	r    *os.File

	mu   sync.Mutex
	last [][]byte
}

// kept is how many lines are shown of a command that has crashed.
const kept = 10

// newOutput returns where to write, which the caller closes when the command has it.
func newOutput(take func([]byte)) (*output, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	o := &output{take: take, done: make(chan struct{}), r: r}
	go o.read()
	return o, w, nil
}

func (o *output) read() {
	defer close(o.done)
	defer o.r.Close()
	in := bufio.NewReaderSize(o.r, longestLine)
	for {
		line, err := in.ReadSlice('\n')
		if n := len(line); n > 0 {
			if line[n-1] == '\n' {
				line = line[:n-1]
			}
			o.keep(line)
			if o.take != nil {
				o.take(line)
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return // io.EOF, or too late
		}
	}
}

func (o *output) keep(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.last) == kept {
		o.last = append(o.last[:0], o.last[1:]...)
	}
	o.last = append(o.last, append([]byte(nil), line...))
}

// tail returns the last lines.
func (o *output) tail() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([][]byte(nil), o.last...)
}

// end waits until everything is read. A process that left the group may hold the pipe for ever.
func (o *output) end() {
	_ = o.r.SetReadDeadline(time.Now().Add(time.Second)) // it may have ended already
	<-o.done
}
