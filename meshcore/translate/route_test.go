package translate

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// newLab reads a configuration and fails the test when it is refused.
func newLab(t testing.TB, yaml string) *Translator {
	t.Helper()
	c, diags := istio.Read([]istio.File{{Name: "lab.yaml", Data: []byte(yaml)}}, istio.ReadOptions{})
	for _, d := range diags {
		t.Log(d)
	}
	if istio.HasErrors(diags) {
		t.Fatal("the configuration is refused")
	}
	r, _ := NewRegistry(c, nil)
	return New(c, r)
}

// pod returns a pod of the lab by its node name.
func (t *Translator) pod(tb testing.TB, id string) *Pod {
	tb.Helper()
	for _, p := range t.registry.Pods {
		if p.ID() == id {
			return p
		}
	}
	tb.Fatalf("no pod %s", id)
	return nil
}

// Objects in the fewest words. A service has a pod of its name, which is a client too.
func serviceYAML(name, ns string, ports ...string) string {
	return fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: %[2]s}
spec: {selector: {app: %[1]s}, ports: [%[3]s]}
---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: %[2]s, labels: {app: %[1]s}}
spec: {containers: [{name: app, image: mesh-lab/echo}]}
`, name, ns, strings.Join(ports, ", "))
}

func virtualServiceYAML(name, ns, spec string) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s, namespace: %s}
spec: %s
`, name, ns, spec)
}

const http80 = "{name: http, port: 80}"

// says prints, for each virtual host, its domains and what each route does.
func says(rc *routev3.RouteConfiguration) string {
	var b strings.Builder
	for _, vh := range rc.GetVirtualHosts() {
		fmt.Fprintf(&b, "%s %s\n", vh.Name, strings.Join(vh.Domains, " "))
		for _, r := range vh.Routes {
			fmt.Fprintf(&b, "  %s%s%s: %s\n", r.Match.GetPrefix(), r.Match.GetPath(),
				r.Match.GetSafeRegex().GetRegex(), actionOf(r))
		}
	}
	return b.String()
}

func actionOf(r *routev3.Route) string {
	switch {
	case r.GetDirectResponse() != nil:
		return fmt.Sprint(r.GetDirectResponse().Status)
	case r.GetRedirect() != nil:
		return "redirect"
	case r.GetRoute().GetWeightedClusters() != nil:
		var out []string
		for _, c := range r.GetRoute().GetWeightedClusters().Clusters {
			out = append(out, fmt.Sprintf("%s=%d", c.Name, c.Weight.Value))
		}
		return strings.Join(out, " ")
	}
	return r.GetRoute().GetCluster()
}

