// Package parity puts two data planes under the same control plane, sends both the same requests,
// and tells what differs: in the answer, in what the backend saw, and in what the proxies recorded.
//
//	configuration ─┬─▶ mesh A ─▶ Outcome ─┐
//	               │                      ├─▶ Compare ─▶ suspects ─▶ repeat, test ─▶ Finding
//	requests ──────┴─▶ mesh B ─▶ Outcome ─┘                              └▶ shrink
//
// What is random is not compared once but often, by an exact two-sample test whose false-alarm rate
// is stated. It knows two meshes by topology.Mesh alone: what is behind them is not its business.
package parity

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/request"
)

// Outcome is what became of one request, as facts by name: "status", "header content-type",
// "backend path", "source curl route". Facts that differ from run to run are not in it, or are
// masked (see volatile).
type Outcome map[string]string

// Difference is one fact that two outcomes do not share; one that is missing is absent.
type Difference struct {
	Fact string `json:"fact"`
	A    string `json:"a"`
	B    string `json:"b"`
}

const absent = "(absent)"

// Compare lists the facts that differ, by name.
func Compare(a, b Outcome) []Difference {
	names := map[string]bool{}
	for k := range a {
		names[k] = true
	}
	for k := range b {
		names[k] = true
	}
	var out []Difference
	for _, k := range slices.Sorted(maps.Keys(names)) {
		x, in := a[k]
		if !in {
			x = absent
		}
		y, in := b[k]
		if !in {
			y = absent
		}
		if x != y {
			out = append(out, Difference{Fact: k, A: x, B: y})
		}
	}
	return out
}

// text writes an outcome in one form, by which equal ones are counted together.
func (o Outcome) text() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(o)) {
		fmt.Fprintf(&b, "%s=%s\n", k, o[k])
	}
	return b.String()
}

// volatile are headers whose value is another one each time; that they are there is compared.
var volatile = map[string]string{
	"date":                             "the time of the answer",
	"x-request-id":                     "drawn for each request",
	"x-envoy-upstream-service-time":    "a duration",
	"x-b3-traceid":                     "drawn for each trace",
	"x-b3-spanid":                      "drawn for each span",
	"x-b3-parentspanid":                "drawn for each span",
	"x-b3-sampled":                     "drawn for each trace",
	"traceparent":                      "drawn for each trace",
	"sec-websocket-accept":             "a hash of a drawn key",
	"x-envoy-ratelimited-reset-millis": "a duration",
}

var counted = regexp.MustCompile(`(from '[^']*'): \d+`)

// patterns mask what is drawn or counted inside of texts.
var patterns = []struct {
	why  string
	find *regexp.Regexp
	mask string
}{
	{"a cookie that the proxy makes is a hash of the connection's addresses, and so of a port",
		regexp.MustCompile(`="[0-9a-f]{16}"`), `="<hash>"`},
	{"a pod of an Envoy has a loopback address of the machine, which ends as its own does",
		regexp.MustCompile(`\b(?:127\.\d+|10\.244)(\.\d+\.\d+):`), "<pod$1>:"},
	{"every lab's authority issues certificates of its own",
		regexp.MustCompile(`\bHash=[0-9a-f]{64}`), "Hash=<hash>"},
	{"recommendation counts its answers", counted, "$1: <count>"},
	{"the reason why nobody is reached at an address that nobody has is the network's",
		regexp.MustCompile(`delayed_connect_error:_\w+`), "delayed_connect_error:<reason>"},
	{"a random key of the request itself", regexp.MustCompile(`parity-[0-9a-f]+-\d+`), "<unique>"},
}

func mask(s string) string {
	for _, p := range patterns {
		s = p.find.ReplaceAllString(s, p.mask)
	}
	return s
}

// seen is what mesh-lab/echo answers. Its count, and the address and port that it was called from,
// are another one each time.
type seen struct {
	Method, Path, Host, Body, Protocol     string
	Workload, Pod, Version, Namespace, URL string
	Port                                   int
	Headers                                map[string][]string
	Forward                                *struct {
		URL    string
		Status int
		Error  string
	}
}

