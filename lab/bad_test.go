package lab_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mesh-lab/mesh-lab/lab"
)

// bomb is a billion laughs.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10))
	}
	return b.String()
}

// services are many small objects of about size bytes.
func services(size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, service+"---\n", fmt.Sprintf("s%d", i))
	}
	return b.String()
}

const delegates = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s}
spec: {%s http: [{delegate: {name: %s}}]}
---
`

const service = `
apiVersion: v1
kind: Service
metadata: {name: %s}
spec: {selector: {app: %[1]s}, ports: [{name: http, port: 80}]}
---
`

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: thing}
spec:
  selector: {matchLabels: {app: thing}}
  template:
    metadata: {labels: {app: thing}}
    spec: {containers: [{name: main, image: mesh-lab/echo, env: [{name: ECHO_STATUS, value: %q}]}]}
---
`

// TestBadInput gives commands what no one should: a clear error, the right exit status, nothing
// left.
func TestBadInput(t *testing.T) {
	huge := strings.Repeat("x", 10<<20)
	for _, c := range []struct {
		name, file, data string
		command          []string // FILE is the file
		status           int
		want             string // in the output
	}{
		{"bomb", "b.yaml", bomb(), []string{"validate", "FILE"}, 2, "b.yaml:"},
		{"bomb up", "b.yaml", bomb(), []string{"up", "-f", "FILE"}, 2, "b.yaml:"},
		{"bomb as scenario", "b.yaml", "name: x\nsteps: []\n" + bomb(),
			[]string{"run", "FILE"}, 2, "b.yaml:"},
		{"bomb as requests", "b.ndjson", bomb(), []string{
			"request", "--app", "customer", "--via-file", "FILE"}, 2, "b.ndjson:1: "},
		{"deep", "d.yaml", strings.Repeat("[", 5<<20), []string{"validate", "FILE"}, 2, "d.yaml:"},
		{"deep scenario", "d.yaml", "steps: " + strings.Repeat("[", 5<<20),
			[]string{"run", "FILE"}, 2, "d.yaml:"},
		{"deep JSON", "d.json", strings.Repeat(`{"a":`, 2<<20),
			[]string{"up", "-f", "FILE"}, 2, "d.json:"},
		{"one long word", "w.yaml", huge, []string{"validate", "FILE"}, 2, "w.yaml:"},
		{"one long value", "w.yaml",
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + huge + "}\n",
			[]string{"up", "-f", "FILE"}, 2, "w.yaml:"},
		{"large scenario", "w.yaml", "name: " + huge + "\n", []string{"run", "FILE"}, 2, "w.yaml:"},
		{"many objects", "s.yaml", services(1 << 20), []string{"validate", "FILE"}, 0, "0 errors"},
		{"binary scenario", "b.yaml", "\x7fELF\x00\x01",
			[]string{"run", "FILE"}, 2, "b.yaml:1:1: "},
		{"empty scenario", "e.yaml", "", []string{"run", "FILE"}, 2, "e.yaml:1:1: "},
		{"empty configuration", "e.yaml", "# nothing\n", []string{"up", "-f", "FILE"}, 2, "empty"},
		{"no scenario", "p.yaml", fmt.Sprintf(service, "a"), []string{"run", "FILE"}, 2, "p.yaml:"},
		{"duplicate names", "d.yaml", fmt.Sprintf(service, "a") + fmt.Sprintf(service, "a"),
			[]string{"validate", "FILE"}, 2, "d.yaml:"},
		{"duplicate keys", "d.yaml", "apiVersion: v1\nkind: Service\nkind: Service\n",
			[]string{"validate", "FILE"}, 2, "d.yaml:3:1: "},
		{"cycle of delegates", "c.yaml", fmt.Sprintf(service, "a") +
			fmt.Sprintf(delegates, "root", "hosts: [a],", "one") +
			fmt.Sprintf(delegates, "one", "", "two") +
			fmt.Sprintf(delegates, "two", "", "one"), []string{"validate", "FILE"}, 2, "c.yaml:"},
		{"app that can not start", "a.yaml", fmt.Sprintf(deployment, "nonsense"),
			[]string{"up", "-f", "FILE"}, 2, "pod thing-0.default: "},
		{"the same for a request", "a.yaml", fmt.Sprintf(deployment, "nonsense"),
			[]string{"request", "-f", "FILE", "--from", "thing", "http://thing/"}, 2,
			"ECHO_STATUS"},
		{"recorded run", "r.jsonl", `{"run":{"schema":"mesh-lab.dev/run/v1","steps":[{}]}}`,
			[]string{"report", "FILE"}, 2, "r.jsonl: "},
		{"unwritable report", "x", "", []string{"run", "canary", "--history", "FILE/x"}, 4,
			"x/x: not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("MESHLAB_STATE", filepath.Join(dir, "s"))
			t.Setenv("TMPDIR", dir)
			file := filepath.Join(dir, c.file)
			if err := os.WriteFile(file, []byte(c.data), 0o600); err != nil {
				t.Fatal(err)
			}
			for i := range c.command {
				c.command[i] = strings.Replace(c.command[i], "FILE", file, 1)
			}
			expect(t, c.command, c.status, c.want)
			left, err := filepath.Glob(filepath.Join(dir, "*"))
			sockets, serr := filepath.Glob(filepath.Join(dir, "s", "*"))
			if err != nil || serr != nil || len(sockets) > 0 {
				t.Errorf("left in the state directory: %v %v %v", sockets, err, serr)
			}
			for _, l := range left {
				if l != file && l != filepath.Join(dir, "s") {
					t.Errorf("%s is left", l)
				}
			}
		})
	}
}

// expect runs a command in this process; nothing may be left of it.
func expect(t *testing.T, args []string, status int, want string) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	fds := descriptors()
	var out, errs bytes.Buffer
	got := lab.Main(args, strings.NewReader(""), &out, &errs)
	said := out.String() + errs.String()
	if len(said) > 2000 {
		t.Errorf("it says %d bytes", len(said))
		said = said[:2000]
	}
	if got != status || !strings.Contains(said, want) {
		t.Errorf("exit status %d, want %d with %q:\n%s", got, status, want, said)
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
	if after := descriptors(); after > fds+1 { // the runtime's own poller comes once
		t.Errorf("%d file descriptors before, %d after", fds, after)
	}
}

func descriptors() int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(d)
}

// TestBadState is a state directory that can not be.
func TestBadState(t *testing.T) {
	t.Setenv("MESHLAB_STATE", "/dev/null/state")
	for _, args := range [][]string{
		{"up", "--app", "customer"}, {"get", "pods"}, {"down", "--all"},
	} {
		expect(t, args, 4, "MESHLAB_STATE names another")
	}
	t.Setenv("MESHLAB_STATE", filepath.Join(t.TempDir(), strings.Repeat("long", 30)))
	expect(t, []string{"up", "--app", "customer"}, 4, "the path is too long for a socket")
	expect(t, []string{"up", "--app", "customer", "--lab", "a/b"}, 2, `--lab "a/b": want a word`)
}
