package tui

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gdamore/tcell/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/lab/tui/screen"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

var update = flag.Bool("update", false, "rewrite the golden screens")

// recorded reads what a watcher of a real lab was told.
func recorded(t testing.TB, name string) []*feed.Batch {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []*feed.Batch
	lines := bufio.NewReader(z)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 && err != nil {
			return out
		}
		b := &feed.Batch{}
		if err := json.Unmarshal(line, b); err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
}

// fakeLab does nothing, and says so.
type fakeLab struct{ did []string }

func (f *fakeLab) Apply(_ context.Context, ns, yaml string) (string, error) {
	f.did = append(f.did, "apply "+ns+"\n"+yaml)
	return "configured: ACKed by 5 of 6 proxies", nil
}

func (f *fakeLab) Load(ctx context.Context, l Load) (string, error) {
	f.did = append(f.did, fmt.Sprintf("load %s %s %g %d", l.From, l.URL, l.QPS, l.Connections))
	<-ctx.Done()
	return "the load has ended", nil
}

func (f *fakeLab) Break(_ context.Context, yaml string) (string, error) {
	f.did = append(f.did, "break "+yaml)
	return "", errors.New("no pod is called so")
}

func (f *fakeLab) Heal(_ context.Context, name string) (string, error) {
	f.did = append(f.did, "heal "+name)
	return "healed", nil
}

func (f *fakeLab) Why(_ context.Context, _ string, hops []observe.Request) ([]string, error) {
	return Hops(hops), nil
}

// scene is a screen: what was told, which keys were pressed, how large it is.
type scene struct {
	name    string
	history string
	more    func([]*feed.Batch) []*feed.Batch // tells more
	keys    string
	w, h    int
	watch   bool // nothing may be changed
	inks    bool // compared too
}

var scenes = []scene{
	{name: "overview", history: "canary", w: 80, h: 24, inks: true},
	{name: "wide", history: "canary", w: 140, h: 40},
	{name: "shift", history: "shift", w: 200, h: 60},
	{name: "service", history: "canary", keys: "2", w: 120, h: 36, inks: true},
	{name: "requests", history: "canary", keys: "/ to:recommendation _version:v2 Enter j j", w: 80, h: 24},
	{name: "why", history: "canary", keys: "3 j Enter", w: 100, h: 30},
	{name: "paused", history: "canary", keys: "_ H h h", w: 80, h: 24},
	{name: "drift", history: "canary", more: halfWanted, w: 80, h: 24, inks: true},
	{name: "faults", history: "abort", more: faulty, keys: "4", w: 80, h: 24, inks: true},
	{name: "aborted", history: "abort", keys: "3 / 5xx Enter", w: 80, h: 24},
	{name: "breaker", history: "breaker", more: ejecting, w: 80, h: 24, inks: true},
	{name: "breaker-service", history: "breaker", more: ejecting, keys: "2", w: 80, h: 24},
	{name: "steps", history: "canary", more: failing, keys: "5", w: 80, h: 24, watch: true, inks: true},
	{name: "expected", history: "canary", more: failing, w: 80, h: 24, watch: true},
	{name: "refused", history: "canary", more: nacked, keys: "6", w: 80, h: 24},
	{name: "help", history: "canary", keys: "?", w: 80, h: 24},
	{name: "weights", history: "canary", keys: "w Right Right Right", w: 80, h: 24, inks: true},
	{name: "sure", history: "canary", keys: "w Right Enter", w: 80, h: 24},
	{name: "load", history: "canary", keys: "l Tab", w: 80, h: 24},
	{name: "break", history: "canary", keys: "f Right", w: 80, h: 24},
	{name: "decides", history: "canary", keys: "w", w: 80, h: 24, watch: true},
	{name: "sampled", history: "canary", more: sampled, w: 80, h: 24},
	{name: "empty", w: 80, h: 24},
	{name: "small", history: "canary", w: 60, h: 20},
}

// halfWanted tells of a route that wants halves from the beginning on.
func halfWanted(all []*feed.Batch) []*feed.Batch {
	for i := range all[0].Config.Splits[0].Parts {
		all[0].Config.Splits[0].Parts[i].Weight = 50
	}
	return all
}

func faulty(all []*feed.Batch) []*feed.Batch {
	last := all[len(all)-1]
	last.Faults = append(last.Faults, observe.Fault{ID: 1, From: last.At - 2e9, Name: "delay",
		Kind: "link", Target: "customer-0.default → preference-0.default", Fired: 1234,
		Unit: "bytes delayed", Bytes: 56789, First: last.At - 19e8, Last: last.At - 1e8},
		observe.Fault{ID: 2, From: last.At - 1e9, Kind: "partition", Target: "curl ↔ customer",
			Unit: "packets dropped"})
	return all
}

func ejecting(all []*feed.Batch) []*feed.Batch {
	last := all[len(all)-1]
	for _, p := range all[0].Config.Pods {
		if p.App == "recommendation" && p.Version == "v2" {
			last.Changes = append(last.Changes, observe.Change{At: last.At - 3e9, Kind: "eject",
				What: "outbound|8080||recommendation.default.svc.cluster.local " + p.IP + ":8080",
				By:   "curl-0.default"})
		}
	}
	return all
}