// wants compares text, ignoring the indentation that all lines share.
func wants(t *testing.T, got, want string) {
	t.Helper()
	want = strings.ReplaceAll(strings.TrimPrefix(want, "\n"), "\n\t\t", "\n")
	want = strings.TrimSuffix(strings.TrimPrefix(want, "\t\t"), "\t")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestRedirectPort(t *testing.T) {
	type redirect = networkingv1alpha3.HTTPRedirect
	port := func(n uint32) *redirect {
		return &redirect{RedirectPort: &networkingv1alpha3.HTTPRedirect_Port{Port: n}}
	}
	derived := func(scheme string) *redirect {
		return &redirect{Scheme: scheme, RedirectPort: &networkingv1alpha3.HTTPRedirect_DerivePort{
			DerivePort: networkingv1alpha3.HTTPRedirect_FROM_REQUEST_PORT}}
	}
	for _, c := range []struct {
		name string
		in   *redirect
		port int
		tls  bool
		want uint32
	}{
		{"none", &redirect{}, 8080, false, 0},
		{"explicit", port(9090), 80, false, 9090},
		{"explicit 80 of http", port(80), 80, false, 0},
		{"explicit 80 of https", port(80), 443, true, 80},
		{"explicit 443 of https", port(443), 443, true, 0},
		{"explicit 443 of http", port(443), 80, false, 443},
		{"derived", derived(""), 8080, false, 8080},
		{"derived 80", derived(""), 80, false, 0},
		{"derived 443 to https", derived("https"), 443, false, 0},
		{"derived 80 to https", derived("https"), 80, false, 80},
		{"derived 80 on TLS to http", derived("http"), 80, true, 0},
	} {
		if got := redirectPort(c.in, &routeSite{port: c.port, tls: c.tls}); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestRetryConditions(t *testing.T) {
	for _, c := range []struct {
		in, want string
		statuses []uint32
	}{
		{"5xx", "5xx", nil},
		{" connect-failure , 503,409 ", "connect-failure,retriable-status-codes", []uint32{503, 409}},
		{"503,retriable-status-codes", "retriable-status-codes", []uint32{503}},
		{"503", ",retriable-status-codes", []uint32{503}},
		{"5xx,,", "5xx", nil},
		{"299,306,418", "299,306,retriable-status-codes", []uint32{418}},
	} {
		got, statuses := retryConditions(c.in)
		if got != c.want || !cmp.Equal(statuses, c.statuses) {
			t.Errorf("%q: %q %v, want %q %v", c.in, got, statuses, c.want, c.statuses)
		}
	}
}

func TestRetryPolicy(t *testing.T) {
	type retry = networkingv1alpha3.HTTPRetry
	if p := retryPolicy(&retry{RetryOn: "5xx"}, false); p != nil {
		t.Errorf("without attempts nothing is retried, got %v", p)
	}
	avoids := func(in *retry, hashed bool) bool {
		return len(retryPolicy(in, hashed).RetryHostPredicate) > 0
	}
	if !avoids(nil, false) || avoids(nil, true) || avoids(&retry{Attempts: 1}, true) {
		t.Error("previous hosts are to be avoided unless a hash chooses the host")
	}
	if !avoids(&retry{Attempts: 1, RetryIgnorePreviousHosts: wrapperspb.Bool(true)}, true) ||
		avoids(&retry{Attempts: 1, RetryIgnorePreviousHosts: wrapperspb.Bool(false)}, false) {
		t.Error("retryIgnorePreviousHosts is to win over the hash")
	}
	p := retryPolicy(&retry{
		Attempts: 4, PerTryTimeout: durationpb.New(2), Backoff: durationpb.New(3),
		RetryRemoteLocalities: wrapperspb.Bool(true),
	}, false)
	if p.NumRetries.Value != 4 || p.RetryOn != defaultRetryOn || p.PerTryTimeout.Nanos != 2 ||
		p.RetryBackOff.BaseInterval.Nanos != 3 || p.RetryPriority == nil {
		t.Errorf("got %v", p)
	}
}

// TestRegisteredStatus pins the codes that have a name in RFC 9110 and its extensions.
func TestRegisteredStatus(t *testing.T) {
	n := 0
	for code := range 700 {
		if registeredStatus(code) {
			n++
		}
	}
	if n != 62 {
		t.Errorf("%d codes, want 62", n)
	}
}

func TestPercentages(t *testing.T) {
	for in, want := range map[float64]uint32{100: 1e6, 0.5: 5000, 0.00009: 0, 33.33333: 333333} {
		if got := millionths(&networkingv1alpha3.Percent{Value: in}); got.Numerator != want {
			t.Errorf("%v %%: %d, want %d", in, got.Numerator, want)
		}
	}
}

func TestHeaderOperations(t *testing.T) {
	ops := headerOperationsOf(&networkingv1alpha3.Headers{
		Request: &networkingv1alpha3.Headers_HeaderOperations{
			Set:    map[string]string{"b": "1", "a": "2", "Host": "set.example.com", ":path": "/x"},
			Add:    map[string]string{"c": "3", ":authority": "added.example.com"},
			Remove: []string{"d", "HOST", ":method"},
		},
		Response: &networkingv1alpha3.Headers_HeaderOperations{
			Set: map[string]string{"host": "kept.out"}, Remove: []string{"server"},
		},
	})
	var got []string
	for _, h := range ops.requestAdd {
		over := h.AppendAction == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		got = append(got, fmt.Sprintf("%s=%s %v", h.Header.Key, h.Header.Value, over))
	}
	want := []string{"a=2 true", "b=1 true", "c=3 false"}
	if !cmp.Equal(got, want) || !cmp.Equal(ops.requestRemove, []string{"d"}) ||
		len(ops.responseAdd) != 0 || !cmp.Equal(ops.responseRemove, []string{"server"}) ||
		ops.authority != "set.example.com" {
		t.Errorf("got %v %+v", got, ops)
	}
}

func TestMatchesEverything(t *testing.T) {
	str := func(m any) *networkingv1alpha3.StringMatch {
		switch m := m.(type) {
		case pattern:
			return &networkingv1alpha3.StringMatch{
				MatchType: &networkingv1alpha3.StringMatch_Regex{Regex: string(m)}}
		case string:
			return &networkingv1alpha3.StringMatch{
				MatchType: &networkingv1alpha3.StringMatch_Prefix{Prefix: m}}
		}
		return nil
	}
	type request = networkingv1alpha3.HTTPMatchRequest
	headers := map[string]*networkingv1alpha3.StringMatch{"x": str("1")}
	for i, c := range []struct {
		in   *request
		want bool
	}{
		{nil, true},
		{&request{}, true},
		{&request{Uri: str("/")}, true},
		{&request{Uri: str("/a")}, false},
		{&request{Uri: str(pattern(".*"))}, true},
		{&request{Uri: str(pattern("/.*"))}, false},
		{&request{Headers: headers}, false},
		{&request{WithoutHeaders: headers}, false},
		{&request{QueryParams: headers}, false},
		{&request{Method: str("GET")}, false},
	} {
		if got := matchesEverything(routeMatch(c.in)); got != c.want {
			t.Errorf("%d: %v is %v", i, c.in, got)
		}
	}
}

type pattern string