// OutcomeOf takes the facts from a result.
func OutcomeOf(r *request.Result) Outcome {
	o := Outcome{}
	kind, _, _ := strings.Cut(r.Error, ":")
	o.put("error", kind)
	if r.Status != 0 {
		o.put("status", strconv.Itoa(r.Status))
	}
	echoed := o.body(r.Body)
	if counted.MatchString(r.Body) {
		echoed = true // the count has more digits when others have asked before
	}
	if t := r.Headers["content-type"]; r.Body == "" && len(t) == 1 && t[0] == "application/json" {
		echoed = true // to HEAD
	}
	for name, values := range r.Headers {
		if name == "content-length" && echoed {
			values = []string{"<echo>"} // its body holds names and counts of other lengths
		}
		o.header("header "+name, name, values)
	}
	o.hops(r.Hops)
	return o
}

// put sets a fact unless it is empty.
func (o Outcome) put(fact, value string) {
	if value != "" {
		o[fact] = mask(value)
	}
}

func (o Outcome) header(fact, name string, values []string) {
	value := strings.Join(values, " | ")
	if volatile[name] != "" {
		value = "<" + volatile[name] + ">"
	}
	o[fact] = mask(value)
}

// body takes what the backend saw from an echo's answer, and any other body as it is.
func (o Outcome) body(body string) bool {
	var s seen
	if json.Unmarshal([]byte(body), &s) != nil || s.Pod == "" {
		o.put("body", body)
		return false
	}
	o.put("backend method", s.Method)
	o.put("backend path", s.Path)
	o.put("backend host", s.Host)
	o.put("backend protocol", s.Protocol)
	o.put("backend body", s.Body)
	o.put("backend port", strconv.Itoa(s.Port))
	o.put("backend workload", s.Workload+"."+s.Namespace)
	o.put("backend version", s.Version)
	o.put("backend pod", s.Pod)
	for name, values := range s.Headers {
		o.header("backend header "+name, name, values)
	}
	if s.Forward != nil {
		o.put("forward status", strconv.Itoa(s.Forward.Status))
		o.put("forward error", s.Forward.Error)
	}
	return true
}

// hops takes the proxies' records: those of the senders in their order, those of the receivers as a
// set, for copies and retries overtake one another.
func (o Outcome) hops(hops []request.Hop) {
	var sources, destinations []Outcome
	for i := range hops {
		h := &hops[i]
		x := Outcome{}
		x.put("pod", h.Pod)
		x.put("status", strconv.Itoa(h.Status))
		x.put("flags", h.Flags)
		x.put("details", h.Details)
		x.put("route", h.Route)
		x.put("cluster", h.Cluster)
		x.put("config", h.Config)
		x.put("attempts", strconv.Itoa(h.Attempts))
		x.put("mirrors", strings.Join(h.Mirrors, " "))
		x.security(h)
		if h.Reporter == "source" {
			sources = append(sources, x)
		} else {
			destinations = append(destinations, x)
		}
	}
	slices.SortStableFunc(destinations, func(a, b Outcome) int {
		return cmp.Or(strings.Compare(a.settled().text(), b.settled().text()),
			strings.Compare(a.text(), b.text()))
	})
	o.number("source", sources)
	o.number("destination", destinations)
}

// security takes what handshakes and policies told.
func (o Outcome) security(h *request.Hop) {
	o.put("sni", h.SNI)
	o.put("tls", h.TLS)
	o.put("peer", h.Peer)
	o.put("upstream tls", h.UpstreamTLS)
	o.put("upstream peer", h.UpstreamPeer)
	o.put("upstream failure", h.UpstreamFailure)
	o.put("policy", h.Policy)
}

func (o Outcome) number(what string, hops []Outcome) {
	for i, h := range hops {
		prefix := what
		if i > 0 {
			prefix = fmt.Sprintf("%s %d", what, i+1)
		}
		for k, v := range h {
			o[prefix+" "+k] = v
		}
	}
	if len(hops) > 0 {
		o[what+"s"] = strconv.Itoa(len(hops))
	}
}

// chance are the facts that say which of several equal pods was chosen. Where no policy fixes the
// choice they are drawn for each request.
var chance = regexp.MustCompile(`^((backend )?(pod|version|workload)|destination( \d+)? pod)$`)

// settled returns an outcome without the choice of a pod.
func (o Outcome) settled() Outcome {
	out := maps.Clone(o)
	maps.DeleteFunc(out, func(k, _ string) bool { return chance.MatchString(k) })
	if body, ok := out["body"]; ok {
		out["body"] = fromPod.ReplaceAllString(body, " <pod>")
	}
	return out
}

// fromPod is how the tutorial's apps say who answered.
var fromPod = regexp.MustCompile(` v\d+ (\S+ )?from '[^']*'`)
