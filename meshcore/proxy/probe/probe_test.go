package probe

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

var (
	update = flag.Bool("update", false, "ask the real Envoy (if there is one) again and rewrite what is golden")
	only   = flag.String("only", "", "run the cases whose name contains this, and print what they show")
)

// groups are the cases by golden file.
var groups = []struct {
	name   string
	probes []probe
}{
	{"request", requestProbes}, {"target", targetProbes}, {"body", bodyProbes},
	{"response", responseProbes}, {"connection", connectionProbes},
}

// selected is all cases, by group and name.
func selected() (probes []probe, names []string) {
	for _, g := range groups {
		for _, p := range g.probes {
			name := g.name + "/" + p.name
			if strings.Contains(name, *only) {
				probes, names = append(probes, p), append(names, name)
			}
		}
	}
	return probes, names
}

// together is how many cases are played at a time: many, since most only wait for a connection to be
// closed, but not so many that time-outs pass while the machine is busy with the others.
const together = 128

// play plays all cases against a proxy, whose listener of case i is at addr(i). It begins with the
// last, which are those that take long.
func play(t *testing.T, probes []probe, ups []*upstream, addr func(i int) string) []string {
	t.Helper()
	out := make([]string, len(probes))
	var wg sync.WaitGroup
	room := make(chan struct{}, together)
	for i := len(probes) - 1; i >= 0; i-- {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			p, u := &probes[i], ups[i]
			c := &client{addr: addr(i), marks: u.marks, served: u.connection}
			if err := c.play(p.clientScript()); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
			var b strings.Builder
			b.WriteString("client\n")
			b.WriteString(c.out.String())
			u.write(&b)
			out[i] = b.String()
		})
	}
	wg.Wait()
	for i, text := range out {
		if strings.Contains(text, "NOTHING HAPPENS") {
			t.Errorf("%s: waits in vain:\n%s", probes[i].name, text)
		}
	}
	return out
}

// upstreams starts one for each case.
func upstreams(t *testing.T, probes []probe) []*upstream {
	t.Helper()
	var out []*upstream
	for i := range probes {
		u, err := newUpstream(&probes[i])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(u.close)
		out = append(out, u)
	}
	return out
}

// golden is what is written down: by case, in order.
type golden struct {
	names []string
	text  map[string]string
}

const ruler = "=== "

func readGolden(t *testing.T, file string) golden {
	t.Helper()
	g := golden{text: map[string]string{}}
	data, err := os.ReadFile("testdata/" + file + ".golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split("\n"+string(data), "\n"+ruler)[1:] {
		name, text, _ := strings.Cut(part, "\n")
		g.names = append(g.names, name)
		g.text[name] = strings.TrimSuffix(text, "\n") + "\n"
	}
	return g
}

func writeGolden(t *testing.T, file string, names []string, text map[string]string) {
	t.Helper()
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "%s%s\n%s", ruler, n, text[n])
	}
	if err := os.WriteFile("testdata/"+file+".golden", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// wanted is what Envoy shows, by group and name.
func wanted(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, g := range groups {
		read := readGolden(t, "envoy-"+g.name)
		var names []string
		for _, p := range g.probes {
			names = append(names, p.name)
		}
		if !slices.Equal(names, read.names) {
			t.Errorf("testdata/envoy-%s.golden does not list the cases: run with -update:\n%s", g.name,
				cmp.Diff(names, read.names))
		}
		for n, text := range read.text {
			out[g.name+"/"+n] = text
		}
	}
	return out
}

// TestEnvoy has the real Envoy show what the golden files say.
func TestEnvoy(t *testing.T) {
	binary := envoy.Binary(t).Path
	probes, names := selected()
	ups := upstreams(t, probes)
	at := startEnvoy(t, binary, bootstrap(len(probes), snapshot(probes, ups)))
	got := play(t, probes, ups, func(i int) string { return at[fmt.Sprintf("case-%d", i)] })
	if *only != "" {
		for i, n := range names {
			t.Logf("%s\n%s", n, got[i])
		}
	} else if *update {
		text := map[string]string{}
		for i, n := range names {
			_, n, _ = strings.Cut(n, "/")
			text[n] = got[i]
		}
		for _, g := range groups {
			var names []string
			for _, p := range g.probes {
				names = append(names, p.name)
			}
			writeGolden(t, "envoy-"+g.name, names, text)
		}
		return
	}
	want := wanted(t)
	for i, n := range names {
		if got[i] != want[n] {
			t.Errorf("%s: Envoy shows something else than before:\n%s", n, cmp.Diff(want[n], got[i]))
		}
	}
}

// TestNames keeps names unique.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range groups {
		for _, p := range g.probes {
			if seen[p.name] {
				t.Errorf("two cases are called %q", p.name)
			}
			seen[p.name] = true
		}
	}
}
