package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
	"github.com/mesh-lab/mesh-lab/reports/fidelity"
	"github.com/mesh-lab/mesh-lab/testdata/evidence"
	"github.com/mesh-lab/mesh-lab/testdata/truth"
)

type truthRequest struct {
	ID, From, Gateway, URL, Method, Host, Connect, Body string
	Headers                                             map[string]any
	Count                                               int
}

type truthObserved struct {
	ID      string
	Status  int
	Headers map[string]any
	Body    string
	Backend *struct {
		Pod, Path, Host, Method string
		Headers                 map[string]any
	}
	Client struct {
		Code     int    `yaml:"response_code"`
		Flags    string `yaml:"response_flags"`
		Details  string `yaml:"response_code_details"`
		Route    string `yaml:"route_name"`
		Cluster  string `yaml:"upstream_cluster"`
		Attempts int
	} `yaml:"client_proxy"`
}

type truthService struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		ClusterIP string `yaml:"clusterIP"`
		Ports     []struct {
			Port       int
			TargetPort any `yaml:"targetPort"`
		}
	}
}

// vips resolves the Services of a case as the recording did: 10.96.0.10 and on, in their order.
func vips(t *testing.T, c truth.Case) map[string]netip.Addr {
	t.Helper()
	out := map[string]netip.Addr{}
	dec := yaml.NewDecoder(bytes.NewReader(c.Read(t, "config.yaml")))
	next := 10
	for {
		var s truthService
		if err := dec.Decode(&s); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			var bad *yaml.TypeError
			if errors.As(err, &bad) {
				continue
			}
			t.Skip(err)
		}
		if s.Kind != "Service" || s.Spec.ClusterIP == "None" {
			continue
		}
		ip := netip.AddrFrom4([4]byte{10, 96, 0, byte(next)})
		if a, err := netip.ParseAddr(s.Spec.ClusterIP); err == nil {
			ip = a
		} else {
			next++
		}
		out[s.Metadata.Name+"."+s.Metadata.Namespace] = ip
	}
}

func requestsOf(t *testing.T, c truth.Case) (reqs []truthRequest, seen map[string]truthObserved) {
	t.Helper()
	var in struct{ Requests []truthRequest }
	var out struct{ Requests []truthObserved }
	if err := yaml.Unmarshal(c.Read(t, "case.yaml"), &in); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(c.Read(t, "observed.yaml"), &out); err != nil {
		t.Fatal(err)
	}
	seen = map[string]truthObserved{}
	for _, o := range out.Requests {
		seen[o.ID] = o
	}
	return in.Requests, seen
}

func TestTruthRequests(t *testing.T) {
	played := 0
	book := evidence.Open(t, "../../reports/fidelity/evidence", "engine", fidelity.Evidence{
		By: "meshcore/engine TestTruthRequests", Short: "recorded", Plane: fidelity.Meshcore,
		Shows: fidelity.Answered, Unit: "requests",
		What: "the engine's decisions on istiod's own resources with recorded answers",
	})
	for _, c := range truth.Cases(t, httpAreas...) {
		if !c.Has("observed.yaml") {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			addrs := vips(t, c)
			reqs, seen := requestsOf(t, c)
			engines := map[string]*Engine{}
			for _, node := range c.Nodes {
				e := New(Options{Node: node})
				if err := e.Update(0, recorded(t, c, node)); err != nil {
					continue
				}
				engines[node] = e
			}
			for _, r := range reqs {
				o, ok := seen[r.ID]
				from := r.From
				if from == "outside" {
					from = r.Gateway
				}
				workload, ns, _ := strings.Cut(from, ".")
				e := engines[workload+"-0."+ns]
				if e == nil || !ok || r.Count > 1 || o.Client.Code == 0 {
					continue
				}
				t.Run(r.ID, func(t *testing.T) {
					var ci ConnInfo
					if r.From == "outside" {
						ci = gatewayConn(t, e, r)
					} else {
						ci = outboundConn(resolve(t, r, ns, addrs))
					}
					play(t, e, r, o, &ci)
					played++
					book.Add(c.String(), 1)
				})
			}
		})
	}
	t.Logf("%d requests played", played)
	if played < 150 {
		t.Errorf("only %d requests were played", played)
	}
}

// resolve finds where the client dials.
func resolve(t *testing.T, r truthRequest, ns string, addrs map[string]netip.Addr) netip.AddrPort {
	t.Helper()
	u, err := url.Parse(r.URL)
	if err != nil || u.Scheme != "http" {
		t.Skip("not plain HTTP")
	}
	dial := u.Host
	if r.Connect != "" {
		dial = r.Connect
	}
	if !strings.Contains(dial, ":") {
		dial += ":80"
	}
	host, portText, _ := strings.Cut(dial, ":")
	port, _ := strconv.Atoi(portText)
	if ip, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(ip, uint16(port))
	}
	part := strings.Split(host, ".")
	if len(part) > 1 {
		ns = part[1]
	}
	ip, ok := addrs[part[0]+"."+ns]
	if !ok {
		t.Skip("no Service for " + host)
	}
	return netip.AddrPortFrom(ip, uint16(port))
}

