package istio

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// graphKind is Istio's service graph for load tests (istio/tools, isotope): services that call each
// other as their scripts say. It stands for the Services and Deployments that isotope's converter
// makes of it (isotope/convert/pkg/kubernetes/kubernetes.go).
const graphKind = "MockServiceGraph"

// isGraph reports whether a document is a service graph. isotope reads neither apiVersion nor kind,
// and its own examples have none.
func isGraph(root *yaml.Node) bool {
	kind := peek(root, "kind")
	_, services := child(root, "services")
	return kind == graphKind ||
		kind == "" && services != nil && deref(services).Kind == yaml.SequenceNode
}

// maxGraphSteps bounds the scripts of a graph, the default one counted as often as it is used.
const maxGraphSteps = 200_000

// graphService is one service; its JSON is what the app reads (ISOTOPE_SERVICE).
type graphService struct {
	Name         string  `json:"name"`
	ErrorRate    float64 `json:"errorRate,omitempty"`    // from 0 to 1
	ResponseSize int64   `json:"responseSize,omitempty"` // bytes
	Script       []any   `json:"script,omitempty"`       // graphSleep, graphCall, []any of them

	namespace string
	replicas  int64
	labels    map[string]string
	calls     []graphEdge // of Script
	places    map[string]*yaml.Node
	node      *yaml.Node
	path      *path
}

type graphSleep struct {
	Sleep string `json:"sleep"`
}

type graphCall struct {
	Call graphRequest `json:"call"`
}

type graphRequest struct {
	Service     string            `json:"service"`
	Hostname    string            `json:"hostname"`
	Size        int64             `json:"size,omitempty"`        // bytes
	Probability int64             `json:"probability,omitempty"` // 1 to 100; 0: always
	ExtraHeader map[string]string `json:"extra-header,omitempty"`
}

// graphEdge is a call with its place.
type graphEdge struct {
	to     string
	always bool
	node   *yaml.Node
	path   *path
}

// graph reads one service graph.
type graph struct {
	*decoder
	defaults    graphService
	requestSize int64 // of calls that name none
	steps       int   // read so far
	services    []*graphService
}

// graph reads a service graph and what it stands for. Nothing is made of one that has errors.
func (r *reader) graph(doc document) {
	g := &graph{
		decoder:  r.decoder(doc.file, graphKind),
		defaults: graphService{replicas: 1},
	}
	before := len(r.diags)
	g.read(deref(doc.root))
	g.known()
	if HasErrors(r.diags[before:]) {
		return
	}
	g.ends()
	g.manyPods()
	if HasErrors(r.diags[before:]) {
		return
	}
	for _, s := range g.services {
		for _, o := range s.objects() {
			r.object(document{file: doc.file, root: o})
		}
	}
	r.graphClient(doc, g)
}

// graphFields are the fields of a graph, its defaults, a service and a call.
var (
	graphFields   = []string{"apiVersion", "kind", "defaults", "services"}
	graphDefaults = strings.Fields(`type errorRate requestSize responseSize script numReplicas
		numRbacPolicies`)
	graphOfService = strings.Fields(`name namespace cluster type numReplicas isEntrypoint errorRate
		responseSize script labels numRbacPolicies`)
	graphOfCall = strings.Fields("service hostname size probability extra-header")
)

func (g *graph) read(root *yaml.Node) {
	entries := g.entries(root, nil)
	// The defaults first, wherever they stand.
	slices.SortStableFunc(entries, func(a, b entry) int {
		return boolOrder(a.name == "services", b.name == "services")
	})
	given, inherited := false, 0
	for _, e := range entries {
		switch p := (*path)(nil).field(e.name); e.name {
		case "apiVersion":
			if v, ok := g.text(e.value, p); ok && v != "v1alpha1" {
				g.report(e.value, p, "isotope has no %s of it; write v1alpha1", clip(v))
			}
		case "kind":
			g.text(e.value, p)
		case "defaults":
			for _, e := range g.entries(e.value, p) {
				g.setting(&g.defaults, e, p, graphDefaults)
			}
			inherited = g.steps
		case "services":
			given = true
			for i, n := range g.list(e.value, p) {
				before := g.steps
				g.service(n, p.element(i))
				if g.steps == before {
					g.steps += inherited
				}
			}
			if g.steps > maxGraphSteps {
				g.report(e.key, p, "the scripts have too many steps: %d, the default one counted "+
					"for each service; at most %d", g.steps, maxGraphSteps)
			}
			if e.value.Kind == yaml.SequenceNode && len(e.value.Content) == 0 {
				g.report(e.value, p, "is empty; a graph has services")
			}
		default:
			g.unknown(e, nil, graphFields)
		}
	}
	if !given && root.Kind == yaml.MappingNode {
		g.report(root, (*path)(nil).field("services"), "is required")
	}
}

