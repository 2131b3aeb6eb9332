// Package rules draws VirtualServices and DestinationRules for a small mesh of echoes. Their words
// are few, so that conditions of several routes meet in one request.
package rules

import (
	_ "embed" // for the mesh
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

//go:embed mesh.yaml
var mesh []byte

// Mesh returns the mesh that the rules are about.
func Mesh() []istio.File { return []istio.File{{Name: "mesh.yaml", Data: mesh}} }

// Draw makes rules. The same stream makes the same ones.
func Draw(r *rand.Rand) []*istio.Object {
	d := drawer{r}
	var out []*istio.Object
	if d.in(2, 3) {
		out = append(out, object("DestinationRule", "echo", d.destinationRule("echo")))
	}
	if d.in(1, 4) {
		out = append(out, object("DestinationRule", "other", d.destinationRule("other")))
	}
	for i := range 1 + d.IntN(2) {
		out = append(out, object("VirtualService", fmt.Sprintf("vs-%d", i), d.virtualService()))
	}
	return out
}

func object(kind, name string, body any) *istio.Object {
	return &istio.Object{
		APIVersion: "networking.istio.io/v1", Kind: kind, Name: name, Namespace: "default",
		Body: body,
	}
}

// drawer draws parts of rules.
type drawer struct{ *rand.Rand }

// in says yes n times of m.
func (d drawer) in(n, m int) bool { return d.IntN(m) < n }

func pick[T any](d drawer, of ...T) T { return of[d.IntN(len(of))] }

func (d drawer) virtualService() *networkingv1alpha3.VirtualService {
	vs := &networkingv1alpha3.VirtualService{Hosts: []string{pick(d,
		"echo", "echo", "echo", "other", "echo.default.svc.cluster.local")}}
	switch d.IntN(6) {
	case 0:
		vs.Gateways = []string{"gw"}
		vs.Hosts = []string{pick(d, "*", "shop.example.com", "*.example.com")}
	case 1:
		vs.Gateways = []string{"mesh", "gw"}
	}
	for i := range 1 + d.IntN(4) {
		r := d.route(i)
		vs.Http = append(vs.Http, r)
		if len(r.Match) == 0 {
			break // it takes every request; what comes behind it would be refused
		}
	}
	return vs
}

func (d drawer) route(i int) *networkingv1alpha3.HTTPRoute {
	r := &networkingv1alpha3.HTTPRoute{}
	if d.in(2, 3) {
		r.Name = fmt.Sprintf("route-%d", i)
	}
	for range d.IntN(3) {
		r.Match = append(r.Match, d.match())
	}
	if d.in(1, 3) {
		r.Headers = d.headers()
	}
	if d.in(1, 5) {
		r.CorsPolicy = d.cors()
	}
	if d.in(1, 6) {
		r.Fault = d.fault()
	}
	switch d.IntN(8) {
	case 0:
		r.Redirect = d.redirect()
		r.Fault = nil
		return r
	case 1:
		r.Fault = nil
		r.DirectResponse = &networkingv1alpha3.HTTPDirectResponse{
			Status: pick(d, uint32(200), 404, 503)}
		if d.in(1, 2) {
			r.DirectResponse.Body = &networkingv1alpha3.HTTPBody{
				Specifier: &networkingv1alpha3.HTTPBody_String_{String_: "direct"},
			}
		}
		return r
	}
	d.forward(r)
	return r
}

// forward gives a route what it does with requests that it passes on.
func (d drawer) forward(r *networkingv1alpha3.HTTPRoute) {
	n := pick(d, 1, 1, 2, 3)
	left := int32(100)
	for i := range n {
		w := left
		if i+1 < n {
			w = d.Int32N(left + 1)
		}
		left -= w
		if n == 1 && d.in(1, 2) {
			w = 0
		}
		dest := &networkingv1alpha3.HTTPRouteDestination{Destination: d.destination(), Weight: w}
		if d.in(1, 5) {
			dest.Headers = d.headers()
		}
		r.Route = append(r.Route, dest)
	}
	if d.in(1, 4) {
		r.Rewrite = d.rewrite()
	}
	if d.in(1, 5) {
		r.Timeout = durationpb.New(pick(d, 300*time.Millisecond, 500*time.Millisecond))
	}
	if d.in(1, 4) {
		r.Retries = d.retries()
	}
	if d.in(1, 6) {
		m := &networkingv1alpha3.HTTPMirrorPolicy{Destination: d.destination()}
		if d.in(1, 2) {
			m.Percentage = d.percent()
		}
		r.Mirrors = append(r.Mirrors, m)
	}
}

func (d drawer) destination() *networkingv1alpha3.Destination {
	out := &networkingv1alpha3.Destination{
		Host: pick(d, "echo", "echo", "echo", "other", "nowhere")}
	switch {
	case out.Host == "echo" && d.in(2, 3):
		out.Subset = pick(d, "v1", "v2", "v3")
	case out.Host == "other" && d.in(1, 3):
		out.Subset = "v1"
	}
	if d.in(1, 4) {
		out.Port = &networkingv1alpha3.PortSelector{Number: pick(d, uint32(80), 8081, 9999)}
	}
	return out
}

func (d drawer) percent() *networkingv1alpha3.Percent {
	return &networkingv1alpha3.Percent{Value: pick(d, 0.0, 100, 30, 50, 100)}
}

func (d drawer) fault() *networkingv1alpha3.HTTPFaultInjection {
	f := &networkingv1alpha3.HTTPFaultInjection{}
	if d.in(2, 3) {
		f.Abort = &networkingv1alpha3.HTTPFaultInjection_Abort{
			ErrorType: &networkingv1alpha3.HTTPFaultInjection_Abort_HttpStatus{
				HttpStatus: pick(d, int32(503), 404, 200)},
			Percentage: d.percent(),
		}
	}
	if d.in(1, 2) || f.Abort == nil {
		f.Delay = &networkingv1alpha3.HTTPFaultInjection_Delay{
			HttpDelayType: &networkingv1alpha3.HTTPFaultInjection_Delay_FixedDelay{
				FixedDelay: durationpb.New(20 * time.Millisecond)},
			Percentage: d.percent(),
		}
	}
	return f
}

func (d drawer) retries() *networkingv1alpha3.HTTPRetry {
	r := &networkingv1alpha3.HTTPRetry{Attempts: pick(d, int32(0), 1, 2, 3)}
	if r.Attempts > 0 {
		r.RetryOn = pick(d, "", "5xx", "gateway-error", "reset,503", "409,retriable-4xx",
			"connect-failure,refused-stream", "retriable-status-codes,500",
			"5xx,reset-before-request")
		if d.in(1, 4) {
			r.PerTryTimeout = durationpb.New(300 * time.Millisecond)
		}
	}
	return r
}

func (d drawer) redirect() *networkingv1alpha3.HTTPRedirect {
	r := &networkingv1alpha3.HTTPRedirect{}
	if d.in(2, 3) {
		r.Uri = pick(d, "/moved", "/moved?x=1", "/")
	}
	if d.in(1, 2) || r.Uri == "" {
		r.Authority = pick(d, "elsewhere.example.com", "elsewhere:81")
	}
	if d.in(1, 3) {
		r.RedirectCode = pick(d, uint32(302), 303, 307, 308, 301)
	}
	if d.in(1, 3) {
		r.Scheme = pick(d, "https", "http")
	}
	switch d.IntN(4) {
	case 0:
		r.RedirectPort = &networkingv1alpha3.HTTPRedirect_Port{Port: pick(d, uint32(80), 443, 8443)}
	case 1:
		r.RedirectPort = &networkingv1alpha3.HTTPRedirect_DerivePort{
			DerivePort: pick(d, networkingv1alpha3.HTTPRedirect_FROM_PROTOCOL_DEFAULT,
				networkingv1alpha3.HTTPRedirect_FROM_REQUEST_PORT)}
	}
	return r
}

func (d drawer) rewrite() *networkingv1alpha3.HTTPRewrite {
	r := &networkingv1alpha3.HTTPRewrite{}
	switch d.IntN(4) {
	case 0:
		r.UriRegexRewrite = &networkingv1alpha3.RegexRewrite{
			Match:   pick(d, "^/([^/]+)/(.*)$", "/a", "[0-9]+"),
			Rewrite: pick(d, `/\2/\1`, "/z", `\0\0`)}
		if !strings.Contains(r.UriRegexRewrite.Match, "(") {
			r.UriRegexRewrite.Rewrite = "/z"
		}
	case 1:
		r.Authority = "rewritten.example.com"
	default:
		r.Uri = pick(d, "/", "/new", "/new/", "/n?q=1")
	}
	if d.in(1, 4) {
		r.Authority = "rewritten.example.com"
	}
	return r
}

func (d drawer) cors() *networkingv1alpha3.CorsPolicy {
	c := &networkingv1alpha3.CorsPolicy{AllowOrigins: []*networkingv1alpha3.StringMatch{
		d.text("https://a.example.com", "https://a", `https://[a-z]+\.example\.com`),
	}}
	if d.in(1, 2) {
		c.AllowMethods = []string{"GET", "POST"}
	}
	if d.in(1, 2) {
		c.AllowHeaders = []string{"x-mine"}
	}
	if d.in(1, 3) {
		c.ExposeHeaders = []string{"x-seen", "x-more"}
	}
	if d.in(1, 3) {
		c.MaxAge = durationpb.New(time.Hour)
	}
	if d.in(1, 3) {
		c.AllowCredentials = wrapperspb.Bool(d.in(1, 2))
	}
	if d.in(1, 3) {
		c.UnmatchedPreflights = pick(d, networkingv1alpha3.CorsPolicy_FORWARD,
			networkingv1alpha3.CorsPolicy_IGNORE)
	}
	return c
}
