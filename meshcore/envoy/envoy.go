// Package envoy finds the real Envoy and runs it: one process for each pod, watched until it ends.
//
//	Locate ─▶ Binary ─▶ Start ─▶ Process ──▶ Exited, Err      how it ended, with its log's tail
//	                      │         ├─ Stop, Kill             returns when it is reaped
//	   Control (ADS), Reports (ALS) ◀┤
//	                                ├─ Admin, Stats           over a unix socket
//	                                └─ Ejections              outlier events, as they come
//	Sweep ─▶ what a killed mesh-lab left behind
//	Validate ─▶ what Envoy says about a snapshot, without serving it
//
// It makes no resources, does not know what a mesh is, and waits for nobody to be ready.
package envoy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Options configure one Envoy.
type Options struct {
	Binary  Binary
	Node    *corev3.Node // id, cluster, metadata
	Control string       // the unix socket where ADS is served ("@name": abstract)
	Reports string       // the same for the access log service; empty: none
	Source  netip.Addr   // where upstream connections come from by default; may be invalid
	Delta   bool         // delta xDS; otherwise the state of the world
	Dir     string       // the run directory: bootstrap, log, pid file
	Name    string       // what the files in Dir are called: POD.NAMESPACE

	// AccessLog takes the lines that Envoy writes to /dev/stdout, each with its end; nil: they
	// stand in its log. line is borrowed, and it is called by one goroutine at a time.
	AccessLog func(line []byte)
	// Ejections is given each line of the outlier detection event log, as it comes, one after the
	// other. It may be nil.
	Ejections func(line []byte)
	Log       *slog.Logger // may be nil
	Level     string       // Envoy's -l; empty: warning
}

// Process is one running Envoy. Its methods are safe for concurrent use.
type Process struct {
	options Options
	files   files
	cmd     *exec.Cmd
	client  *http.Client
	exited  chan struct{}

	mu    sync.Mutex
	ended bool  // by Stop or Kill
	err   error // set before exited is closed
}

// Start starts an Envoy. It returns once the process is there, which is before it is ready; the
// process outlives ctx.
func Start(ctx context.Context, o Options) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Level == "" {
		o.Level = "warning"
	}
	p := &Process{options: o, exited: make(chan struct{})}
	if err := p.start(); err != nil {
		return nil, fmt.Errorf("start envoy for %s: %w", o.Name, err)
	}
	o.Log.Debug("envoy started", "node", o.Name, "pid", p.PID())
	return p, nil
}

func (p *Process) start() (err error) {
	if p.files, err = newFiles(p.options.Dir, p.options.Name); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.files.remove()
		}
	}()
	p.client = dialing(p.files.admin)
	text, err := bootstrap(p.options, p.files.admin)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.files.bootstrap, text, 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(p.files.log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.command(log)
	return p.run()
}

// command prepares the process. Its log is its standard error, which is our file: what the dynamic
// linker or a crash says is in it, and nothing that Envoy had buffered is lost when it dies.
func (p *Process) command(log *os.File) {
	p.cmd = exec.Command(p.options.Binary.Path, arguments(p.options.Level, p.files.bootstrap)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if p.options.AccessLog != nil {
		p.cmd.Stdout = &lineWriter{take: p.options.AccessLog}
	}
	p.cmd.SysProcAttr = attributes()
}

// arguments are Envoy's. How listeners drain is as Istio has it (pkg/envoy/proxy.go, and 45 s in
// pkg/config/mesh/mesh.go). What Envoy writes to files (the outlier event log, access logs) it
// hands over with each write, by a minimum of no bytes: its timer would be 10 s late.
func arguments(level, file string) []string {
	return []string{
		"-c", file, "-l", level,
		"--concurrency", "1", "--disable-hot-restart",
		"--drain-time-s", "45", "--drain-strategy", "immediate",
		"--file-flush-min-size-kb", "0",
		"--skip-deprecated-logs",
	}
}

// run starts the process and watches it.
func (p *Process) run() error {
	events := make(chan struct{})
	reader, writer, err := p.events()
	if err != nil {
		return err
	}
	started := make(chan error)
	go func() {
		// The parent-death signal comes when the thread that forked ends, and Go may end a thread
		// at any time (golang/go#27505). This one waits for the process and so lives as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		if err == nil {
			err = p.files.writePID(p.cmd.Process.Pid)
			if err != nil {
				_ = p.cmd.Process.Kill()
				_ = p.cmd.Wait() // it was killed
			}
		}
		started <- err
		if err == nil {
			p.reap(reader, events)
		}
	}()
	err = <-started
	if writer != nil {
		writer.Close()
	}
	if err != nil {
		if reader != nil {
			reader.Close()
		}
		return err
	}
	go p.follow(reader, events)
	return nil
}

