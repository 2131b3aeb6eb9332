package lab_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/mesh-lab/mesh-lab/testdata/terminal"
)

// watching brings a lab up and starts the program in a terminal on it.
func watching(t *testing.T, columns, rows int, args ...string) *terminal.Terminal {
	t.Helper()
	state, err := os.MkdirTemp("", "w") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	env := append(os.Environ(), "MESHLAB_STATE="+state, "TERM=xterm-256color", "NO_COLOR=")
	run := func(args ...string) *exec.Cmd {
		c := exec.Command("mesh-lab", args...)
		c.Env = env
		return c
	}
	istio, err := filepath.Abs("../scenarios/istio")
	if err != nil {
		t.Fatal(err)
	}
	up := run("up", "--detach", "--app", "customer", "-f", istio+"/recommendation-subsets.yaml",
		"-f", istio+"/recommendation-90-10.yaml")
	if out, err := up.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Name() == "TestWatchLabGone" {
			return
		}
		if out, err := run("down").CombinedOutput(); err != nil {
			t.Errorf("the lab does not go down: %v\n%s", err, out)
		}
	})
	return terminal.Start(t, run(append([]string{"watch"}, args...)...), columns, rows)
}

// share finds a version's share on the screen, in percent; -1: it is not there.
func share(screen, version string) float64 {
	m := regexp.MustCompile(`▪ ` + version + ` .*?([0-9.]+) %`).FindStringSubmatch(screen)
	if m == nil {
		return -1
	}
	p, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return -1
	}
	return p
}

// TestWatchCanary goes through a canary in a terminal: it starts a load, sees the split, filters,
// has a request explained, changes a weight and sees the split follow, and leaves.
func TestWatchCanary(t *testing.T) {
	x := watching(t, 100, 32)
	x.Until("● live", "No request has been seen yet")
	x.Type("l")
	x.Until("start a load", "load: {from: curl", "http://customer:8080/", "$ mesh-lab load --from curl")
	x.Type(terminal.Enter)
	x.Until("Do it?")
	x.Type("y")
	x.Until("▶ 1 load", "└─ customer", "recommendation")
	x.UntilSo("a tenth at v2", func(s string) bool {
		p := share(s, "v2")
		return p > 2 && p < 25 && strings.Contains(s, "wanted 10")
	})

	x.Type("/")
	x.Type("version:v2 to:recommendation" + terminal.Enter)
	x.UntilSo("requests to v2 alone", func(s string) bool {
		return strings.Contains(s, "recommendation v2") && !strings.Contains(s, "recommendation v1") &&
			!strings.Contains(s, "curl → customer")
	})
	x.Type("j" + terminal.Enter)
	x.Until("why  GET /", "curl-0")
	x.Type(terminal.Escape)
	x.Until("paused", "version:v2")
	x.Type(" ")
	x.Until("● live")

	x.Type("1w")
	x.Until("weights of recommendation", "weight: 90")
	for range 8 {
		x.Type(terminal.Left)
	}
	x.Until("weight: 50", "$ mesh-lab apply -f -")
	x.Type(terminal.Enter)
	x.Until("Do it?")
	x.Type("y")
	x.Until("configured: ACKed by", "wanted 50")
	x.UntilSo("halves", func(s string) bool {
		p := share(s, "v2")
		return p > 40 && p < 60
	})

	x.Resize(120, 40)
	x.UntilSo("the larger screen", func(s string) bool {
		line, _, _ := strings.Cut(s, "\n")
		return len([]rune(strings.TrimRight(line, " "))) > 110
	})
	x.Type("s")
	x.Until("the load of curl has ended")
	x.Type("q")
	if code := x.Wait(); code != 0 {
		t.Errorf("exit status %d:\n%s", code, x.Screen())
	}
	if left := x.Restored(); left != "" {
		t.Errorf("the terminal is not as before: %s\n%s", left, x.Screen())
	}
}

// TestWatchSignals gives the terminal back when it is told to end, or its window is closed.
func TestWatchSignals(t *testing.T) {
	for name, end := range map[string]func(*terminal.Terminal){
		"SIGTERM": func(x *terminal.Terminal) { x.Signal(syscall.SIGTERM) },
		"SIGHUP":  func(x *terminal.Terminal) { x.Signal(syscall.SIGHUP) },
	} {
		t.Run(name, func(t *testing.T) {
			x := watching(t, 80, 24)
			x.Until("● live")
			end(x)
			if code := x.Wait(); code != 130 {
				t.Errorf("exit status %d:\n%s", code, x.Screen())
			}
			if left := x.Restored(); left != "" {
				t.Errorf("the terminal is not as before: %s", left)
			}
		})
	}
}

// TestWatchLabGone says so when the lab goes down, and leaves what was seen.
func TestWatchLabGone(t *testing.T) {
	x := watching(t, 80, 24, "--color", "never")
	x.Until("● live")
	down := exec.Command("mesh-lab", "down")
	down.Env = x.Env()
	if out, err := down.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	x.Until("■ the lab is down")
	x.Type("q")
	if code := x.Wait(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

const short = `name: short
about: A hundred requests.
mesh: {app: customer, config: recommendation-subsets.yaml}
steps:
  - name: a hundred
    apply: recommendation-90-10.yaml
    load: {from: curl, to: "http://customer:8080/", requests: 100, connections: 2}
    expect:
      - success: 100%
`

// TestRunWatch shows a run until it is over, and then its report where reports are written.
func TestRunWatch(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../scenarios/istio")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "short.yaml")
	if err := os.WriteFile(file, []byte(short), 0o644); err != nil {
		t.Fatal(err)
	}
	run := exec.Command("mesh-lab", "run", file, "--watch")
	run.Env = append(os.Environ(), "MESHLAB_STATE="+t.TempDir(), "TERM=xterm-256color")
	x := terminal.Start(t, run, 100, 30)
	x.Until("■ pass")
	x.Type("5")
	x.Until("✔ 1  a hundred", "✔ success", "PASS")
	x.Type("w")
	x.Until("nothing can be changed here: the scenario decides")
	x.Type("q")
	if code := x.Wait(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if left := x.Restored(); left != "" {
		t.Errorf("the terminal is not as before: %s", left)
	}
	if s := x.Screen(); !strings.Contains(s, "PASS") || !strings.Contains(s, "a hundred") {
		t.Errorf("no report:\n%s", s)
	}
}
