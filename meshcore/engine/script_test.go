package engine

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

var update = flag.Bool("update", false, "rewrite testdata")

// TestScripts plays testdata/*.txtar. A script has a route configuration (routes.yaml) and clusters
// (clusters.yaml: EDS clusters, each with the endpoints of endpoints.yaml under its name), and calls:
//
//	rnd N                                  the next request's random value
//	at DURATION                            sets the time
//	METHOD URL [header=value ...] [body]   begins a request
//	connected | refused | timeout | overflow | reset | gone | timer | sent | complete | tick
//	STATUS [header=value ...]              the upstream's response head
//	answer STATUS [header=value ...]       the answer to a call of the proxy's own
//	collected TEXT                         what was received of the request's body
//
// The answer to each call, and in the end the record, stands in want.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			part := map[string][]byte{}
			for _, f := range a.Files {
				part[f.Name] = f.Data
			}
			got := newScript(t, part).run(string(part["calls"]))
			if *update {
				for i := range a.Files {
					if a.Files[i].Name == "want" {
						a.Files[i].Data = []byte(got)
					}
				}
				if part["want"] == nil {
					a.Files = append(a.Files, txtar.File{Name: "want", Data: []byte(got)})
				}
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(part["want"]) {
				t.Errorf("got:\n%s\nwant:\n%s", got, part["want"])
			}
		})
	}
}

