package embedded_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/testdata/truth"
)

// differs lists recorded requests (AREA/NAME REQUEST) that our mesh answers in another way, with the
// reason. One that begins to agree must leave the list.
var differs = map[string]string{
	"dr-lb/hash-cookie-ttl no-jar":         newCookie,
	"dr-lb/hash-cookie-ttl jar":            newCookie,
	"egress/allow-any other-port":          tcpRecord,
	"services/external-name alias-outside": tcpRecord,
	"services/no-port-name mysql-number":   tcpRecord,
	"services/two-services-one-pod two":    tcpRecord,
}

const (
	newCookie = "a new cookie is a hash of the connection's addresses, and so of an ephemeral port"
	tcpRecord = "the hop is plain TCP: its record is written when the connection closes, and names no request"
)

// later lists recorded requests that need a protocol that is not there yet.
func later(r *wanted) string {
	u, err := url.Parse(r.URL)
	switch {
	case err != nil:
		return "" // the request itself is the case
	case u.Scheme != "http":
		return u.Scheme + ":// is not there yet"
	case r.HTTP2:
		return "HTTP/2 is not there yet"
	}
	return ""
}

// wanted is one request of case.yaml.
type wanted struct {
	ID          string    `yaml:"id"`
	From        string    `yaml:"from"`
	Gateway     string    `yaml:"gateway"`
	URL         string    `yaml:"url"`
	Method      string    `yaml:"method"`
	Headers     yaml.Node `yaml:"headers"`
	Body        string    `yaml:"body"`
	Host        string    `yaml:"host"`
	Connect     string    `yaml:"connect"`
	Count       int       `yaml:"count"`
	Concurrency int       `yaml:"concurrency"`
	Cookies     bool      `yaml:"cookies"`
	HTTP2       bool      `yaml:"http2"`
	Wait        string    `yaml:"wait"`
}

// lines returns the headers as header lines, in the order written.
func (w *wanted) lines(t *testing.T) []string {
	var out []string
	for i := 0; i+1 < len(w.Headers.Content); i += 2 {
		k, v := w.Headers.Content[i], w.Headers.Content[i+1]
		values := []*yaml.Node{v}
		if v.Kind == yaml.SequenceNode {
			values = v.Content
		}
		for _, x := range values {
			out = append(out, k.Value+": "+x.Value)
		}
	}
	return out
}

// proxySeen is a proxy's access log of a request, as recorded.
type proxySeen struct {
	Pod      string `yaml:"pod"`
	Code     int    `yaml:"response_code"`
	Flags    string `yaml:"response_flags"`
	Details  string `yaml:"response_code_details"`
	Route    string `yaml:"route_name"`
	Cluster  string `yaml:"upstream_cluster"`
	Upstream string `yaml:"upstream"`
	Attempts int    `yaml:"attempts"`
}

// span is a duration in ms: a number, or the bounds of several.
type span float64

// UnmarshalYAML takes the lower bound.
func (d *span) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return n.Decode((*float64)(d))
	}
	var bounds struct{ Min float64 }
	err := n.Decode(&bounds)
	*d = span(bounds.Min)
	return err
}

// seen is what happened to one request.
type seen struct {
	Status  int            `yaml:"status"`
	Error   string         `yaml:"error"`
	Headers map[string]any `yaml:"headers"`
	Body    *string        `yaml:"body"`
	Backend *struct {
		Pod     string         `yaml:"pod"`
		Version string         `yaml:"version"`
		Method  string         `yaml:"method"`
		Path    string         `yaml:"path"`
		Host    string         `yaml:"host"`
		Headers map[string]any `yaml:"headers"`
		Body    *string        `yaml:"body"`
	} `yaml:"backend"`
	BackendVaries bool        `yaml:"backend_varies"`
	DurationMS    span        `yaml:"duration_ms"`
	NextHops      yaml.Node   `yaml:"next_hops"`
	Then          yaml.Node   `yaml:"then"`
	Client        *proxySeen  `yaml:"client_proxy"`
	Servers       []proxySeen `yaml:"server_proxies"`
}

// recording is one entry of observed.yaml.
type recording struct {
	seen     `yaml:",inline"`
	ID       string         `yaml:"id"`
	Count    int            `yaml:"count"`
	Statuses map[string]int `yaml:"statuses"`
	ServedBy map[string]int `yaml:"served_by"`
	Details  map[string]int `yaml:"client_details"`
	Clusters map[string]int `yaml:"client_clusters"`
	Flags    map[string]int `yaml:"client_flags"`
	SeenBy   map[string]int `yaml:"requests_seen_by"`
	First    *seen          `yaml:"first"`
	Second   *recording     `yaml:"second_run"`
	LastHop  map[string]int `yaml:"last_hop_statuses"`
}