// manyPods warns of a graph that is made for a large cluster.
func (g *graph) manyPods() {
	const most = 1000
	pods, largest := int64(0), g.services[0]
	for _, s := range g.services {
		pods += s.replicas
		if s.replicas > largest.replicas {
			largest = s
		}
	}
	if pods <= most {
		return
	}
	g.warn(largest.node, largest.path, "the graph has %d pods, and each has a proxy in this one "+
		"process: 1000 take about a minute and 2 GB; a lower numReplicas gives fewer", pods)
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// service reads one service.
func (g *graph) service(n *yaml.Node, p *path) {
	s := g.defaults
	s.node, s.path, s.places = n, p, map[string]*yaml.Node{}
	for _, e := range g.entries(n, p) {
		s.places[e.name] = e.value
		g.setting(&s, e, p, graphOfService)
	}
	if s.places["name"] == nil && n.Kind == yaml.MappingNode {
		g.report(n, p.field("name"), "is required")
	}
	g.services = append(g.services, &s)
}

// setting reads a field of a service or of the defaults.
func (g *graph) setting(s *graphService, e entry, p *path, known []string) {
	if !slices.Contains(known, e.name) {
		g.unknown(e, p, known)
		return
	}
	n := e.value
	switch p := p.field(e.name); e.name {
	case "name":
		s.Name = g.label(n, p)
	case "namespace":
		s.namespace = g.label(n, p)
	case "cluster":
		if v, ok := g.text(n, p); ok && v != "" {
			g.warn(n, p, "the lab has one cluster; the services of all clusters run in it")
		}
	case "type":
		g.serviceType(n, p)
	case "numReplicas":
		s.replicas, _ = g.integer(n, p, 0, math.MaxInt32)
	case "isEntrypoint":
		g.boolean(n, p) // isotope's converter makes nothing of it either
	case "errorRate":
		s.ErrorRate = g.errorRate(n, p)
	case "requestSize":
		g.requestSize = g.size(n, p)
	case "responseSize":
		s.ResponseSize = g.size(n, p)
	case "script":
		s.calls = nil
		s.Script = g.script(n, p, &s.calls, false)
	case "labels":
		s.labels = g.texts(n, p)
	case "numRbacPolicies":
		if v, ok := g.integer(n, p, 0, math.MaxInt32); ok && v > 0 {
			g.warn(n, p, "has no effect: isotope's converter no longer makes policies of it; "+
				"write an AuthorizationPolicy")
		}
	}
}

func (g *graph) warn(n *yaml.Node, p *path, format string, args ...any) {
	*g.diags = append(*g.diags, Diagnostic{
		Severity: Warning, Place: Place{File: g.file, Line: n.Line, Column: n.Column},
		Object: g.object, Field: p.String(), Msg: fmt.Sprintf(format, args...),
	})
}

// label reads what becomes a name of Kubernetes.
func (g *graph) label(n *yaml.Node, p *path) string {
	v, ok := g.text(n, p)
	if msg := dnsLabel(v); ok && msg != "" {
		g.report(n, p, "%q: %s", clip(v), msg)
	}
	return v
}

// texts reads a mapping of strings.
func (g *graph) texts(n *yaml.Node, p *path) map[string]string {
	out := map[string]string{}
	for _, e := range g.entries(n, p) {
		out[e.name], _ = g.text(e.value, p.key(e.name))
	}
	return out
}

func (g *graph) serviceType(n *yaml.Node, p *path) {
	switch v, ok := g.text(n, p); {
	case !ok, v == "http":
	case v == "grpc":
		g.report(n, p, "grpc is not carried out yet; write http")
	default:
		g.report(n, p, "%q is not a type; write http", clip(v))
	}
}

// known reports services of one name, and calls of services that are not there.
func (g *graph) known() {
	at := map[string]*graphService{}
	var names []string
	for _, s := range g.services {
		if s.Name == "" {
			return // it is reported, and may be whom a call means
		}
		if first := at[s.Name]; first != nil {
			// Pods look their script up by name alone (isotope/service/pkg/srv/graph.go).
			g.report(s.places["name"], s.path.field("name"), "%s is given twice: first in line %d",
				s.Name, first.places["name"].Line)
			continue
		}
		at[s.Name] = s
		names = append(names, s.Name)
	}
	check := func(calls []graphEdge) {
		for _, c := range calls {
			if at[c.to] != nil {
				continue
			}
			hint := ""
			if s := suggest(c.to, names); s != "" {
				hint = fmt.Sprintf("; did you mean %q?", s)
			}
			g.report(c.node, c.path, "the graph has no service %q%s", clip(c.to), hint)
		}
	}
	check(g.defaults.calls)
	for _, s := range g.services {
		if s.places["script"] != nil {
			check(s.calls)
		}
	}
}

// ends reports calls that go round in a circle for ever. isotope takes such a graph, and a cluster
// drowns in the first request.
func (g *graph) ends() {
	at := map[string]*graphService{}
	for _, s := range g.services {
		at[s.Name] = s
	}
	const open, done = 1, 2
	state := map[string]int{}
	var way []string
	var walk func(s *graphService)
	walk = func(s *graphService) {
		state[s.Name] = open
		way = append(way, s.Name)
		for _, c := range s.calls {
			next := at[c.to]
			switch {
			case !c.always || next == nil || s.ErrorRate > 0 || state[c.to] == done:
			case state[c.to] == open:
				circle := append(slices.Clone(way[slices.Index(way, c.to):]), c.to)
				g.report(c.node, c.path, "no request would ever end: %s; give one of these calls "+
					"a probability below 100", strings.Join(circle, " → "))
			default:
				walk(next)
			}
		}
		way = way[:len(way)-1]
		state[s.Name] = done
	}
	for _, s := range g.services {
		if state[s.Name] == 0 {
			walk(s)
		}
	}
}
