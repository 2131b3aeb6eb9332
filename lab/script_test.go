package lab_test

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mesh-lab/mesh-lab/lab"
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
		Setup: func(e *testscript.Env) error {
			e.Setenv("MESHLAB_STATE", e.WorkDir+"/state")
			e.Setenv("NO_COLOR", "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
	})
}

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
