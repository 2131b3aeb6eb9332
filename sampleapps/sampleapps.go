// Package sampleapps lists the bundled apps: the images that they stand for, and manifests to start
// with.
package sampleapps

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/around"
	"github.com/mesh-lab/mesh-lab/sampleapps/bookinfo"
	"github.com/mesh-lab/mesh-lab/sampleapps/customer"
	"github.com/mesh-lab/mesh-lab/sampleapps/echo"
	"github.com/mesh-lab/mesh-lab/sampleapps/extauthz"
	"github.com/mesh-lab/mesh-lab/sampleapps/fortio"
	"github.com/mesh-lab/mesh-lab/sampleapps/helloworld"
	"github.com/mesh-lab/mesh-lab/sampleapps/httpbin"
	"github.com/mesh-lab/mesh-lab/sampleapps/isotope"
	"github.com/mesh-lab/mesh-lab/sampleapps/jwtissuer"
	"github.com/mesh-lab/mesh-lab/sampleapps/model"
	"github.com/mesh-lab/mesh-lab/sampleapps/nginx"
	"github.com/mesh-lab/mesh-lab/sampleapps/preference"
	"github.com/mesh-lab/mesh-lab/sampleapps/recommendation"
	"github.com/mesh-lab/mesh-lab/sampleapps/servicex"
)

// App is one bundled app.
type App struct {
	Name   string
	About  string   // what it does and teaches, in a sentence
	Images []string // repositories that it stands for, of any registry and with any tag
	Port   int      // where it listens when the manifest names no port; 0: it serves nothing
	// ImagePort is Port for an image, where images differ; may be nil.
	ImagePort func(image string) int
	// AnyPort says that it answers on every port that is asked for.
	AnyPort bool
	// HTTP2 says that it takes HTTP/2 without TLS, too, as gRPC needs it.
	HTTP2 bool
	// Needs says what an app that is not there yet needs; empty for those that are.
	Needs string
	// New makes one pod's app; a nil handler serves nothing.
	New func(app.Env) (http.Handler, error)
}

// Missing is the error for an app that is not there yet; nil for one that is.
func (a App) Missing() error {
	if a.Needs == "" {
		return nil
	}
	return fmt.Errorf("the app %s is not there yet: it needs %s", a.Name, a.Needs)
}

// PortOf returns where an image of the app listens when the manifest names no port.
func (a App) PortOf(image string) int {
	if a.ImagePort == nil {
		return a.Port
	}
	return a.ImagePort(image)
}

// Start makes one pod's app. Whoever runs an app calls it, not New: what holds for every app is put
// around it here.
func (a App) Start(env app.Env) (http.Handler, error) {
	if err := a.Missing(); err != nil {
		return nil, err
	}
	m, errs := model.Read(env.Vars)
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	h, err := a.New(env)
	if err != nil {
		return nil, err
	}
	return around.Handler(m, env, h)
}