// events makes the pipe that Envoy writes its outlier events to. It is Envoy's descriptor 3, named
// in the bootstrap as a path, so that there is no file to leave behind and its end is seen.
func (p *Process) events() (reader, writer *os.File, err error) {
	if p.options.Ejections == nil {
		return nil, nil, nil
	}
	if reader, writer, err = os.Pipe(); err == nil {
		p.cmd.ExtraFiles = []*os.File{writer}
	}
	return reader, writer, err
}

// follow passes events on until Envoy ends.
func (p *Process) follow(reader *os.File, done chan struct{}) {
	defer close(done)
	if reader == nil {
		return
	}
	defer reader.Close()
	lines := bufio.NewReader(reader)
	for {
		line, err := lines.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			p.options.Ejections(line)
		}
		if err != nil {
			return
		}
	}
}

// reap waits for the process, and for its last events.
func (p *Process) reap(reader *os.File, events chan struct{}) {
	err := p.cmd.Wait()
	if reader != nil {
		// Another process that holds the pipe is none of ours to wait for.
		_ = reader.SetReadDeadline(time.Now().Add(time.Second)) // fails when it is closed: good
	}
	<-events
	p.client.CloseIdleConnections()
	p.files.remove()
	p.mu.Lock()
	if !p.ended {
		p.err = p.died(err)
	}
	p.mu.Unlock()
	close(p.exited)
}

// died says how a process ended that nobody stopped.
func (p *Process) died(err error) error {
	how := "exit status 0"
	if err != nil {
		how = err.Error()
	}
	p.options.Log.Warn("envoy ended by itself", "node", p.options.Name, "err", how)
	return fmt.Errorf("the envoy of %s (pid %d) ended by itself: %s; the end of its log %s:\n%s",
		p.options.Name, p.PID(), how, p.files.log, p.LogTail(20))
}

// Exited is closed when the process has ended and is reaped.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err says how the process ended, with the tail of its log and where the log is; nil while it runs
// and when Stop or Kill ended it.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop ends the process with SIGTERM, and with SIGKILL when ctx ends. It returns when the process
// is reaped; the error says that it had to be killed.
func (p *Process) Stop(ctx context.Context) error {
	// One that is paused must wake up to end.
	if err := p.end(syscall.SIGTERM, syscall.SIGCONT); err != nil {
		return fmt.Errorf("stop the envoy of %s: %w", p.options.Name, err)
	}
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
	}
	if err := p.Kill(); err != nil {
		return err
	}
	return fmt.Errorf("the envoy of %s did not end by SIGTERM and was killed: %w",
		p.options.Name, context.Cause(ctx))
}

// Kill ends the process with SIGKILL, as a node is lost. It returns when the process is reaped.
func (p *Process) Kill() error {
	err := p.end(syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("kill the envoy of %s: %w", p.options.Name, err)
	}
	<-p.exited
	return nil
}

// Pause stops the process with SIGSTOP: its connections stay open, and nothing answers until
// Resume. Stop and Kill may be called meanwhile, and a mesh-lab that is killed takes it along.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume has a paused process go on.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

// Paused says whether the process is stopped, where the system tells (Linux).
func (p *Process) Paused() bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return false
	}
	// Field 2 is the program's name in parentheses, which may hold anything; the state follows.
	_, state, _ := bytes.Cut(text[max(0, bytes.LastIndexByte(text, ')')):], []byte(" "))
	return bytes.HasPrefix(state, []byte("T"))
}

// signal sends a signal to a process that runs.
func (p *Process) signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s to the envoy of %s: %w", s, p.options.Name, err)
	}
	return nil
}

// end sends signals to a process that may be gone.
func (p *Process) end(signals ...os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil
	}
	p.ended = true
	for _, s := range signals {
		if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
	}
	return nil
}

// LogPath returns where the process' log is. The file stays when the process has ended.
func (p *Process) LogPath() string { return p.files.log }

// LogTail returns the last lines of the log.
func (p *Process) LogTail(lines int) string {
	const most = 64 << 10
	f, err := os.Open(p.files.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-most), io.SeekStart) // a plain file: it can
	}
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// files are what one process has in the run directory.
type files struct{ bootstrap, log, pid, admin string }

func newFiles(dir, name string) (files, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return files{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return files{}, err
	}
	admin, err := adminAddress(runtime.GOOS, dir)
	if err != nil {
		return files{}, err
	}
	at := func(suffix string) string { return filepath.Join(dir, stem(name)+suffix) }
	return files{at(".json"), at(".log"), at(".pid"), admin}, nil
}

// remove removes all but the log.
func (f files) remove() {
	for _, name := range []string{f.bootstrap, f.pid, f.admin} {
		_ = os.Remove(name) // it may be gone; an abstract socket never was there
	}
}

// lineWriter passes whole lines on.
type lineWriter struct {
	take func(line []byte)
	rest []byte
}

// Write takes a piece of the output.
func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		n := bytes.IndexByte(w.rest, '\n') + 1
		if n == 0 {
			return len(b), nil
		}
		w.take(w.rest[:n])
		w.rest = append(w.rest[:0], w.rest[n:]...)
	}
}