func headOf(r truthRequest) *wire.Head {
	h := &wire.Head{}
	h.Reset()
	u, _ := url.Parse(r.URL)
	_, target, _ := strings.Cut(strings.TrimPrefix(r.URL, "http://"), "/")
	h.Method, h.Target = []byte("GET"), []byte("/"+target)
	if r.Method != "" {
		h.Method = []byte(r.Method)
	}
	h.Authority = []byte(u.Host)
	if r.Host != "" {
		h.Authority = []byte(r.Host)
	}
	h.Minor, h.NoBody = 1, r.Body == ""
	for _, name := range slices.Sorted(mapsKeys(r.Headers)) {
		values, ok := r.Headers[name].([]any)
		if !ok {
			values = []any{r.Headers[name]}
		}
		for _, v := range values {
			switch lower := strings.ToLower(name); lower {
			case "host":
				h.Authority = []byte(fmt.Sprint(v))
			case "upgrade":
				h.Upgrade = []byte(fmt.Sprint(v))
			case "connection":
			default:
				h.Add(lower, fmt.Sprint(v))
			}
		}
	}
	return h
}

func mapsKeys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// play sends one recorded request through the engine; the application answers as it was recorded.
func play(t *testing.T, e *Engine, r truthRequest, o truthObserved, ci *ConnInfo) {
	t.Helper()
	bind := bindOf("0.0.0.0:15001")
	if r.From == "outside" {
		bind.AddrPort = netip.AddrPortFrom(netip.IPv4Unspecified(), ci.Local.Port())
	}
	l := e.Listener(bind, ci.Local)
	if l == nil {
		t.Fatal("no listener")
	}
	if l.Inspect(ci).HTTP {
		ci.ALPN = []string{"http/1.1"}
	}
	ch := l.Chain(ci)
	if ch == nil || ch.HTTP == nil {
		t.Skip("not an HTTP chain")
	}
	x := &Exchange{}
	h := headOf(r)
	now := clock.Instant(0)
	d := e.Start(x, ch, ci, h, now, 42)
	if !h.NoBody {
		d = x.Handle(Event{Kind: RequestComplete}, now)
	}
	rec, head := drive(t, x, d, r, o, h)
	compare(t, rec, o)
	if o.Client.Details != "via_upstream" && o.Client.Flags == "-" && head == nil {
		t.Error("an answer was expected from the proxy itself")
	}
}

func outboundConn(dial netip.AddrPort) ConnInfo {
	remote := netip.MustParseAddrPort("10.244.0.77:40000")
	return ConnInfo{Local: dial, Remote: remote, Direct: remote, Transport: "raw_buffer"}
}

// gatewayConn is a connection from outside to the gateway's listener for the URL's port.
func gatewayConn(t *testing.T, e *Engine, r truthRequest) ConnInfo {
	t.Helper()
	u, err := url.Parse(r.URL)
	if err != nil || u.Scheme != "http" {
		t.Skip("not plain HTTP")
	}
	port := map[string]uint16{"": 8080, "80": 8080}[u.Port()]
	if n, err := strconv.Atoi(u.Port()); err == nil && port == 0 {
		port = uint16(n)
	}
	for _, b := range e.Binds() {
		if b.Port() == port {
			remote := netip.MustParseAddrPort("203.0.113.50:50000")
			return ConnInfo{Local: netip.AddrPortFrom(netip.MustParseAddr("10.244.0.9"), port),
				Remote: remote, Direct: remote, Transport: "raw_buffer"}
		}
	}
	t.Skip("no listener for port " + u.Port())
	return ConnInfo{}
}

// drive carries the directives out until the record is done; it returns the local reply's head.
func drive(t *testing.T, x *Exchange, d Directive, r truthRequest, o truthObserved,
	h *wire.Head) (rec observe.Request, reply *wire.Head) {
	t.Helper()
	now, tries := clock.Instant(0), 0
	for range 30 {
		switch d.Kind {
		case Attempt:
			if o.Backend != nil {
				sawAs(t, h, o)
			}
			tries++
			d = x.Handle(Event{Kind: Connected}, now)
			delay := time.Millisecond
			if v, ok := r.Headers["x-echo-delay"]; ok {
				delay, _ = time.ParseDuration(fmt.Sprint(v))
			}
			if at := now.Add(delay); at > d.Deadline {
				now = d.Deadline
				d = x.Handle(Event{Kind: Timeout}, now)
				continue
			} else {
				now = at
			}
			d = x.Handle(answer(r, o, tries), now)
		case Wait:
			now = d.Until
			d = x.Handle(Event{Kind: Timer}, now)
		case Reply:
			head, body := x.Reply()
			reply = head
			sameReply(t, head, body, o)
			d = x.Handle(Event{Kind: Sent}, now)
		case Forward:
			if o.Client.Details == "downstream_remote_disconnect" {
				d = x.Handle(Event{Kind: ClientGone}, now)
				continue
			}
			d = x.Handle(Event{Kind: Sent}, now)
		case Abort:
			d = x.Handle(Event{Kind: Sent}, now)
		case Done:
			return x.Record, reply
		}
	}
	t.Fatal("no end")
	return x.Record, nil
}

