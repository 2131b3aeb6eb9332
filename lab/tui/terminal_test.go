package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/testdata/terminal"
)

// TestMain is also what the tests run in a terminal: a watcher whose history ends as asked for.
func TestMain(m *testing.M) {
	how := os.Getenv("TUI_TEST_ENDS")
	if how == "" {
		os.Exit(m.Run())
	}
	told := false
	err := Run(context.Background(), Options{Next: func(ctx context.Context) (*feed.Batch, error) {
		if !told {
			told = true
			return &feed.Batch{At: 1, Lab: &feed.Lab{Name: "told"}}, nil
		}
		switch how {
		case "panic":
			panic("the reader has a bug")
		case "error":
			return nil, errors.New("the line is cut")
		case "eof":
			return nil, io.EOF
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}, Lab: panicking{}})
	fmt.Fprintln(os.Stderr, "ended:", err)
}

// panicking has a bug in each action.
type panicking struct{ Lab }

func TestTerminalIsGivenBack(t *testing.T) {
	for _, c := range []struct{ ends, type_, want string }{
		{"panic", "", "panic: the reader has a bug"},
		{"error", "", "ended: the line is cut"},
		{"", "q", "ended: <nil>"},
		{"", terminal.CtrlC, "ended: interrupted"},
	} {
		t.Run(c.ends+strings.Trim(fmt.Sprintf("%q", c.type_), `"`), func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			ends := c.ends
			if ends == "" {
				ends = "never"
			}
			cmd.Env = append(os.Environ(), "TUI_TEST_ENDS="+ends, "TERM=xterm-256color")
			x := terminal.Start(t, cmd, 80, 24)
			if c.type_ != "" {
				x.Until("told")
				x.Type(c.type_)
			}
			code := x.Wait()
			if left := x.Restored(); left != "" {
				t.Errorf("the terminal is not as before: %s\n%s", left, x.Screen())
			}
			if c.ends == "panic" {
				if code != 2 || !strings.Contains(x.Written(), c.want) {
					t.Errorf("exit status %d, and what was wrong is not told:\n%s", code, x.Screen())
				}
				return
			}
			if !strings.Contains(x.Screen(), c.want) {
				t.Errorf("it does not say %q:\n%s", c.want, x.Screen())
			}
		})
	}
}
