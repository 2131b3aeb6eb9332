// Package chromium opens pages in a real headless Chromium, for tests of what a person sees.
//
// A test on a machine without one is skipped with the reason, unless MESHLAB_REQUIRE contains
// "chromium": then it fails. MESHLAB_CHROMIUM names another than the one in PATH.
package chromium

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long one step may take: a page that waits for its servers, on a busy machine.
const patience = 2 * time.Minute

// names are what distributions call it.
var names = []string{"chromium", "chromium-browser", "google-chrome"}

// locate finds the Chromium of this machine.
func locate() (string, error) {
	if path := os.Getenv("MESHLAB_CHROMIUM"); path != "" {
		return exec.LookPath(path)
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no " + strings.Join(names, " or ") + " in PATH")
}

// Page is the one page of a browser of its own, with a fresh profile.
type Page struct {
	t    testing.TB
	ctx  context.Context
	host string

	mu       sync.Mutex
	problems []string
}

// Open starts a browser, for pages of one host (HOST:PORT): the test fails when a page asks another
// one, or writes an error to its console. The end of the test ends the browser and removes its
// files.
func Open(t testing.TB, host string) *Page {
	t.Helper()
	path, err := locate()
	if err != nil {
		if strings.Contains(os.Getenv("MESHLAB_REQUIRE"), "chromium") {
			t.Fatal("chromium is required: ", err)
		}
		t.Skip(err)
	}
	p := &Page{t: t, host: strings.TrimSuffix(host, ":80")} // as URLs have it
	// A test's own context ends before its cleanups, which still ask the page.
	allocator, closed := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()),
		options(path)...)
	t.Cleanup(closed)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithListener(p.event))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // it lives as long as the context of the first step
		t.Fatal("start chromium: ", err)
	}
	p.ctx = ctx
	t.Cleanup(p.check)
	return p
}

// options are those of a browser that asks nobody but the pages' own host.
func options(path string) []chromedp.ExecAllocatorOption {
	return append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	)
}

// event keeps what a page must not do.
func (p *Page) event(ev any) {
	switch e := ev.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || !p.own(u) {
			p.problem("it asks another host: " + e.Request.URL)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			p.problem(fmt.Sprintf("its log says: %s (%s)", e.Entry.Text, e.Entry.URL))
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			p.problem(fmt.Sprintf("it writes an error: %s", e.Args[0].Value))
		}
	case *runtime.EventExceptionThrown:
		p.problem("its script fails: " + thrown(e.ExceptionDetails))
	}
}

// thrown is what a script threw.
func thrown(d *runtime.ExceptionDetails) string {
	if d.Exception != nil && d.Exception.Description != "" {
		return d.Exception.Description
	}
	return d.Text
}

// own says whether a page may ask for this.
func (p *Page) own(u *url.URL) bool {
	switch u.Scheme {
	case "about", "blob", "data":
		return true
	}
	return u.Host == p.host
}

func (p *Page) problem(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, text)
}

// Problems returns what the pages should not have done since it was asked last.
func (p *Page) Problems() []string {
	p.t.Helper()
	Eval[bool](p, "true") // events of what happened before come before its answer
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.problems
	p.problems = nil
	return got
}

// check fails the test for what pages must not do.
func (p *Page) check() {
	if p.t.Failed() {
		p.t.Logf("the page shows:\n%s", p.Text())
	}
	for _, text := range p.Problems() {
		p.t.Errorf("the page: %s", text)
	}
}

// do runs a step, for as long as patience lasts.
func (p *Page) do(what string, a chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	run(p, what, a)
}

func run[T any](p *Page, what string, a chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	got, err := chromedp.Run(ctx, a)
	if err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
	return got
}

// Goto opens a path, "/productpage", and waits until it has loaded.
func (p *Page) Goto(path string) {
	p.t.Helper()
	p.do("open "+path, chromedp.Navigate("http://"+p.host+path))
}

// Click clicks what a selector names once it is visible.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.do("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Follow clicks what leads to a page, and waits until that has loaded.
func (p *Page) Follow(selector string) {
	p.t.Helper()
	run(p, "follow "+selector, chromedp.WaitEvent(page.LoadEventFired, nil,
		chromedp.Click(chromedp.CSS(selector))))
}

// Type writes into the field that a selector names once it is visible.
func (p *Page) Type(selector, text string) {
	p.t.Helper()
	p.do("write into "+selector, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Text is the text that is visible.
func (p *Page) Text() string {
	p.t.Helper()
	return Eval[string](p, "document.body.innerText")
}

// Picture takes a picture, a PNG, of the first that a selector names.
func (p *Page) Picture(selector string) []byte {
	p.t.Helper()
	return run(p, "take a picture of "+selector, chromedp.Screenshot(chromedp.CSS(selector)))
}

// Theme has the page shown as to a reader who prefers "light" or "dark".
func (p *Page) Theme(scheme string) {
	p.t.Helper()
	media := emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}
	p.do("prefer "+scheme, chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, media)
		return err
	}))
}

// Size gives the window a size, in CSS pixels.
func (p *Page) Size(width, height int64) {
	p.t.Helper()
	p.do("resize", chromedp.EmulateViewport(width, height))
}

// Shot takes a picture, a PNG, of what the window shows.
func (p *Page) Shot() []byte {
	p.t.Helper()
	return run(p, "take a picture", chromedp.CaptureScreenshot())
}

// Eval evaluates an expression of JavaScript in the page.
func Eval[T any](p *Page, expression string) T {
	p.t.Helper()
	return run(p, "evaluate "+expression, chromedp.Evaluate[T](expression))
}
