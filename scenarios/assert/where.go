package assert

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Where selects records. `from`, `to` and what only a caller's sidecar knows look at the records of
// callers' sidecars; `at` looks at those of the destination's; without any of them, at the clients
// that sent the load. It is the vocabulary that all expectations share.
type Where struct {
	From     string   `yaml:"from" about:"as the sidecar of this workload (or service) sent it"`
	At       string   `yaml:"at" about:"as this service, workload or pod received it"`
	To       string   `yaml:"to" about:"service (or workload) that the caller's sidecar chose"`
	Version  string   `yaml:"version" about:"version of the destination"`
	Pod      string   `yaml:"pod" about:"pod of the destination"`
	Cluster  string   `yaml:"cluster" about:"upstream cluster of the caller's sidecar"`
	Route    string   `yaml:"route" about:"route name at the caller's sidecar"`
	Flag     string   `yaml:"flag" about:"Envoy response flag: UO, UT, FI, URX, ...; \"-\" is none"`
	Status   Statuses `yaml:"status" about:"status: 503, 5xx, error, or a list"`
	Path     string   `yaml:"path" about:"path; a trailing * matches any rest"`
	Method   string   `yaml:"method" about:"method"`
	Header   Pairs    `yaml:"header" about:"request headers; \"*\" is any value, \"-\" is none"`
	TLS      string   `yaml:"tls" about:"how it came: TLSv1.3; \"*\" any TLS, \"-\" none"`
	Peer     string   `yaml:"peer" about:"the client; \"*\" any, \"-\" none, or at an end"`
	Policy   string   `yaml:"policy" about:"what refused it: ns[NS]-policy[NAME]-rule[N], none; *"`
	Attempts Number   `yaml:"attempts" about:"tries of the caller's sidecar: 3, >= 2, 1..3"`
	Took     Span     `yaml:"took" about:"duration: < 250ms, >= 1s, 1s..1.3s"`
}

// View is whose records a Where selects.
type View uint8

// The views.
const (
	ClientView View = iota
	SourceView
	DestinationView
)

// Holds says whether a record is one of the view's.
func (v View) Holds(r *observe.Request) bool {
	return r.Reporter == [...]observe.Reporter{"", observe.Source, observe.Destination}[v]
}

// View returns whose records are looked at.
func (w *Where) View() View {
	switch {
	case w.At != "":
		return DestinationView
	case w.From != "", w.To != "", w.Version != "", w.Pod != "", w.Cluster != "", w.Route != "",
		w.Flag != "", w.TLS != "", w.Peer != "", w.Policy != "",
		w.Path != "", w.Method != "", len(w.Header) > 0, w.Attempts.Set():
		return SourceView
	}
	return ClientView
}

// Validate says what contradicts itself.
func (w *Where) Validate() error {
	if w.At != "" && (w.To != "" || w.From != "" || w.Attempts.Set()) {
		return fmt.Errorf("at looks at the destination's records, from, to and attempts at the " +
			"caller's; choose one")
	}
	return nil
}

// Headers returns the request headers that records must keep, lower-case.
func (w *Where) Headers() []string {
	var out []string
	for _, h := range w.Header {
		out = append(out, strings.ToLower(h.Name))
	}
	return out
}

func (w *Where) took(d time.Duration) bool { return !w.Took.Set() || w.Took.Holds(d) }

// Holds says whether a record is selected.
func (w *Where) Holds(r *observe.Request) bool {
	view := w.View()
	return view.Holds(r) && (view != SourceView || w.source(r)) &&
		(view != DestinationView || w.destination(r)) && w.common(r)
}

func (w *Where) source(r *observe.Request) bool {
	d := &r.Dest
	return (w.From == "" || isWorkload(w.From, self(r))) &&
		(w.To == "" || isService(w.To, r.Cluster) || isWorkload(w.To, *d)) &&
		(w.Version == "" || w.Version == d.Version) &&
		(w.Pod == "" || w.Pod == d.Pod) &&
		(!w.Attempts.Set() || w.Attempts.Holds(int64(len(r.Attempts))))
}

func (w *Where) destination(r *observe.Request) bool {
	me := self(r)
	me.Service = r.Dest.Service
	return isWorkload(w.At, me) &&
		(w.Version == "" || w.Version == r.Version) && (w.Pod == "" || w.Pod == me.Pod)
}

func (w *Where) common(r *observe.Request) bool {
	if w.Cluster != "" && w.Cluster != r.Cluster || w.Route != "" && w.Route != r.Route ||
		w.Method != "" && !strings.EqualFold(w.Method, r.Method) {
		return false
	}
	if w.Flag != "" && !hasFlag(r.Flags, w.Flag) || !isPath(w.Path, r.Path) {
		return false
	}
	if !isText(w.TLS, r.TLS) || !isText(w.Peer, r.Peer) || !isText(w.Policy, r.Policy) {
		return false
	}
	for _, h := range w.Header {
		if !h.holds(r.Headers[strings.ToLower(h.Name)]) {
			return false
		}
	}
	return (len(w.Status) == 0 || w.Status.Holds(r.Status)) && w.took(r.Duration)
}

