package incarnation_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/incarnation"
)

// TestDirs: directories of processes that have ended are found, those of the living and of others
// are not.
func TestDirs(t *testing.T) {
	dir := t.TempDir()
	own, err := incarnation.MkdirTemp(dir, "x-")
	if err != nil {
		t.Fatal(err)
	}
	dead := []string{
		fmt.Sprintf("x-%d-00000000-1", os.Getpid()), // of who had this id before
		"x-2000000000-0123abcd-1",                   // no such process
	}
	for _, name := range append([]string{"x-1000", "x-0-0123abcd-1", "x-a-b-c", "y-2000000000-0123abcd-1",
		"x-2000000000-0123-1"}, dead...) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, d := range incarnation.Dirs(dir, "x-") {
		got = append(got, filepath.Base(d))
	}
	if slices.Sort(dead); !slices.Equal(got, dead) {
		t.Errorf("of the dead: %q; want %q; %q is this process'", got, dead, filepath.Base(own))
	}
	if got := incarnation.Dirs(filepath.Join(dir, "none"), "x-"); got != nil {
		t.Errorf("in no directory: %q", got)
	}
}
