// Package nginx serves one page, as an nginx with one file would: "Full Cycle A" or "Full Cycle B",
// the two versions of the course, or a welcome.
package nginx

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

const (
	welcome = `<!DOCTYPE html>
<html lang="en">
<head><title>It works</title></head>
<body>
<h1>It works</h1>
<p>This page stands in for that of an nginx without a configuration of its own.</p>
</body>
</html>
`
	failed = `<html>
<head><title>%[1]d %[2]s</title></head>
<body><h1>%[1]d %[2]s</h1></body>
</html>
`
)

// written is when the page was last changed.
var written = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// Handler returns the app. Its image says which page it serves: nginx-a, nginx-b, or the course's
// nginx-ab with the tag b for B; where there is no image, the version A or B.
func Handler(env app.Env) (http.Handler, error) {
	body := welcome
	if v := variant(env); v != "" {
		body = "Full Cycle " + v
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		env.Logger().Info("request", "pod", env.Pod, "path", r.URL.Path)
		h := w.Header()
		h.Set("Server", "nginx")
		h.Set("Content-Type", "text/html")
		switch {
		case r.URL.Path != "/" && r.URL.Path != "/index.html":
			fail(w, http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			fail(w, http.StatusMethodNotAllowed)
		default:
			h.Set("ETag", fmt.Sprintf(`"%x-%x"`, written.Unix(), len(body)))
			http.ServeContent(w, r, "index.html", written, strings.NewReader(body))
		}
	}), nil
}

// fail answers with a status and a page that tells it.
func fail(w http.ResponseWriter, status int) {
	w.WriteHeader(status)
	fmt.Fprintf(w, failed, status, http.StatusText(status))
}

// variant is A or B, or empty for the welcome.
func variant(env app.Env) string {
	name, v := env.ImageName(), ""
	switch {
	case name == "nginx-ab" && env.Tag() == "b", name == "nginx-b":
		v = "b"
	case name == "nginx-ab", name == "nginx-a":
		v = "a"
	case env.Image == "":
		v = env.Version
	}
	if v = strings.ToUpper(v); v == "A" || v == "B" {
		return v
	}
	return ""
}