// apps is the table of all apps.
var apps = []App{
	{
		Name:   "bookinfo-db",
		About:  "the databases of bookinfo's ratings v2",
		Images: []string{"examples-bookinfo-mongodb", "examples-bookinfo-mysqldb"},
		Needs:  "plain TCP",
	},
	{
		Name:  "curl",
		About: "a client without a server: requests and load are sent from it",
		Images: []string{
			"mesh-lab/curl", "curlimages/curl", "governmentpaas/curl-ssl", "pstauffer/curl",
			"tutum/curl",
		},
		New: func(app.Env) (http.Handler, error) { return nil, nil },
	},
	{
		Name:   "customer",
		About:  "asks preference; makes the browser's user agent baggage, for routing by it",
		Images: []string{"rhdevelopers/istio-tutorial-customer", "example/customer"},
		Port:   8080,
		New:    customer.Handler,
	},
	{
		Name:   "details",
		About:  "what bookinfo knows of the book; v2 asks a service outside of the mesh",
		Images: []string{"examples-bookinfo-details-v1", "examples-bookinfo-details-v2"},
		Port:   9080,
		New:    bookinfo.Details,
	},
	{
		Name: "echo",
		About: "answers with what it saw, as JSON; fails, waits, breaks off or calls on, " +
			"as headers or environment say",
		Images:  []string{"mesh-lab/echo"},
		Port:    8080,
		AnyPort: true,
		New:     echo.Handler,
	},
	{
		Name: "ext-authz",
		About: "Istio's sample authorizer, over HTTP (8000) and gRPC (9000): allows what has " +
			"`x-ext-authz: allow`",
		Images: []string{"ext-authz"},
		Port:   8000,
		HTTP2:  true,
		New:    extauthz.Handler,
	},
	{
		Name: "fortio",
		About: "fortio's server: echoes with the statuses, delays and sizes that the query asks " +
			"for; and a client",
		Images: []string{"fortio/fortio", "istio/fortio"},
		Port:   8080,
		New:    fortio.Handler,
	},
	{
		Name:   "greeter",
		About:  "greets over gRPC",
		Images: []string{"crossoverjie/k8s-combat"},
		Needs:  "gRPC",
	},
	{
		Name:   "grpc-echo",
		About:  "Istio's own test server: answers over HTTP, gRPC and TCP with what it saw",
		Images: []string{"istio-testing/app", "testing/app"},
		Needs:  "gRPC and plain TCP",
	},
	{
		Name: "helloworld",
		About: "says its version and its pod at /hello: versions, localities, and the way in " +
			"through a gateway",
		Images: []string{"examples-helloworld-v1", "examples-helloworld-v2"},
		Port:   5000,
		New:    helloworld.Handler,
	},
	{
		Name: "httpbin",
		About: "tells of the request, and answers with what the path asks for (/status/503, " +
			"/delay/5, /headers): mirrors, circuit breakers, gateways",
		Images: []string{
			"mccutchen/go-httpbin", "kennethreitz/httpbin", "kong/httpbin", "mesh-lab/httpbin",
		},
		Port:      8080,
		ImagePort: httpbin.Port,
		New:       httpbin.Handler,
	},
	{
		Name: "isotope",
		About: "a service of a graph: calls others, waits and fails as its script says; " +
			"files with a MockServiceGraph start it",
		Images: []string{"mesh-lab/isotope"},
		Port:   8080,
		New:    isotope.Handler,
	},
	{
		Name: "jwt-issuer",
		About: "mints tokens, good and bad, at /token and publishes its keys at /jwks.json: " +
			"for RequestAuthentication",
		Images: []string{"mesh-lab/jwt-issuer"},
		Port:   8080,
		New:    jwtissuer.Handler,
	},
	{
		Name:  "nginx",
		About: "one page: Full Cycle A, Full Cycle B, or a welcome: weights, stickiness, paths",
		Images: []string{
			"mesh-lab/nginx-a", "mesh-lab/nginx-b", "wesleywillians/nginx-ab", "nginx",
		},
		Port: 80,
		New:  nginx.Handler,
	},
	{
		Name:   "preference",
		About:  "asks recommendation; passes baggage on",
		Images: []string{"rhdevelopers/istio-tutorial-preference", "example/preference"},
		Port:   8080,
		New:    preference.Handler,
	},
	{
		Name: "productpage",
		About: "bookinfo's page, with a session and a JSON API; gives up after 3 s, and asks " +
			"reviews twice: routing by user, faults, time-outs",
		Images: []string{
			"examples-bookinfo-productpage-v1", "examples-bookinfo-productpage-v-flooding",
		},
		Port: 9080,
		New:  bookinfo.ProductPage,
	},
	{
		Name: "ratings",
		About: "bookinfo's stars; its variants are faulty, slow, unavailable or unhealthy, and " +
			"v2 lacks its database",
		Images: []string{
			"examples-bookinfo-ratings-v1", "examples-bookinfo-ratings-v2",
			"examples-bookinfo-ratings-v-faulty", "examples-bookinfo-ratings-v-delayed",
			"examples-bookinfo-ratings-v-unavailable", "examples-bookinfo-ratings-v-unhealthy",
		},
		Port: 9080,
		New:  bookinfo.Ratings,
	},
	{
		Name: "recommendation",
		About: "counts its requests in each pod; misbehaves and slows down on demand: " +
			"versions, canaries, retries, ejection, time-outs",
		Images: []string{"rhdevelopers/istio-tutorial-recommendation", "example/recommendation"},
		Port:   8080,
		New:    recommendation.Handler,
	},
	{
		Name: "reviews",
		About: "what bookinfo's readers say: v1 without stars, v2 with black ones, and v3 with " +
			"red ones, which waits less for ratings",
		Images: []string{
			"examples-bookinfo-reviews-v1", "examples-bookinfo-reviews-v2",
			"examples-bookinfo-reviews-v3",
		},
		Port: 9080,
		New:  bookinfo.Reviews,
	},
	{
		Name: "servicex",
		About: "answers OK, or 504 after some seconds (the variable error=yes): circuit breakers " +
			"and retries",
		Images: []string{"mesh-lab/servicex", "wesleywillians/circuit-breaker-example-go"},
		Port:   8000,
		New:    servicex.Handler,
	},
	{
		Name:   "tcp-echo",
		About:  "sends each line back, with a word before it",
		Images: []string{"istio/tcp-echo-server"},
		Needs:  "plain TCP",
	},
}

// Apps returns all apps, by name.
func Apps() []App { return slices.Clone(apps) }

// Lookup returns the app of a name.
func Lookup(name string) (App, bool) {
	i := slices.IndexFunc(apps, func(a App) bool { return a.Name == name })
	if i < 0 {
		return App{}, false
	}
	return apps[i], true
}

// ByImage returns the app that an image stands for.
func ByImage(image string) (App, bool) {
	repository, _ := app.SplitImage(image)
	for _, a := range apps {
		for _, known := range a.Images {
			if repository == known || strings.HasSuffix(repository, "/"+known) {
				return a, true
			}
		}
	}
	return App{}, false
}
