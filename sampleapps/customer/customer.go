// Package customer is the tutorial's first service: it asks preference and puts its own name in
// front.
package customer

import (
	"net/http"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// Handler returns the app. PREFERENCE_URL says whom it asks; VARIANT is quarkus or spring.
func Handler(env app.Env) (http.Handler, error) {
	return app.Relay{
		Env:     env,
		Prefix:  "customer => ",
		Next:    env.Var("PREFERENCE_URL", "http://preference:8080/"),
		Trim:    true,
		Headers: headers,
	}.Handler()
}

// headers makes the user agent baggage, by which rules further down can tell browsers apart.
func headers(in *http.Request) http.Header {
	out := http.Header{}
	if ua := in.UserAgent(); ua != "" {
		out.Set("baggage-user-agent", ua)
	}
	app.Copy(out, in.Header, app.Personal...)
	return out
}
