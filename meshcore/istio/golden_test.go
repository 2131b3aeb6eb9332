package istio

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestGolden reads testdata/NAME.yaml and compares all diagnostics with NAME.diagnostics.txt.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	wanted := map[string]bool{}
	for _, f := range files {
		golden := strings.TrimSuffix(f, ".yaml") + ".diagnostics.txt"
		wanted[golden] = true
		t.Run(filepath.Base(f), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			config, diags := Read([]File{{Name: filepath.Base(f), Data: data}}, ReadOptions{})
			if !HasErrors(diags) {
				diags = append(diags, CrossCheck(config)...)
			}
			compare(t, golden, text(diags))
		})
	}
	stale, _ := filepath.Glob("testdata/*.diagnostics.txt")
	for _, f := range stale {
		if wanted[f] {
			continue
		}
		if t.Errorf("%s has no input", f); *update {
			os.Remove(f)
		}
	}
}

func compare(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", golden, diff)
	}
}