// protoYAML reads a YAML list of messages.
func protoYAML[M proto.Message](t testing.TB, text []byte, fresh func() M) []M {
	t.Helper()
	var list []any
	if err := yaml.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	var out []M
	for _, v := range list {
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		m := fresh()
		if err := protojson.Unmarshal(j, m); err != nil {
			t.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

const scriptListener = `
- name: out
  address: {socketAddress: {address: 0.0.0.0, portValue: 15001}}
  trafficDirection: OUTBOUND
  filterChains:
  - name: chain
    filters:
    - name: hcm
      typedConfig:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        statPrefix: out
        normalizePath: true
        rds: {routeConfigName: "80", configSource: {ads: {}}}
        upgradeConfigs: [{upgradeType: websocket}]
        httpFilters:
        - {name: envoy.filters.http.fault, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}}
        - {name: envoy.filters.http.cors, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}
        - {name: envoy.filters.http.router, typedConfig: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
`

type script struct {
	t   testing.TB
	e   *Engine
	x   *Exchange
	h   *wire.Head
	now clock.Instant
	rnd uint64
	out strings.Builder
}

func newScript(t testing.TB, part map[string][]byte) *script {
	t.Helper()
	s := &script{t: t, x: &Exchange{}, rnd: 1}
	s.e = New(Options{Node: "a.b", KeepHeaders: nil, Changed: func(c observe.Change) {
		fmt.Fprintf(&s.out, "    %s %s\n", c.Kind, c.What)
	}})
	snap := xds.NewSnapshot()
	listeners := part["listeners.yaml"]
	if listeners == nil {
		listeners = []byte(scriptListener)
	}
	for _, l := range protoYAML(t, listeners,
		func() *listenerv3.Listener { return &listenerv3.Listener{} }) {
		snap.Listeners[l.GetName()] = l
	}
	for _, r := range protoYAML(t, part["routes.yaml"],
		func() *routev3.RouteConfiguration { return &routev3.RouteConfiguration{} }) {
		snap.Routes[r.GetName()] = r
	}
	for _, c := range protoYAML(t, part["clusters.yaml"],
		func() *clusterv3.Cluster { return &clusterv3.Cluster{} }) {
		snap.Clusters[c.GetName()] = c
	}
	for _, a := range protoYAML(t, part["endpoints.yaml"],
		func() *endpointv3.ClusterLoadAssignment { return &endpointv3.ClusterLoadAssignment{} }) {
		snap.Endpoints[a.GetClusterName()] = a
	}
	if err := s.e.Update(0, snap); err != nil {
		fmt.Fprintf(&s.out, "refused:\n%v\n", err)
	}
	return s
}

func (s *script) run(calls string) string {
	for line := range strings.Lines(calls) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fmt.Fprintf(&s.out, "> %s\n", line)
		s.call(strings.Fields(line))
	}
	return s.out.String()
}

var scriptEvents = map[string]Event{
	"connected": {Kind: Connected}, "refused": {Kind: ConnectFail, Reason: "Connection refused"},
	"timeout": {Kind: Timeout}, "overflow": {Kind: Overflow}, "reset": {Kind: Reset, HeadSent: true},
	"gone": {Kind: ClientGone}, "timer": {Kind: Timer}, "sent": {Kind: Sent},
	"complete": {Kind: RequestComplete}, "connect-timeout": {Kind: ConnectTimeout},
	"protocol": {Kind: Reset, Protocol: true, HeadSent: true},
}

func (s *script) call(word []string) {
	if ev, ok := scriptEvents[word[0]]; ok {
		s.show(s.x.Handle(ev, s.now))
		return
	}
	if status, err := strconv.Atoi(word[0]); err == nil {
		h := &wire.Head{}
		h.Reset()
		h.Status = status
		s.fields(h, word[1:])
		s.show(s.x.Handle(Event{Kind: ResponseHead, Head: h}, s.now))
		if s.x.state == stateForward {
			s.head("response "+strconv.Itoa(h.Status), h)
		}
		return
	}
	switch word[0] {
	case "rnd":
		s.rnd, _ = strconv.ParseUint(word[1], 10, 64)
	case "at":
		d, err := time.ParseDuration(word[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.now = clock.Instant(d)
	case "answer":
		status, err := strconv.Atoi(word[1])
		if err != nil {
			s.t.Fatal(err)
		}
		h := &wire.Head{}
		h.Reset()
		h.Status = status
		s.fields(h, word[2:])
		s.show(s.x.Handle(Event{Kind: Answered, Head: h, Body: []byte("because")}, s.now))
	case "collected":
		s.show(s.x.Handle(Event{Kind: Collected, Body: []byte(word[1])}, s.now))
	case "tick":
		fmt.Fprintf(&s.out, "    next %v\n", time.Duration(s.e.Tick(s.now)))
	default:
		s.start(word)
	}
}

func (s *script) fields(h *wire.Head, words []string) {
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		if k == "upgrade" {
			h.Upgrade = []byte(v)
			continue
		}
		h.Add(k, strings.ReplaceAll(v, "+", " "))
	}
}

func (s *script) start(word []string) {
	authority, target, _ := strings.Cut(strings.TrimPrefix(word[1], "http://"), "/")
	s.h = &wire.Head{}
	s.h.Reset()
	s.h.Method, s.h.Target = []byte(word[0]), []byte("/"+target)
	s.h.Authority, s.h.Minor, s.h.NoBody = []byte(authority), 1, true
	if word[len(word)-1] == "body" {
		s.h.NoBody = false
		word = word[:len(word)-1]
	}
	s.fields(s.h, word[2:])
	s.h.Add("x-request-id", "id")
	ci := &ConnInfo{Local: netip.MustParseAddrPort("10.96.0.10:80"), Transport: "raw_buffer",
		Remote: netip.MustParseAddrPort("10.244.0.2:40000")}
	l := s.e.Listener(bindOf("0.0.0.0:15001"), ci.Local)
	s.show(s.e.Start(s.x, l.Chain(ci), ci, s.h, s.now, s.rnd))
}

var kindNames = map[Kind]string{Attempt: "attempt", Wait: "wait", Reply: "reply",
	Forward: "forward", Abort: "abort", Collect: "collect", Ask: "ask", Done: "done"}

func (s *script) show(d Directive) {
	fmt.Fprintf(&s.out, "    %s", kindNames[d.Kind])
	if d.Endpoint != nil {
		fmt.Fprintf(&s.out, " %v", d.Endpoint.Addr)
	}
	if d.Kind == Wait {
		fmt.Fprintf(&s.out, " until %v", time.Duration(d.Until))
	}
	if d.Deadline != clock.Never && d.Kind != Done {
		fmt.Fprintf(&s.out, " deadline %v", time.Duration(d.Deadline))
	}
	if d.Retryable {
		s.out.WriteString(" retryable")
	}
	s.out.WriteByte('\n')
	switch d.Kind {
	case Collect:
		fmt.Fprintf(&s.out, "        %d bytes\n", d.Limit)
	case Ask:
		c := s.x.Call()
		s.head(fmt.Sprintf("%s %s%s", c.Head.Method, c.Head.Authority, c.Head.Target), c.Head)
		if len(c.Body) > 0 {
			fmt.Fprintf(&s.out, "        %s\n", c.Body)
		}
	case Attempt:
		s.head(fmt.Sprintf("%s %s%s", s.h.Method, s.h.Authority, s.h.Target), s.h)
		for _, m := range s.x.Mirrors() {
			s.head(fmt.Sprintf("mirror to %v %s%s", m.Endpoint.Addr, m.Head.Authority,
				m.Head.Target), m.Head)
			m.Done(Event{Kind: Sent}, s.now)
		}
	case Reply:
		head, body := s.x.Reply()
		s.head("reply "+strconv.Itoa(head.Status), head)
		if len(body) > 0 {
			fmt.Fprintf(&s.out, "        %s\n", body)
		}
	case Done:
		r := &s.x.Record
		fmt.Fprintf(&s.out, "        %d %s %q route=%s cluster=%s %v\n", r.Status, or(r.Flags),
			r.Details, or(r.Route), or(r.Cluster), r.Duration)
		for _, a := range r.Attempts {
			fmt.Fprintf(&s.out, "        attempt %s %d %s %v\n", a.Upstream, a.Status, or(a.Flags),
				a.Duration)
		}
	}
}

func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// head prints a head without what is always there.
func (s *script) head(title string, h *wire.Head) {
	fmt.Fprintf(&s.out, "        %s\n", title)
	for i := range h.Fields {
		switch name := string(h.Fields[i].Name); name {
		case "x-request-id", "x-forwarded-proto", "date", "server":
		default:
			fmt.Fprintf(&s.out, "        %s: %s\n", name, h.Fields[i].Value)
		}
	}
}
