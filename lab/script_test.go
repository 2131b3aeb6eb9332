package lab_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mesh-lab/mesh-lab/lab"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"mesh-lab": func() { os.Exit(lab.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScript plays the command line as a user types it: testdata/script/*.txtar.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Condition: func(what string) (bool, error) {
			if what == "python" {
				_, err := exec.LookPath("python3")
				if err != nil && strings.Contains(os.Getenv("MESHLAB_REQUIRE"), "python") {
					return false, fmt.Errorf("python is required: %w", err)
				}
				return err == nil, nil
			}
			if what != "envoy" {
				return false, fmt.Errorf("there is no condition %q", what)
			}
			_, err := envoy.Locate(t.Context())
			if err != nil && strings.Contains(os.Getenv("MESHLAB_REQUIRE"), "envoy") {
				return false, fmt.Errorf("envoy is required: %w", err)
			}
			return err == nil, nil
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("MESHLAB_STATE", e.WorkDir+"/state")
			e.Setenv("NO_COLOR", "1")
			examples, err := filepath.Abs("../docs/examples")
			if err != nil {
				return err
			}
			e.Setenv("EXAMPLES", examples)
			e.Setenv("MESHLAB_ENVOY", os.Getenv("MESHLAB_ENVOY"))
			e.Values[key{}] = map[string]*process{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": status, "start": start, "signal": send, "ended": ended,
			"envoys": envoys, "address": address, "fetch": fetch, "underway": underway,
		},
	})
}

// process is a command that runs in the background, and what it has said.
type process struct {
	cmd    *exec.Cmd
	mu     sync.Mutex
	text   strings.Builder
	want   *regexp.Regexp
	seen   chan struct{} // closed when want is in the text
	waited chan error
}

// Write takes output of both kinds.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Write(b)
	if p.want != nil && p.want.MatchString(p.text.String()) {
		p.want = nil
		close(p.seen)
	}
	return len(b), nil
}

// await returns when the output has a match.
func (p *process) await(ts *testscript.TestScript, pattern string) {
	p.mu.Lock()
	p.seen, p.want = make(chan struct{}), regexp.MustCompile(pattern)
	p.mu.Unlock()
	p.Write(nil)
	select {
	case <-p.seen:
	case err := <-p.waited:
		p.waited <- err // for ended
		select {
		case <-p.seen: // it said it, and ended at once: all output was copied before
			return
		default:
		}
		ts.Fatalf("it ended (%v) before it said %s:\n%s", err, pattern, p.text.String())
	}
}

// start runs a command in the background and waits for its output: start NAME REGEXP command...
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: start NAME REGEXP command...")
	}
	self, err := exec.LookPath(args[2])
	if err != nil {
		ts.Fatalf("%v", err)
	}
	p := &process{cmd: exec.Command(self, args[3:]...), waited: make(chan error, 1)}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = ts.MkAbs("."), p, p
	p.cmd.Env = append(os.Environ(), "MESHLAB_STATE="+ts.Getenv("MESHLAB_STATE"), "NO_COLOR=1",
		"TMPDIR="+ts.Getenv("TMPDIR"))
	if err := p.cmd.Start(); err != nil {
		ts.Fatalf("%v", err)
	}
	go func() { p.waited <- p.cmd.Wait() }()
	ts.Defer(func() { p.cmd.Process.Kill() }) // an error says that it has ended
	processes(ts)[args[0]] = p
	p.await(ts, args[1])
}

// send sends a signal and may wait for an answer: signal NAME INT|TERM|KILL [REGEXP].
func send(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{
		"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL,
		"HUP": syscall.SIGHUP,
	}
	p := processes(ts)[args[0]]
	if err := p.cmd.Process.Signal(signals[args[1]]); err != nil {
		ts.Fatalf("%v", err)
	}
	if len(args) > 2 {
		p.await(ts, args[2])
	}
}

// ended waits for a command's end, checks its exit status, and keeps what it said in a file:
// ended NAME STATUS FILE.
func ended(ts *testscript.TestScript, neg bool, args []string) {
	p := processes(ts)[args[0]]
	err := <-p.waited
	code := "0"
	if err != nil {
		code = exitCode(err)
	}
	ts.Logf("%s", p.text.String())
	if code != args[1] {
		ts.Fatalf("exit status %s, want %s", code, args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(p.text.String()), 0o600))
}

// envoys waits until so many real Envoys of this script's labs run: envoys N. They are known by their
// bootstrap files.
func envoys(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	late := time.After(10 * time.Second)
	for {
		got := countEnvoys(ts.Getenv("MESHLAB_STATE"))
		if got == want {
			return
		}
		select {
		case <-t.C:
		case <-late:
			ts.Fatalf("%d Envoys run, want %d", got, want)
		}
	}
}

// countEnvoys counts the processes whose command line names a file below a folder.
func countEnvoys(folder string) (n int) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // only a bad pattern fails
	for _, name := range lines {
		text, err := os.ReadFile(name)
		if err == nil && bytes.Contains(text, []byte(folder+"/envoy/")) {
			n++
		}
	}
	return n
}

func processes(ts *testscript.TestScript) map[string]*process {
	return ts.Value(key{}).(map[string]*process)
}

type key struct{}

// status runs a command and checks its exit status: status 2 mesh-lab why.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		code = exitCode(err)
	}
	if code != args[0] {
		ts.Fatalf("exit status %s, want %s", code, args[0])
	}
}

func exitCode(err error) string {
	var msg = err.Error()
	if n := len("exit status "); len(msg) > n && msg[:n] == "exit status " {
		return msg[n:]
	}
	return msg
}
