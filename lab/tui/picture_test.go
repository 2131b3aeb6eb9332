package tui

import (
	"os"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/tui/screen"
)

// TestPicture keeps the picture of the documentation what the screen really shows; -update draws it
// again (`make screenshots`).
func TestPicture(t *testing.T) {
	s := scene{history: "shift", w: 110, h: 30}
	g := screen.NewGrid(s.w, s.h)
	s.play(t).Draw(g)
	got := g.SVG("mesh-lab watch: who calls whom, the split of a canary beside what is wanted")
	const file = "../../docs/watch.svg"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s is another picture; `make screenshots` draws it again", file)
	}
	for _, s := range []string{"recommendation", "wanted", "customer"} {
		if !strings.Contains(got, s) {
			t.Errorf("the picture does not show %q", s)
		}
	}
}
