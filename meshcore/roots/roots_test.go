package roots

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFirst(t *testing.T) {
	dir := t.TempDir()
	empty, full := filepath.Join(dir, "empty"), filepath.Join(dir, "full")
	for name, text := range map[string]string{empty: "", full: "roots"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := first([]string{filepath.Join(dir, "none"), empty, full}); string(got) != "roots" {
		t.Errorf("got %q, want the first file that has something", got)
	}
	if got := first([]string{empty}); got != nil {
		t.Errorf("got %q where there are none", got)
	}
}