func failing(all []*feed.Batch) []*feed.Batch {
	since := clock.Instant(2e9)
	all[len(all)-1].Story = &feed.Story{Name: "canary", About: "Send a tenth to v2, then half.",
		Steps: []feed.Step{
			{Name: "one in ten", State: feed.Done, Verdict: assert.Fail, Said: []assert.Verdict{
				{Name: "split recommendation", Outcome: assert.Fail, Wanted: "90 / 10 ± 5",
					Observed: "v1 75.0 %  v2 25.0 %", Since: &since,
					Reason: "v2: 15.0 points more than wanted"},
				{Name: "success", Outcome: assert.Pass, Observed: "100 %"}}},
			{Name: "half", State: feed.Running, Doing: "load", Sent: 1234, Failed: 2,
				Splits: []feed.Wanted{{Service: "recommendation", Tolerance: 0.08,
					Shares: map[string]float64{"v1": 0.5, "v2": 0.5}}},
				Said: []assert.Verdict{{Name: "split recommendation", Wanted: "50 / 50 ± 8",
					Observed: "v1 51.0 %  v2 49.0 %"}}},
			{Name: "everyone", State: feed.Waiting, Wants: []string{"split recommendation", "success"}},
		}}
	return all
}

func nacked(all []*feed.Batch) []*feed.Batch {
	for _, b := range all {
		if len(b.Proxies) > 0 {
			b.Proxies[0].Types[0].Nack = "cluster outbound|8080|v1|x: lb_policy 7 is not supported"
			b.Proxies[1].Types[1].Acked = "00"
		}
	}
	return all
}

func sampled(all []*feed.Batch) []*feed.Batch {
	all[len(all)-1].Every = 4
	return all
}

// play returns an app that was told a history and given keys.
func (s *scene) play(t testing.TB) *App {
	a := NewApp(&fakeLab{}, "default", !s.watch, true)
	if s.history != "" {
		all := recorded(t, s.history)
		if s.more != nil {
			all = s.more(all)
		}
		for _, b := range all {
			a.Take(b)
		}
	}
	press(a, s.keys, s.w, s.h)
	return a
}

// press gives an app keys; _ is a space. A word that is no key's name is typed.
func press(a *App, all string, w, h int) {
	g := screen.NewGrid(w, h)
	a.Draw(g)
	key := func(k Key) {
		if do := a.Key(k); do != nil {
			do(context.Background())(a)
		}
		a.Draw(screen.NewGrid(w, h))
	}
	for word := range strings.FieldsSeq(all) {
		named := false
		for _, k := range keys {
			named = named || string(k) == word
		}
		if named {
			key(Key(word))
			continue
		}
		for _, r := range word {
			if r == '_' {
				r = ' '
			}
			key(Key(string(r)))
		}
	}
}

func TestGoldenScreens(t *testing.T) {
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			g := screen.NewGrid(s.w, s.h)
			s.play(t).Draw(g)
			got := g.String()
			if s.inks {
				got += strings.Repeat("─", s.w) + "\n" + g.Inks()
			}
			golden(t, s.name, got)
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

// TestMono shows that without colours no cell has one, and what is chosen still stands out.
func TestMono(t *testing.T) {
	s := tcell.NewSimulationScreen("UTF-8")
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	defer s.Fini()
	s.SetSize(80, 24)
	a := (&scene{history: "canary", w: 80, h: 24}).play(t)
	NewFrames(s, true).Show(a.Draw)
	cells, w, _ := s.GetContents()
	var text, attrs strings.Builder
	reversed := 0
	for i, c := range cells {
		fg, bg, attr := c.Style.Decompose()
		if fg != tcell.ColorDefault || bg != tcell.ColorDefault {
			t.Fatalf("cell %d has a colour", i)
		}
		r := ' '
		if len(c.Runes) > 0 {
			r = c.Runes[0]
		}
		text.WriteRune(r)
		letter := byte(' ')
		switch {
		case attr&tcell.AttrReverse != 0:
			letter, reversed = 'r', reversed+1
		case attr&tcell.AttrBold != 0:
			letter = 'b'
		case attr&tcell.AttrDim != 0:
			letter = 'd'
		}
		attrs.WriteByte(letter)
		if (i+1)%w == 0 {
			text.WriteByte('\n')
			attrs.WriteByte('\n')
		}
	}
	if reversed == 0 {
		t.Error("nothing stands out")
	}
	golden(t, "mono", text.String()+attrs.String())
}

// TestClockIsTheLabs shows that the view depends on what was told alone.
func TestClockIsTheLabs(t *testing.T) {
	s := scene{history: "canary", w: 80, h: 24}
	draw := func() string {
		g := screen.NewGrid(80, 24)
		s.play(t).Draw(g)
		return g.String()
	}
	first := draw()
	if draw() != first {
		t.Error("the same history looks different")
	}
}