// String says what is selected: "from preference to recommendation status 503".
func (w *Where) String() string {
	var parts []string
	add := func(what, value string) {
		if value != "" {
			parts = append(parts, what+" "+value)
		}
	}
	add("from", w.From)
	add("at", w.At)
	add("to", w.To)
	add("version", w.Version)
	add("pod", w.Pod)
	add("cluster", w.Cluster)
	add("route", w.Route)
	add("flag", w.Flag)
	add("tls", w.TLS)
	add("peer", w.Peer)
	add("policy", w.Policy)
	add("status", w.Status.String())
	add("path", w.Path)
	add("method", w.Method)
	for _, h := range w.Header {
		add(h.Name+":", h.Value)
	}
	if w.Attempts.Set() {
		add("attempts", w.Attempts.String())
	}
	if w.Took.Set() {
		add("took", w.Took.String())
	}
	return strings.Join(parts, " ")
}

// self returns the workload whose sidecar wrote a record.
func self(r *observe.Request) observe.Workload {
	pod, _, _ := strings.Cut(r.Proxy, ".")
	return observe.Workload{Pod: pod, Workload: r.Workload, Version: r.Version,
		Namespace: r.Namespace}
}

// isWorkload says whether name (NAME or NAME.NAMESPACE...) means this pod, its workload or its
// service. A workload recommendation-v1 of version v1 belongs to recommendation, as manifests are
// usually written.
func isWorkload(name string, w observe.Workload) bool {
	name, ns, _ := strings.Cut(name, ".")
	ns, _, _ = strings.Cut(ns, ".")
	if ns != "" && ns != w.Namespace {
		return false
	}
	return name != "" && (name == w.Pod || name == w.Workload || name == w.Service ||
		w.Version != "" && name+"-"+w.Version == w.Workload)
}

// isService says whether a cluster "outbound|PORT|SUBSET|HOST" leads to the service.
func isService(name, cluster string) bool {
	host := cluster[strings.LastIndexByte(cluster, '|')+1:]
	return host != cluster && (host == name || strings.HasPrefix(host, name+"."))
}

func hasFlag(flags, want string) bool {
	if want == "-" {
		return flags == ""
	}
	for f := range strings.SplitSeq(flags, ",") {
		if f == want {
			return true
		}
	}
	return false
}

func isPath(want, path string) bool {
	if prefix, ok := strings.CutSuffix(want, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	if want == "" || want == path {
		return true
	}
	path, _, query := strings.Cut(path, "?")
	return query && want == path
}

// isText compares with what is wanted: "" anything at all, "*" any text, "-" none; an asterisk at
// either end stands for any rest.
func isText(want, got string) bool {
	prefix, open := strings.CutSuffix(want, "*")
	suffix, front := strings.CutPrefix(want, "*")
	switch {
	case want == "":
		return true
	case want == "*":
		return got != ""
	case want == "-":
		return got == ""
	case open:
		return strings.HasPrefix(got, prefix)
	case front:
		return strings.HasSuffix(got, suffix)
	}
	return got == want
}

// Pair is a header that is wanted or sent.
type Pair struct{ Name, Value string }

// holds says whether the header's value is as wanted: "*" any, "-" none.
func (p Pair) holds(got string) bool {
	switch p.Value {
	case "*":
		return got != ""
	case "-":
		return got == ""
	}
	return got == p.Value
}

// Pairs are headers in the order written.
type Pairs []Pair

// Put adds one; it is how the scenario's reader fills them.
func (p *Pairs) Put(name, value string) error {
	*p = append(*p, Pair{Name: name, Value: value})
	return nil
}

// Statuses are the statuses wanted: single ones, classes (5xx), or "error" (no reply at all).
type Statuses []StatusRange

// StatusRange is a range of statuses; 0 is no reply at all.
type StatusRange struct{ Low, High int }

// Holds says whether a status is among them.
func (s Statuses) Holds(status int) bool {
	for _, r := range s {
		if r.Low <= status && status <= r.High {
			return true
		}
	}
	return false
}

// UnmarshalText reads one status or class.
func (r *StatusRange) UnmarshalText(b []byte) error {
	text := string(b)
	if text == "error" {
		*r = StatusRange{}
		return nil
	}
	if class, ok := strings.CutSuffix(text, "xx"); ok && len(class) == 1 &&
		class[0] >= '1' && class[0] <= '5' {
		low := int(class[0]-'0') * 100
		*r = StatusRange{low, low + 99}
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 100 || n > 599 {
		return fmt.Errorf("%q is no status; write it as 503, 5xx or error", text)
	}
	*r = StatusRange{n, n}
	return nil
}

// String prints a status or class as it may be written.
func (r StatusRange) String() string {
	switch {
	case r.High == 0:
		return "error"
	case r.Low == r.High:
		return strconv.Itoa(r.Low)
	}
	return strconv.Itoa(r.Low/100) + "xx"
}

// String prints them as they may be written.
func (s Statuses) String() string {
	var parts []string
	for _, r := range s {
		parts = append(parts, r.String())
	}
	return strings.Join(parts, ", ")
}
