package why_test

import (
	"cmp"
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/lab/why"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// volatile is what differs from run to run.
var volatile = []struct {
	find *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`), "REQUEST-ID"},
	{regexp.MustCompile(`:[0-9]{5} →`), ":PORT →"},
	{regexp.MustCompile(`[0-9.]+ ms`), "TIME ms"},
	{regexp.MustCompile(`drew \d+ of`), "drew N of"},
	{regexp.MustCompile(`turn \d of`), "turn N of"},
	{regexp.MustCompile(`hash 0x[0-9a-f]+`), "hash HASH"},
}

// settled is an explanation without what differs from run to run.
func settled(e *why.Explanation, width int) string {
	var b strings.Builder
	if err := why.Text(&b, e.Lines(width), false); err != nil {
		panic(err) // a Builder takes everything
	}
	out := b.String()
	for _, v := range volatile {
		out = v.find.ReplaceAllString(out, v.put)
	}
	return out
}

func up(t *testing.T, file string) topology.Mesh {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, diags := istio.Read([]istio.File{{Name: filepath.Base(file), Data: text}},
		istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	m, err := embedded.Driver{}.Up(t.Context(), topology.Spec{Config: c, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// Each request of the table is explained as its golden file says: what a person reads.
func TestGolden(t *testing.T) {
	shop, secure := up(t, "testdata/shop.yaml"), up(t, "testdata/secure.yaml")
	for name, s := range map[string]request.Spec{
		"refused":  {URL: "http://vault/"},
		"tcp":      {URL: "tcp://vault:90/"},
		"gateway":  {URL: "http://ingress/", From: "outside"},
		"header":   {URL: "http://shop/cart?x=1", Headers: []string{"end-user: jason"}},
		"weights":  {URL: "http://shop/"},
		"abort":    {URL: "http://shop/broken"},
		"redirect": {URL: "http://shop/old"},
		"denied":   {URL: "http://stock/admin"},
		"nobody":   {URL: "http://shop/gone"},
		"retries":  {URL: "http://shop/retried", Headers: []string{"x-echo-status: 503"}},
		"unknown":  {URL: "http://10.96.0.10/", Host: "nobody.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			m := shop
			switch name {
			case "refused", "tcp", "gateway":
				m = secure
			}
			s.From = cmp.Or(s.From, "client")
			e, err := why.Live(t.Context(), m, s)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range e.Hops {
				if h.How != why.Told {
					t.Errorf("%s did not tell, but %s", h.Proxy, h.How)
				}
			}
			got, file := settled(e, 80), "testdata/"+name+".txt"
			if name == "weights" || name == "unknown" { // either version
				got = strings.NewReplacer("shop-v2", "shop-vN", "shop-v1", "shop-vN",
					"10.244.0.3", "10.244.0.N", "10.244.0.4", "10.244.0.N").Replace(got)
			}
			switch name {
			case "weights": // what was drawn is of this run
				got, _, _ = strings.Cut(got, " (random)")
			case "retries": // the copy and the request race
				got, _, _ = strings.Cut(got, "\n2  ")
			}
			for _, line := range strings.Split(got, "\n") {
				if n := len([]rune(line)); n > 80 {
					t.Errorf("%d columns: %s", n, line)
				}
				if strings.TrimRight(line, " ") != line {
					t.Errorf("a blank at the end: %q", line)
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := gocmp.Diff(string(want), got); d != "" {
				t.Errorf("%s (-want +got; -update rewrites it):\n%s", file, d)
			}
		})
	}
}

// What was told live is what is decided again from the record.
func TestDecidedAgain(t *testing.T) {
	m := up(t, "testdata/shop.yaml")
	w, err := why.OfMesh(m)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		e, err := why.Live(t.Context(), m, request.Spec{From: "client", URL: "http://shop/"})
		if err != nil {
			t.Fatal(err)
		}
		again, err := w.Recorded(e.ID, m.Recorder().Snapshot().Requests)
		if err != nil {
			t.Fatal(err)
		}
		if len(again.Hops) != len(e.Hops) || len(e.Hops) != 2 {
			t.Fatalf("%d hops, then %d", len(e.Hops), len(again.Hops))
		}
		for i, h := range again.Hops {
			if h.How != why.Decided || len(h.Differs) > 0 {
				t.Errorf("hop %d: %s %v", i, h.How, h.Differs)
			}
			a, b := h.Trace, e.Hops[i].Trace
			if d := gocmp.Diff(b.Split, a.Split); d != "" {
				t.Errorf("hop %d: the split (-told +again):\n%s", i, d)
			}
			if d := gocmp.Diff(b.Routes, a.Routes); d != "" {
				t.Errorf("hop %d: the routes (-told +again):\n%s", i, d)
			}
		}
	}
}

func TestNobodyKnowsIt(t *testing.T) {
	m := up(t, "testdata/shop.yaml")
	w, err := why.OfMesh(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Recorded("x", nil); err == nil {
		t.Error("no error for a request of which there is no record")
	}
}
