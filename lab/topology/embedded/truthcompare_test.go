package embedded_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/request"
)

// anyPod makes a recording of requests that one pod answered one of any such pod, however long it
// takes.
func (r *recording) anyPod() {
	for _, s := range []*seen{&r.seen, r.First} {
		if s != nil {
			s.BackendVaries, s.DurationMS = true, 0
		}
	}
	r.Others = true
}

// anyBackOff lets retried requests take any time: the back-off is any part of its interval, and no
// seed of ours decides it when a real Envoy draws.
func (r *recording) anyBackOff() {
	for _, s := range []*seen{&r.seen, r.First} {
		if s != nil && s.Client != nil && s.Client.Attempts > 1 {
			s.DurationMS = 0
		}
	}
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
		if c.want == nil || c.name == "served_by" && want.Others && len(tallies[c.name]) == 1 {
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
	Port                                   int
	Headers                                map[string][]string
	TLS                                    struct{ SNI string }
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

// denied says that an external authorizer has answered.
func denied(want *seen) bool {
	return slices.ContainsFunc(want.Servers, func(p proxySeen) bool {
		return p.Details == "ext_authz_denied"
	})
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
	if kind == "tls" && !rushed(want.Error, got.Error) {
		differ("error", want.Error, got.Error)
	}
	differ("status", want.Status, got.Status)
	if len(want.Certificate) > 0 && got.TLS != nil && !want.BackendVaries {
		differ("certificate", want.Certificate, got.TLS.Certificate)
	}
	e := echoed(got)
	if want.Error == "" {
		h := lists(got.Headers)
		if e != nil {
			delete(h, "content-type") // the recording leaves out the echo's own
		}
		differ("headers", headers(want.Headers), headers(h))
	}
	switch {
	case want.Status == http.StatusSwitchingProtocols && got.Backend != nil:
		differ("backend", want.Backend.Pod, got.Backend.Pod) // the echo is in the tunnel
	case want.Backend != nil && e == nil:
		out = append(out, fmt.Sprintf("backend: want %s, got none: %d %q", want.Backend.Pod,
			got.Status, got.Body))
	case want.Backend == nil && e != nil && denied(want):
		// The body is what the authorizer, an echo too, has said.
	case want.Backend == nil && e != nil && authorized(want):
		out = append(out, "backend: want none, got "+e.Pod)
	case want.Backend != nil && want.Backend.Method == "":
		b := want.Backend
		if !want.BackendVaries {
			differ("backend", b.Pod, e.Pod)
			differ("backend port", b.Port, e.Port)
		}
		differ("backend sni", b.SNI, e.TLS.SNI)
	case want.Backend != nil:
		b := want.Backend
		differ("backend sni", b.SNI, e.TLS.SNI)
		if !want.BackendVaries {
			differ("backend", b.Pod, e.Pod)
		}
		differ("backend method", b.Method, e.Method)
		differ("backend path", maskToken(b.Path), maskToken(e.Path))
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

// rushed says whether the recorded client lost the race for the reason of a refusal: a server that
// checks the client's certificate sends it when the request is on its way, and closes.
func rushed(want, got string) bool {
	return want == "tls: closed by the server" && got == "tls: remote error: tls: certificate required"
}

// authorized says whether the answer was not an authorizer's own, which an echo plays here: the
// recording does not take that for a backend's.
func authorized(want *seen) bool {
	denied := func(p proxySeen) bool { return p.Details == "ext_authz_denied" }
	return !slices.ContainsFunc(want.Servers, denied)
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
	differ("filter_chain", w.Chain, h.Chain)
	differ("requested_server_name", w.SNI, h.SNI)
	differ("tls", w.TLS, h.TLS)
	differ("peer", w.Peer, h.Peer)
	differ("upstream_transport_failure_reason", w.Failure, h.UpstreamFailure)
	if w.Flags != "UAEX" { // an authorizer is no policy by name
		differ("policy", cmp.Or(deniedBy(w.Termination), deniedBy(w.Details)), h.Policy)
	}
	return out
}

// deniedBy returns the policy that an access log blames, of a connection or of a request.
func deniedBy(details string) string {
	if why, ok := strings.CutPrefix(details, "jwt_authn_access_denied{"); ok {
		return strings.ReplaceAll(strings.TrimSuffix(why, "}"), "_", " ")
	}
	policy, ok := strings.CutPrefix(details, "rbac_access_denied_matched_policy[")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(policy, "]")
}

// volatile are headers that the recording leaves out.
var volatile = []string{
	"date", "x-request-id", "x-envoy-upstream-service-time", "content-length", "connection",
	"transfer-encoding",
}

const clientCert = "x-forwarded-client-cert"

// Certificates and their hashes, which the recording masks.
var (
	hashes = regexp.MustCompile(`Hash=[0-9a-f]{64}`)
	certs  = regexp.MustCompile(`Cert="[^"]+"`)
)

func maskCert(xfcc string) string {
	return certs.ReplaceAllString(hashes.ReplaceAllString(xfcc, "Hash=<hash>"),
		`Cert="<certificate>"`)
}

// tokens are JSON Web Tokens and their payloads, and what the recording has in their place.
var tokens = regexp.MustCompile(`eyJ[\w-]+(\.[\w-]+\.[\w-]*)?|<(token|payload) [^>]*>`)

func maskToken(text string) string { return tokens.ReplaceAllString(text, "<token>") }

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
			switch k {
			case "set-cookie":
				v = generated.ReplaceAllString(fmt.Sprint(v), `="<hash>"`)
			case clientCert:
				v = maskCert(fmt.Sprint(v))
			default:
				v = maskToken(fmt.Sprint(v))
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
