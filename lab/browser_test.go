package lab_test

import (
	"bytes"
	"fmt"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/testdata/chromium"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// bookshop is a lab with bookinfo, and a person who looks at its page.
type bookshop struct {
	t    *testing.T
	env  []string // of its commands
	page *chromium.Page
}

// openBookshop starts a lab as a user does, and a browser at the address that it prints.
func openBookshop(t *testing.T, args ...string) *bookshop {
	t.Helper()
	b := &bookshop{t: t, env: []string{"MESHLAB_STATE=" + t.TempDir()}}
	command := slices.Concat([]string{"env"}, b.env, []string{"mesh-lab", "up"}, args)
	d := launch(t, "lab", command...)
	address := d.await(`gateway istio-ingressgateway\S* port \d+: http://\S+`)
	address = address[strings.LastIndex(address, "/")+1:]
	if args[0] == "--app" {
		d.await("open http://" + regexp.QuoteMeta(address) + "/productpage\n")
	}
	t.Cleanup(func() { // after the browser's end
		d.signal(os.Interrupt)
		if code := d.exit(); code != 130 {
			t.Errorf("the lab ended with status %d", code)
		}
	})
	b.page = chromium.Open(t, address)
	return b
}

// apply changes the lab's configuration by a file of the samples.
func (b *bookshop) apply(file string) {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), "mesh-lab", "apply", "-f",
		filepath.Join("testdata/samples/bookinfo/networking", file))
	cmd.Env = append(os.Environ(), b.env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("apply %s: %v\n%s", file, err, out)
	}
}

// look loads the page.
func (b *bookshop) look() { b.t.Helper(); b.page.Goto("/productpage") }

// signIn fills in the form, and returns how long the page took then.
func (b *bookshop) signIn(user string) time.Duration {
	b.t.Helper()
	b.page.Click("summary")
	b.page.Type("input[name=username]", user)
	b.page.Type("input[name=passwd]", "any")
	began := time.Now()
	b.page.Follow("form button")
	took := time.Since(began)
	b.shows(user, "Sign out")
	return took
}

func (b *bookshop) signOut() {
	b.t.Helper()
	b.page.Follow("a[href=logout]")
	b.shows("Sign in")
}

// shows checks that texts are visible.
func (b *bookshop) shows(texts ...string) {
	b.t.Helper()
	seen := b.page.Text()
	for _, text := range texts {
		if !strings.Contains(seen, text) {
			b.t.Fatalf("the page does not show %q:\n%s", text, seen)
		}
	}
}

// visible are the colours of the filled stars that can be seen.
const visible = `[...document.querySelectorAll(".glyphicon-star")]
	.filter(e => e.checkVisibility({opacityProperty: true, visibilityProperty: true}))
	.map(e => getComputedStyle(e).color)`

// stars returns the colour of the stars: black, red, or none.
func (b *bookshop) stars() string {
	b.t.Helper()
	colors := chromium.Eval[[]string](b.page, visible)
	if len(colors) == 0 {
		return "none"
	}
	if same := slices.Compact(slices.Clone(colors)); len(colors) != 5+4 || len(same) != 1 {
		b.t.Fatalf("the stars are %q", colors)
	}
	return paint(b.t, b.page.Picture(".glyphicon-star"))
}

// paint names the colour in the middle of a picture.
func paint(t *testing.T, picture []byte) string {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	middle := img.Bounds().Min.Add(img.Bounds().Size().Div(2))
	c := color.NRGBAModel.Convert(img.At(middle.X, middle.Y)).(color.NRGBA)
	switch {
	case max(c.R, c.G, c.B) < 64:
		return "black"
	case c.R > 160 && max(c.G, c.B) < 96:
		return "red"
	}
	return fmt.Sprint(c)
}

// sees checks the stars, and which version of reviews served the page.
func (b *bookshop) sees(stars, version string) {
	b.t.Helper()
	if got := b.stars(); got != stars {
		b.t.Errorf("%s stars, want %s", got, stars)
	}
	b.shows("Book Details", "Book Reviews", "Reviews served by: reviews-"+version+"-")
}

// noRatings checks that both reviews are there without their ratings.
func (b *bookshop) noRatings(version string) {
	b.t.Helper()
	b.sees("none", version)
	const text = "Ratings service is currently unavailable"
	if n := strings.Count(b.page.Text(), text); n != 2 {
		b.t.Errorf("%d times %q, want 2:\n%s", n, text, b.page.Text())
	}
}

const noReviews = "Sorry, product reviews are currently unavailable for this book."

// TestBrowser does in a browser what Istio's tasks on request routing and fault injection do with
// bookinfo.
func TestBrowser(t *testing.T) {
	t.Parallel()
	b := openBookshop(t, "--app", "bookinfo")

	seen := map[string]bool{}
	for range 3 {
		b.look()
		seen[b.stars()] = true
	}
	if !seen["none"] || !seen["black"] || !seen["red"] {
		t.Errorf("without a rule the stars are in turn %v, want none, black and red", seen)
	}

	b.apply("virtual-service-all-v1.yaml")
	b.look()
	b.sees("none", "v1")

	b.apply("virtual-service-reviews-test-v2.yaml")
	b.look()
	b.sees("none", "v1")
	b.signIn("jason")
	b.sees("black", "v2")
	b.signOut()
	b.sees("none", "v1")
	b.signIn("somebody")
	b.sees("none", "v1")
	b.signOut()

	b.delayed()

	// The fix: v3 waits for ratings less long than the page waits for it.
	b.apply("virtual-service-reviews-v3.yaml")
	b.look()
	b.noRatings("v3")
	b.signOut()
	b.sees("red", "v3")
	b.signIn("jason")

	b.apply("virtual-service-reviews-jason-v2-v3.yaml")
	b.apply("virtual-service-ratings-test-abort.yaml")
	b.look()
	b.noRatings("v2")
	b.signOut()
	b.sees("red", "v3")

	b.apply("fault-injection-details-v1.yaml")
	b.look()
	b.shows("Error fetching product details",
		"Sorry, product details are currently unavailable for this book.", "Book Reviews")
}

// delayed is what jason sees when ratings is too slow for the page, and others do not. He is signed
// in at its end.
func (b *bookshop) delayed() {
	b.t.Helper()
	b.apply("virtual-service-ratings-test-delay.yaml")
	b.look()
	b.sees("none", "v1")
	if took := b.signIn("jason"); took < 6*time.Second {
		b.t.Errorf("the page came after %v, want 3 s twice", took)
	}
	b.shows("Book Details", "Error fetching product reviews", noReviews)
	if got := b.stars(); got != "none" {
		b.t.Errorf("%s stars beside an error", got)
	}
}

// TestBrowserEnvoy: the same page, through Envoys.
func TestBrowserEnvoy(t *testing.T) {
	t.Parallel()
	envoy.Binary(t)
	b := openBookshop(t, "--proxy", "envoy", "-f", "testdata/samples/bookinfo/kube",
		"-f", "testdata/samples/bookinfo/networking/bookinfo-gateway.yaml",
		"-f", "testdata/samples/bookinfo/networking/destination-rule-all.yaml",
		"-f", "testdata/samples/bookinfo/networking/virtual-service-all-v1.yaml")
	b.look()
	b.sees("none", "v1")
	b.apply("virtual-service-reviews-jason-v2-v3.yaml")
	b.look()
	b.sees("red", "v3")
	b.signIn("jason")
	b.sees("black", "v2")
	b.apply("virtual-service-reviews-test-v2.yaml")
	b.signOut()
	b.delayed()
}
