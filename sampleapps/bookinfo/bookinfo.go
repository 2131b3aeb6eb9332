// Package bookinfo is Istio's sample: a page about a book, made of three services.
//
//	browser ─▶ productpage ─▶ details
//	                       └▶ reviews v1, v2, v3 ─▶ ratings     (v1 does not ask ratings)
//
// Each app takes its variables where the manifest sets them, and what its image's name says where
// not: examples-bookinfo-reviews-v3 has red stars. Apps go on with their own calls when their
// caller has gone away.
package bookinfo

import (
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
)

// port is where each of the apps listens.
const port = 9080

// version is what the image's name says: "v2" of examples-bookinfo-reviews-v2, "v-faulty" of
// examples-bookinfo-ratings-v-faulty. Of an app that goes by another name it is the one of the pod.
func version(env *app.Env, name string) string {
	if v, ok := strings.CutPrefix(env.ImageName(), "examples-bookinfo-"+name+"-"); ok {
		return v
	}
	return env.AppVersion()
}

// address is the URL of a service. Variables: NAME_HOSTNAME, SERVICES_DOMAIN, NAME_SERVICE_PORT.
func address(env *app.Env, name string) (string, error) {
	variable := strings.ToUpper(name)
	host := env.Var(variable+"_HOSTNAME", name)
	if domain := env.Vars["SERVICES_DOMAIN"]; domain != "" {
		host += "." + domain
	}
	at, err := env.Int(variable+"_SERVICE_PORT", port)
	if err != nil {
		return "", err
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(at)), nil
}

// forwarded are the headers that every app passes on: those that keep a trace together, and those
// of the session.
var forwarded = []string{
	"x-request-id", "x-ot-span-context", "x-datadog-trace-id", "x-datadog-parent-id",
	"x-datadog-sampling-priority", "traceparent", "tracestate", "x-cloud-trace-context",
	"grpc-trace-bin", "sw8", "user-agent", "cookie", "authorization", "jwt",
}

// forward returns the headers that details and reviews send on.
func forward(in http.Header) http.Header {
	out := http.Header{}
	app.Copy(out, in, forwarded...)
	app.Copy(out, in, "end-user",
		"x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags")
	return out
}

// logged writes a line for each request; checks of the health are none.
func logged(env app.Env, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/health" {
			env.Logger().Info(r.Method+" "+r.URL.RequestURI(), "pod", env.Pod)
		}
		h.ServeHTTP(w, r)
	})
}

// failure is what the apps say when something is wrong.
type failure struct {
	Error string `json:"error"`
}

// health is what the apps answer when they are asked how they are.
type health struct {
	Status string `json:"status"`
}
