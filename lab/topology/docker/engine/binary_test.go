package engine_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
)

// TestPart: where the binary that runs is none for the machine of the containers, a Linux build of
// it is taken: the one that is named, the one beside it; without any it is said what to do.
func TestPart(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e := &engine.Engine{Arch: "other"}
	t.Setenv("PATH", "") // no go that would build one
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	var u *engine.UnusableError
	if _, err := e.Part(t.Context()); !errors.As(err, &u) ||
		!strings.Contains(u.Why, "need a linux/other build") ||
		!strings.Contains(u.Do, "mesh-lab-linux-other") ||
		!strings.Contains(u.Do, engine.BinaryVariable) {
		t.Errorf("there is none: %v", err)
	}
	from := func(want string) {
		t.Helper()
		i, err := e.Part(t.Context())
		if err != nil || len(i.Files) == 0 || i.Files[0].From != want ||
			i.Files[0].Path != "/mesh-lab" {
			t.Errorf("want %s: %+v, %v", want, i, err)
		}
	}
	beside := filepath.Join(filepath.Dir(self), "mesh-lab-linux-other")
	if err := os.Symlink(self, beside); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(beside)
	from(beside)
	named := filepath.Join(t.TempDir(), "named")
	if err := os.Symlink(self, named); err != nil {
		t.Fatal(err)
	}
	t.Setenv(engine.BinaryVariable, named)
	from(named)
}
