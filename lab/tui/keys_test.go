package tui

import (
	"context"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/tui/screen"
)

// after plays a history, presses keys, and returns the app and what was done to the lab.
func after(t *testing.T, history, keys string) (*App, *fakeLab) {
	t.Helper()
	s := scene{history: history, keys: keys, w: 80, h: 24}
	a := s.play(t)
	return a, a.lab.(*fakeLab)
}

func TestWeightsAreAppliedAfterConfirmationAlone(t *testing.T) {
	for _, keys := range []string{"w Right Enter", "w Right Enter Esc", "w Right Enter n Esc", "w Esc"} {
		if _, lab := after(t, "canary", keys); len(lab.did) > 0 {
			t.Errorf("%s: %v", keys, lab.did)
		}
	}
	a, lab := after(t, "canary", "w Tab Right Right Enter y")
	if len(lab.did) != 1 || !strings.HasPrefix(lab.did[0], "apply default\n") {
		t.Fatalf("did %v", lab.did)
	}
	if !strings.Contains(lab.did[0], "weight: 80") || !strings.Contains(lab.did[0], "weight: 20") {
		t.Errorf("applied\n%s", lab.did[0])
	}
	if a.ui.Message != "configured: ACKed by 5 of 6 proxies" {
		t.Errorf("said %q", a.ui.Message)
	}
}

func TestShift(t *testing.T) {
	f := &screen.Form{Fields: []screen.Field{{Value: "50"}, {Value: "30"}, {Value: "20"}}}
	for _, c := range []struct {
		chosen, by int
		want       string
	}{
		{0, 5, "55 25 20"}, {0, 40, "95 0 5"}, {0, 40, "100 0 0"}, {0, -30, "70 30 0"},
		{2, 100, "0 0 100"}, {2, -500, "100 0 0"}, {1, 0, "100 0 0"},
	} {
		f.Chosen = c.chosen
		shift(f, c.by)
		var got []string
		for _, x := range f.Fields {
			got = append(got, x.Value)
		}
		if strings.Join(got, " ") != c.want {
			t.Fatalf("%+v: %v", c, got)
		}
	}
}

func TestWeightsKeepWhatElseIsWritten(t *testing.T) {
	in := "kind: VirtualService\nspec:\n  http:\n    - timeout: 3s\n      route:\n" +
		"        - destination: {host: a} # first\n        - destination: {host: b}\n          weight: 1\n"
	got, err := Weights(in, 0, []int{30, 70})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"timeout: 3s", "weight: 30", "weight: 70", "host: a", "# first"} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in\n%s", part, got)
		}
	}
	for _, bad := range []string{"", "[]", "spec: {}", "spec: {http: [{}]}", in[:70], "{"} {
		if _, err := Weights(bad, 0, []int{1, 2}); err == nil {
			t.Errorf("%q was changed", bad)
		}
	}
}

func TestLoadRunsUntilStopped(t *testing.T) {
	a := (&scene{history: "canary", w: 80, h: 24}).play(t)
	press(a, "l Enter", 80, 24)
	do := a.Key("y")
	ended := make(chan func(*App))
	go func() { ended <- do(context.Background()) }()
	if len(a.loads) != 1 {
		t.Fatalf("%d loads", len(a.loads))
	}
	a.Key("s")
	a.Key("s") // again: it is ending
	(<-ended)(a)
	if len(a.loads) != 0 || a.ui.Message != "the load has ended" {
		t.Errorf("%d loads, %q", len(a.loads), a.ui.Message)
	}
	if did := a.lab.(*fakeLab).did; did[0] != "load curl http://customer:8080/ 100 4" {
		t.Errorf("did %q", did)
	}
}

func TestFormsSayWhatIsWrong(t *testing.T) {
	a, lab := after(t, "canary", "l Tab Tab Backspace Backspace Backspace x Enter y")
	if a.ui.Form == nil || !strings.Contains(a.ui.Form.Problem, "qps: want a number") {
		t.Errorf("form %+v", a.ui.Form)
	}
	if len(lab.did) > 0 {
		t.Errorf("did %v", lab.did)
	}
}

func TestFaults(t *testing.T) {
	a, lab := after(t, "canary", "f Enter y")
	if len(lab.did) != 1 || lab.did[0] !=
		"break delay: {from: preference, to: recommendation-v1, by: 100ms}\n" {
		t.Errorf("did %q", lab.did)
	}
	if !a.ui.Failed || a.ui.Message != "no pod is called so" {
		t.Errorf("said %q", a.ui.Message)
	}
	s := scene{history: "abort", more: faulty, keys: "4 x Enter y", w: 80, h: 24}
	a = s.play(t)
	if did := a.lab.(*fakeLab).did; len(did) != 1 || did[0] != "heal delay" {
		t.Errorf("did %q", did)
	}
	press(a, "j j x", 80, 24) // the third is a VirtualService's
	if a.ui.Form != nil || !strings.Contains(a.ui.Message, "VirtualService default/recommendation") {
		t.Errorf("said %q", a.ui.Message)
	}
}

func TestSteppingStaysWithinWhatIsRemembered(t *testing.T) {
	a, _ := after(t, "canary", "")
	press(a, "h", 80, 24)
	if a.ui.Paused || a.ui.Message == "" {
		t.Error("steps without a pause")
	}
	press(a, "_ H H H H", 80, 24)
	if at := a.now(); at != a.model.Oldest() {
		t.Errorf("at %v, the oldest is %v", at, a.model.Oldest())
	}
	press(a, "L L L L", 80, 24)
	if at := a.now(); at != a.model.Now() {
		t.Errorf("at %v, now is %v", at, a.model.Now())
	}
}

func TestClicks(t *testing.T) {
	a, _ := after(t, "canary", "")
	a.Click(18, 1)
	if a.ui.Tab != screen.Service {
		t.Errorf("tab %v", a.ui.Tab)
	}
	press(a, "1", 80, 24)
	a.Click(10, 6)
	if a.ui.Service != "preference" {
		t.Errorf("service %q", a.ui.Service)
	}
	press(a, "3", 80, 24)
	a.Click(10, 9)
	if a.ui.Row[screen.Requests] != 3 || !a.ui.Paused {
		t.Errorf("row %d, paused %t", a.ui.Row[screen.Requests], a.ui.Paused)
	}
}

// TestAnyKeyAnywhere: no order of keys, and no size, makes it panic.
func TestAnyKeyAnywhere(t *testing.T) {
	all := []Key{"q", "?", "1", "2", "3", "4", "5", "6", "Tab", "Backtab", "/", " ", "Left", "h",
		"Right", "l", "S-Left", "L", "Esc", "Enter", "w", "f", "s", "x", "Up", "k", "Down", "j",
		"PgUp", "PgDn", "g", "G", "Home", "End", "Backspace", "y", "n", "é", ""}
	for _, history := range []string{"", "canary", "breaker"} {
		a := (&scene{history: history, w: 80, h: 24}).play(t)
		n := uint32(1)
		for i := range 3000 {
			n = n*1664525 + 1013904223
			k := all[int(n>>8)%len(all)]
			w, h := 80+int(n>>12)%100, 24+int(n>>16)%40
			if i%50 == 0 {
				w, h = int(n>>12)%80, int(n>>16)%24
			}
			if do := a.Key(k); do != nil {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				do(ctx)(a)
			}
			if i%7 == 0 {
				a.Draw(screen.NewGrid(w, h))
				a.Click(int(n>>10)%w1(w), int(n>>14)%w1(h))
			}
		}
	}
}

func w1(n int) int { return max(n, 1) }
