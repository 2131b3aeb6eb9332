package lab_test

import (
	"bytes"
	"context"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/graph"
	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/reports/page"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/testdata/chromium"
)

var screenshots = flag.Bool("screenshots", false, "write the pictures of pages in docs/ again")

// TestPage opens the page of a real run in a browser: nothing is asked for or complained of, charts
// are there, both themes differ, and a phone need not scroll sideways.
func TestPage(t *testing.T) {
	t.Parallel()
	run := ran(t, "canary")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "text/html")
		var err error
		if r.URL.Path == "/both" {
			err = page.WriteComparison(w, graphOf, run, run)
		} else {
			err = page.Write(w, graphOf, run)
		}
		if err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(srv.Close)
	p := chromium.Open(t, strings.TrimPrefix(srv.URL, "http://"))
	p.Goto("/")
	if n := chromium.Eval[int](p, `document.querySelectorAll("figure svg").length`); n < 10 {
		t.Errorf("%d figures", n)
	}
	if n := chromium.Eval[int](p, `performance.getEntriesByType("resource").length`); n > 0 {
		t.Errorf("the page asks for %d more", n)
	}
	drawn := chromium.Eval[int](p, `[...document.querySelectorAll(".charts svg")]
		.filter(s => s.querySelector("rect, path").getBoundingClientRect().width > 0).length`)
	if drawn < 9 {
		t.Errorf("%d charts have something in them", drawn)
	}
	const background = `getComputedStyle(document.body).backgroundColor`
	p.Theme("light")
	light := chromium.Eval[string](p, background)
	p.Theme("dark")
	if dark := chromium.Eval[string](p, background); dark == light {
		t.Errorf("both themes have the background %s", dark)
	}
	const width = `document.documentElement.scrollWidth`
	p.Size(390, 844)
	if wide := chromium.Eval[int](p, width); wide > 390 {
		t.Errorf("on a phone the page is %d wide", wide)
	}
	for _, c := range []struct {
		theme         string
		width, height int64
	}{{"dark", 390, 844}, {"light", 390, 844}, {"dark", 1100, 1000}, {"light", 1100, 1900}} {
		p.Theme(c.theme)
		p.Size(c.width, c.height)
		png := p.Shot()
		if !bytes.HasPrefix(png, []byte("\x89PNG")) {
			t.Errorf("no picture of the page, %s and %d wide", c.theme, c.width)
		}
		if *screenshots && c.theme == "light" && c.width > 1000 {
			if err := os.WriteFile("../docs/page.png", png, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.Goto("/both")
	for _, w := range []int64{390, 1280} {
		p.Size(w, 844)
		if wide := chromium.Eval[int](p, width); wide > int(w) {
			t.Errorf("two runs are %d wide where %d are", wide, w)
		}
	}
}

func graphOf(r *reports.Run) (string, error) { return graph.OfHistory(&r.History).SVG(), nil }

// ran runs a bundled scenario.
func ran(t *testing.T, name string) *reports.Run {
	t.Helper()
	s, diags := scenarios.Open(scenarios.Catalogue(), name+".yaml")
	for _, d := range diags {
		t.Fatal(d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	run, err := runner.Run(ctx, s, runner.Options{
		Driver: embedded.Driver{}, Topology: "embedded", Proxy: "meshcore", Seed: 1, Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return run
}
