// Package preference is the tutorial's second service: it asks recommendation and puts its own name
// in front. Version v2 does so in capitals.
package preference

import (
	"net/http"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// Handler returns the app. RECOMMENDATION_URL says whom it asks; VARIANT is quarkus or spring.
func Handler(env app.Env) (http.Handler, error) {
	prefix := "preference => "
	if env.AppVersion() == "v2" {
		prefix = "PREFERENCE => "
	}
	return app.Relay{
		Env:     env,
		Prefix:  prefix,
		Next:    env.Var("RECOMMENDATION_URL", "http://recommendation:8080/"),
		Headers: headers,
	}.Handler()
}

// headers passes baggage on; it never makes it of its own user agent.
func headers(in *http.Request) http.Header {
	out := http.Header{}
	app.Copy(out, in.Header, "baggage-user-agent")
	app.Copy(out, in.Header, app.Personal...)
	return out
}