// answer is what the echo application, or the sidecar before it, answered.
func answer(r truthRequest, o truthObserved, try int) Event {
	status := 200
	fails := 1 << 30
	if n, ok := r.Headers["x-echo-fail-first"]; ok {
		fails, _ = strconv.Atoi(fmt.Sprint(n))
	}
	if _, ok := r.Headers["x-echo-reset"]; ok {
		status = 503 // by the sidecar of the server
	} else if s, ok := r.Headers["x-echo-status"]; ok && try <= fails {
		status, _ = strconv.Atoi(fmt.Sprint(s))
	} else if try > fails {
		status = 200
	} else if o.Client.Code != 0 && !strings.Contains(o.Client.Details, "timeout") {
		status = o.Client.Code
	}
	h := &wire.Head{}
	h.Reset()
	h.Status = status
	if s, ok := r.Headers["x-echo-response-header"]; ok {
		lines, ok := s.([]any)
		if !ok {
			lines = []any{s}
		}
		for _, line := range lines {
			k, v, _ := strings.Cut(fmt.Sprint(line), ":")
			h.Add(strings.ToLower(strings.TrimSpace(k)), strings.TrimSpace(v))
		}
	}
	return Event{Kind: ResponseHead, Head: h}
}

func sawAs(t *testing.T, h *wire.Head, o truthObserved) {
	t.Helper()
	if got := string(h.Target); got != o.Backend.Path {
		t.Errorf("path %q, recorded %q", got, o.Backend.Path)
	}
	if got := string(h.Authority); got != o.Backend.Host {
		t.Errorf("host %q, recorded %q", got, o.Backend.Host)
	}
	for name, v := range o.Backend.Headers {
		switch name {
		case "x-forwarded-client-cert", "x-envoy-attempt-count", "connection", "upgrade",
			"user-agent":
			continue
		}
		got, ok := h.Get(name)
		want := fmt.Sprint(v)
		if list, ok := v.([]any); ok {
			want = fmt.Sprint(list[0])
		}
		if !ok || string(got) != want {
			t.Errorf("header %s: %q, recorded %q", name, got, want)
		}
	}
	for i := range h.Fields {
		name := string(h.Fields[i].Name)
		switch name {
		case "x-request-id", "x-envoy-decorator-operation", "x-envoy-expected-rq-timeout-ms",
			"content-length", "user-agent", "x-envoy-attempt-count", "te":
			continue
		}
		if _, ok := o.Backend.Headers[name]; !ok && !strings.HasPrefix(name, "x-envoy-original-") {
			t.Errorf("header %s: %q was not recorded", name, h.Fields[i].Value)
		}
	}
}

func sameReply(t *testing.T, h *wire.Head, body []byte, o truthObserved) {
	t.Helper()
	if h.Status != o.Status {
		t.Errorf("status %d, recorded %d", h.Status, o.Status)
	}
	if string(body) != o.Body {
		t.Errorf("body %q, recorded %q", body, o.Body)
	}
	for name, v := range o.Headers {
		got, _ := h.Get(name)
		if name == "content-length" && h.NoBody && fmt.Sprint(v) == "0" {
			continue // the codec writes it
		}
		if string(got) != fmt.Sprint(v) {
			t.Errorf("reply header %s: %q, recorded %q", name, got, fmt.Sprint(v))
		}
	}
	for i := range h.Fields {
		name := string(h.Fields[i].Name)
		if _, ok := o.Headers[name]; !ok && name != "date" && name != "content-length" {
			t.Errorf("reply header %s was not recorded", name)
		}
	}
}

func compare(t *testing.T, rec observe.Request, o truthObserved) {
	t.Helper()
	dash := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	check := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s %q, recorded %q", what, got, want)
		}
	}
	check("code", strconv.Itoa(rec.Status), strconv.Itoa(o.Client.Code))
	check("flags", dash(rec.Flags), dash(o.Client.Flags))
	check("details", rec.Details, o.Client.Details)
	check("route", rec.Route, o.Client.Route)
	check("cluster", rec.Cluster, o.Client.Cluster)
	if n := max(o.Client.Attempts, 1); len(rec.Attempts) > 0 && len(rec.Attempts) != n {
		t.Errorf("%d attempts, recorded %d", len(rec.Attempts), n)
	}
}