// TestTruth sends the recorded requests through our mesh and compares the replies, flags and
// destinations with those that istiod and Envoy together gave.
func TestTruth(t *testing.T) {
	t.Parallel()
	var sent, waiting int
	for _, c := range truth.Cases(t) {
		if c.Rejected || !c.Has("observed.yaml") {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			config, diags := istio.Read([]istio.File{{Name: "config.yaml",
				Data: c.Read(t, "config.yaml")}}, istio.ReadOptions{})
			if istio.HasErrors(diags) {
				for _, d := range diags {
					if d.Severity == istio.Error && !strings.Contains(d.Msg, "not carried out yet") {
						t.Fatal(d)
					}
				}
				waiting++
				t.Skipf("waits: %s", diags[0])
			}
			n, w := playCase(t, c, config)
			sent += n
			waiting += w
		})
	}
	t.Logf("%d requests compared, %d cases or requests wait", sent, waiting)
	if sent == 0 {
		t.Error("nothing was compared")
	}
}

// playCase brings a case's mesh up and plays its requests.
func playCase(t *testing.T, c truth.Case, config *istio.Config) (sent, waiting int) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	m, err := embedded.Driver{}.Up(ctx, topology.Spec{Config: config, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if strings.Contains(string(c.Read(t, "config.yaml")), "outlierDetection") {
		// As Envoy does, hosts' health changes are merged for a second after an update of their
		// cluster (update_merge_window); the recording began later than that.
		<-time.After(1100 * time.Millisecond)
	}
	var requests struct{ Requests []wanted }
	var recorded struct{ Requests []recording }
	decode(t, c.Read(t, "case.yaml"), &requests)
	decode(t, c.Read(t, "observed.yaml"), &recorded)
	for i := range requests.Requests {
		w := &requests.Requests[i]
		j := slices.IndexFunc(recorded.Requests, func(r recording) bool { return r.ID == w.ID })
		if j < 0 {
			t.Fatalf("%s is not recorded", w.ID)
		}
		if reason := later(w); reason != "" {
			waiting++
			t.Logf("waits: %s: %s", w.ID, reason)
			continue
		}
		if w.Wait != "" {
			d, err := time.ParseDuration(w.Wait)
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(d) // the story's own time: an ejection ends
		}
		results := play(t, ctx, m, w)
		problems := compare(&recorded.Requests[j], results, max(1, w.Count))
		key := c.String() + " " + w.ID
		sent++
		switch reason := differs[key]; {
		case reason != "" && len(problems) == 0:
			t.Errorf("%s agrees now: take it off the list", key)
		case reason == "" && len(problems) > 0:
			t.Errorf("%s:\n  %s", w.ID, strings.Join(problems, "\n  "))
		}
	}
	return sent, waiting
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := yaml.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// play sends one entry's requests.
func play(t *testing.T, ctx context.Context, m topology.Mesh, w *wanted) []request.Result {
	t.Helper()
	var out []request.Result
	err := request.Send(ctx, m, request.Spec{
		From: w.From, Gateway: w.Gateway, URL: w.URL, Method: w.Method, Headers: w.lines(t),
		Body: w.Body, Host: w.Host, Connect: w.Connect, Count: w.Count, Concurrency: w.Concurrency,
		Cookies: w.Cookies, Timeout: 10 * time.Second,
	}, func(r request.Result) error {
		out = append(out, r)
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", w.ID, err)
	}
	return out
}

// compare tells what differs between the recording and our results.
func compare(want *recording, got []request.Result, count int) []string {
	if want.Count == 0 {
		return compareOne(&want.seen, &got[0])
	}
	var out []string
	tallies := tally(got)
	second := want.Second
	if second == nil {
		second = &recording{}
	}
	for _, c := range []struct {
		name      string
		want, two map[string]int
	}{
		{"statuses", want.Statuses, second.Statuses},
		{"served_by", want.ServedBy, second.ServedBy},
		{"client_details", want.Details, second.Details},
		{"client_clusters", want.Clusters, second.Clusters},
		{"client_flags", want.Flags, second.Flags},
	} {
		if c.want == nil {
			continue
		}
		if d := compareCounts(c.want, c.two, tallies[c.name], count); d != "" {
			out = append(out, c.name+": "+d)
		}
	}
	if want.First != nil && len(want.Statuses) == 1 && len(want.ServedBy) == 1 &&
		len(want.Flags) < 2 && len(want.SeenBy) == 0 && second.ServedBy == nil {
		out = append(out, compareOne(want.First, &got[0])...)
	}
	return out
}

// tally counts results as the recording does.
func tally(got []request.Result) map[string]map[string]int {
	out := map[string]map[string]int{}
	add := func(name, key string) {
		if out[name] == nil {
			out[name] = map[string]int{}
		}
		out[name][key]++
	}
	for _, r := range got {
		if r.Error != "" {
			kind, _, _ := strings.Cut(r.Error, ":")
			add("statuses", kind)
		} else {
			add("statuses", strconv.Itoa(r.Status))
		}
		if p := echoed(&r); p != nil {
			add("served_by", p.Pod)
		}
		if h := clientHop(&r); h != nil {
			add("client_details", h.Details)
			if h.Cluster != "" {
				add("client_clusters", h.Cluster)
			}
			add("client_flags", cmp.Or(h.Flags, "-"))
		}
	}
	return out
}

// compareCounts holds shares against recorded ones: exactly where the recording knows one outcome,
// else by the difference of two proportions at five standard deviations.
func compareCounts(want, second, got map[string]int, n int) string {
	if len(want) == 1 && len(second) == 1 && !maps.Equal(want, second) && len(got) == 1 {
		return "" // all to one, but not always to the same
	}
	for k := range got {
		if _, ok := want[k]; !ok && second[k] == 0 && got[k]*50 > n {
			return fmt.Sprintf("want %v, got %v", want, got)
		}
	}
	for k, w := range want {
		total := n
		p, q := float64(w)/float64(total), float64(got[k])/float64(total)
		mean := (p + q) / 2
		limit := 5 * math.Sqrt(2*mean*(1-mean)/float64(total))
		if w == n || len(want) == 1 && second == nil {
			limit = 0
		}
		if math.Abs(p-q) > limit {
			return fmt.Sprintf("want %v (then %v), got %v", want, second, got)
		}
	}
	return ""
}

// echo is what mesh-lab/echo answers.
type echo struct {
	Pod, Version, Method, Path, Host, Body string
	Headers                                map[string][]string
}

// echoed returns what the answering app saw; nil when no echo answered.
func echoed(r *request.Result) *echo {
	var e echo
	if json.Unmarshal([]byte(r.Body), &e) != nil || e.Pod == "" {
		return nil
	}
	return &e
}

func clientHop(r *request.Result) *request.Hop {
	i := slices.IndexFunc(r.Hops, func(h request.Hop) bool { return h.Reporter == "source" })
	if i < 0 {
		return nil
	}
	return &r.Hops[i]
}

// compareOne compares one request.
func compareOne(want *seen, got *request.Result) []string {
	if len(got.Hops) > 0 && want.Client != nil && equivalent(want.Client, &got.Hops[0]) {
		want.BackendVaries = true // one of several hosts of the same cluster: no policy fixes which
	}
	var out []string
	differ := func(what string, want, got any) {
		if fmt.Sprint(want) != fmt.Sprint(got) {
			out = append(out, fmt.Sprintf("%s: want %v, got %v", what, want, got))
		}
	}
	kind, _, _ := strings.Cut(want.Error, ":")
	gotKind, _, _ := strings.Cut(got.Error, ":")
	differ("error", kind, gotKind)
	differ("status", want.Status, got.Status)
	e := echoed(got)
	if want.Error == "" {
		h := lists(got.Headers)
		if e != nil {
			delete(h, "content-type") // the recording leaves out the echo's own
		}
		differ("headers", headers(want.Headers), headers(h))
	}
	switch {
	case want.Backend != nil && e == nil:
		out = append(out, fmt.Sprintf("backend: want %s, got none: %d %q", want.Backend.Pod,
			got.Status, got.Body))
	case want.Backend == nil && e != nil:
		out = append(out, "backend: want none, got "+e.Pod)
	case want.Backend != nil && want.Backend.Method != "":
		b := want.Backend
		if !want.BackendVaries {
			differ("backend", b.Pod, e.Pod)
		}
		differ("backend method", b.Method, e.Method)
		differ("backend path", b.Path, e.Path)
		differ("backend host", b.Host, e.Host)
		differ("backend headers", headers(b.Headers), headers(lists(e.Headers)))
		if b.Body != nil {
			differ("backend body", *b.Body, e.Body)
		}
	}
	if want.Body != nil {
		differ("body", *want.Body, got.Body)
	}
	if least := float64(want.DurationMS); got.DurationMS < least*0.8-20 {
		out = append(out, fmt.Sprintf("duration: want %.0f ms, got %.0f ms", least, got.DurationMS))
	}
	return append(out, compareHops(want, got)...)
}

// equivalent says whether both went to the same cluster without a policy that fixes the host.
func equivalent(w *proxySeen, h *request.Hop) bool {
	return w.Cluster == h.Cluster && w.Upstream != h.Upstream && !fixed[w.Cluster]
}

// fixed names clusters whose hosts a policy chooses: another host would be wrong there.
var fixed = map[string]bool{"outbound|4100||hive.meadow.svc.cluster.local": true}

// compareHops compares the proxies' access logs.
func compareHops(want *seen, got *request.Result) []string {
	var out []string
	h := clientHop(got)
	switch {
	case want.Client == nil:
		return nil
	case h == nil:
		return []string{"client_proxy: no record"}
	}
	out = append(out, compareHop("client_proxy", want.Client, h, want.BackendVaries)...)
	var servers []*request.Hop
	for i := range got.Hops {
		if &got.Hops[i] != h {
			servers = append(servers, &got.Hops[i])
		}
	}
	chain := !want.NextHops.IsZero() || !want.Then.IsZero()
	if len(servers) != len(want.Servers) && !chain {
		return append(out, fmt.Sprintf("server_proxies: want %d, got %d", len(want.Servers),
			len(servers)))
	}
	if want.BackendVaries {
		return out
	}
	left := slices.Clone(servers)
	for i := range want.Servers {
		w := &want.Servers[i]
		var diff []string
		j := slices.IndexFunc(left, func(s *request.Hop) bool {
			diff = compareHop("server_proxy "+w.Pod, w, s, false)
			return s.Pod == w.Pod && len(diff) == 0
		})
		if j < 0 {
			out = append(out, append([]string{"no such server_proxy: " + fmt.Sprint(*w)}, diff...)...)
			continue
		}
		left = slices.Delete(left, j, j+1)
	}
	return out
}

func compareHop(what string, w *proxySeen, h *request.Hop, varies bool) []string {
	var out []string
	differ := func(field string, want, got any) {
		if fmt.Sprint(want) != fmt.Sprint(got) {
			out = append(out, fmt.Sprintf("%s %s: want %v, got %v", what, field, want, got))
		}
	}
	differ("response_code", w.Code, h.Status)
	differ("response_flags", strings.Trim(w.Flags, "-"), h.Flags)
	differ("response_code_details", strings.Trim(w.Details, "-"), h.Details)
	differ("route_name", strings.Trim(w.Route, "-"), h.Route)
	differ("upstream_cluster", strings.Trim(w.Cluster, "-"), h.Cluster)
	if !varies {
		differ("upstream", strings.Trim(w.Upstream, "-"), h.Upstream)
	}
	if w.Attempts > 0 {
		differ("attempts", w.Attempts, h.Attempts)
	}
	return out
}

// volatile are headers that the recording leaves out, and what mutual TLS adds.
var volatile = []string{
	"date", "x-request-id", "x-envoy-upstream-service-time", "content-length",
	"x-forwarded-client-cert", "connection", "transfer-encoding",
}

// generated is the value of a cookie that the proxy made.
var generated = regexp.MustCompile(`="[0-9a-f]{16}"`)

// headers prints headers in one form, without the volatile ones.
func headers(h map[string]any) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(h)) {
		if slices.Contains(volatile, k) {
			continue
		}
		values, ok := h[k].([]any)
		if !ok {
			values = []any{h[k]}
		}
		for _, v := range values {
			if k == "set-cookie" {
				v = generated.ReplaceAllString(fmt.Sprint(v), `="<hash>"`)
			}
			out = append(out, fmt.Sprintf("%s: %v", k, v))
		}
	}
	return strings.Join(out, "; ")
}

func lists(h map[string][]string) map[string]any {
	out := map[string]any{}
	for k, vs := range h {
		var l []any
		for _, v := range vs {
			l = append(l, v)
		}
		out[strings.ToLower(k)] = l
	}
	return out
}
