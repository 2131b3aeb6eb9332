package lab_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/testdata/chromium"
)

const form = `<!doctype html><title>form</title><link rel="icon" href="data:,">
<form action="/answer"><input name="word"><button>go</button></form><p hidden>unseen</p>`

// TestChromium plays a form, as a person does.
func TestChromium(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "text/html")
		if r.URL.Path == "/" {
			io.WriteString(w, form) //nolint:errcheck // the test sees it
			return
		}
		io.WriteString(w, `<link rel="icon" href="data:,">got `+r.FormValue("word"))
	}))
	t.Cleanup(srv.Close)
	p := chromium.Open(t, strings.TrimPrefix(srv.URL, "http://"))
	p.Goto("/")
	if text := p.Text(); strings.Contains(text, "unseen") {
		t.Errorf("hidden text is seen: %q", text)
	}
	p.Type("input", "jason")
	p.Follow("button")
	if text := p.Text(); text != "got jason" {
		t.Errorf("the page shows %q", text)
	}
	if png := p.Picture("body"); !strings.HasPrefix(string(png), "\x89PNG") {
		t.Errorf("the picture is no PNG")
	}
}

// TestChromiumProblems: a page may not ask other hosts, fail, or complain.
func TestChromiumProblems(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "text/html")
		switch r.URL.Path {
		case "/":
			io.WriteString(w, `<link rel="icon" href="data:,"><img src="/missing.png">
				<img src="http://elsewhere.example/a.png"><script>console.error("oh", 1)</script>
				<script>nothing.there()</script>`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(srv.Close)
	p := chromium.Open(t, strings.TrimPrefix(srv.URL, "http://"))
	p.Goto("/")
	got := p.Problems()
	for _, want := range []string{
		"asks another host: http://elsewhere.example/a.png", "404 (Not Found)", `error: "oh"`,
		"nothing is not defined",
	} {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("nothing is said of %q in %q", want, got)
		}
	}
}
