package istio

import (
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// script reads the steps of a service, or those of a list in it, which run at once.
func (g *graph) script(n *yaml.Node, p *path, calls *[]graphEdge, nested bool) []any {
	var out []any
	for i, step := range g.list(n, p) {
		p := p.element(i)
		g.steps++
		switch {
		case step.Kind != yaml.SequenceNode:
			if s := g.step(step, p, calls); s != nil {
				out = append(out, s)
			}
		case nested:
			g.report(step, p, "a list of steps that run at once holds no other such list")
		default:
			all := g.script(step, p, calls, true)
			if all == nil {
				all = []any{}
			}
			out = append(out, all)
		}
	}
	return out
}

// step reads "sleep: 10ms" or "call: b"; nil when it is wrong.
func (g *graph) step(n *yaml.Node, p *path, calls *[]graphEdge) any {
	entries := g.entries(n, p)
	if n.Kind == yaml.MappingNode && len(n.Content) != 2 {
		g.report(n, p, "a step is one sleep or one call, not %d fields; a \"-\" begins each step",
			len(n.Content)/2)
		return nil
	}
	for _, e := range entries {
		switch p := p.field(e.name); e.name {
		case "sleep":
			return g.sleep(e.value, p)
		case "call":
			return g.call(e.value, p, calls)
		default:
			g.unknown(e, p.up, []string{"sleep", "call"})
		}
	}
	return nil
}

func (g *graph) sleep(n *yaml.Node, p *path) any {
	if n.Kind != yaml.ScalarNode || scalarTag(n) != tagString {
		g.wrongType(n, p, "a duration, such as 10ms")
		return nil
	}
	d, err := time.ParseDuration(n.Value)
	if err != nil || d < 0 {
		g.report(n, p, "%q is not a duration; write 10ms or 1.5s", clip(n.Value))
		return nil
	}
	return graphSleep{Sleep: d.String()}
}

// call reads "b", or a mapping (isotope/convert/pkg/graph/script/request_command.go).
func (g *graph) call(n *yaml.Node, p *path, calls *[]graphEdge) any {
	c := graphRequest{Size: g.requestSize}
	at, atPath := n, p
	if n.Kind != yaml.MappingNode {
		var ok bool
		if c.Service, ok = g.text(n, p); !ok {
			return nil
		}
	}
	for _, e := range g.callEntries(n, p) {
		switch p := p.field(e.name); e.name {
		case "service":
			c.Service, _ = g.text(e.value, p)
			at, atPath = e.value, p
		case "hostname":
			c.Hostname = g.hostname(e.value, p)
		case "size":
			c.Size = g.size(e.value, p)
		case "probability":
			c.Probability, _ = g.integer(e.value, p, 0, 100)
		case "extra-header":
			c.ExtraHeader = g.headers(e.value, p)
		case "payloadSize":
			g.report(e.key, p, "unknown field; isotope reads size")
		default:
			g.unknown(e, p.up, graphOfCall)
		}
	}
	if c.Service == "" {
		g.report(at, p, "names no service")
		return nil
	}
	if c.Hostname == "" {
		c.Hostname = c.Service + ":8080"
	}
	*calls = append(*calls, graphEdge{
		to: c.Service, always: c.Probability%100 == 0, node: at, path: atPath,
	})
	return graphCall{c}
}

func (g *graph) callEntries(n *yaml.Node, p *path) []entry {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	return g.entries(n, p)
}

// hostname reads whom a call really asks: "b.demo.svc.cluster.local:8080".
func (g *graph) hostname(n *yaml.Node, p *path) string {
	v, ok := g.text(n, p)
	if !ok {
		return ""
	}
	if u, err := url.Parse("http://" + v); err != nil || u.Hostname() == "" || u.User != nil {
		g.report(n, p, "%q is not a host; write b.demo.svc.cluster.local:8080", clip(v))
	}
	return v
}

// headers reads headers for a call.
func (g *graph) headers(n *yaml.Node, p *path) map[string]string {
	out := map[string]string{}
	for _, e := range g.entries(n, p) {
		p := p.key(e.name)
		v, ok := g.text(e.value, p)
		switch {
		case !headerToken.MatchString(e.name):
			g.report(e.key, p, "%q is not the name of a header", clip(e.name))
		case ok && strings.ContainsFunc(v, isControl):
			g.report(e.value, p, "a header's value has no control characters")
		}
		out[e.name] = v
	}
	return out
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 127 }

var headerToken = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]+$")

// byteSize is what docker/go-units' RAMInBytes takes: powers of 1024, whatever the spelling.
var byteSize = regexp.MustCompile(`(?i)^([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(?:([kmgtp])(?:i?b)?|b)?$`)

// size reads a number of bytes: 128, "1 KB", 10K, 1.5MiB.
func (g *graph) size(n *yaml.Node, p *path) int64 {
	const most = 1 << 40 // longer than any run lasts
	if n.Kind == yaml.ScalarNode && scalarTag(n) == tagInt {
		v, _ := g.integer(n, p, 0, most)
		return v
	}
	if n.Kind != yaml.ScalarNode || scalarTag(n) != tagString {
		g.wrongType(n, p, "a size, such as 128 or 10KB")
		return 0
	}
	m := byteSize.FindStringSubmatch(n.Value)
	if m == nil {
		g.report(n, p, "%q is not a size; write 128 or 10KB", clip(n.Value))
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if m[2] != "" {
		v *= math.Pow(1024, float64(1+strings.Index("kmgtp", strings.ToLower(m[2]))))
	}
	if err != nil || v > most {
		g.report(n, p, "%s is out of range; must be at most 1TB", clip(n.Value))
		return 0
	}
	return int64(v)
}

// errorRate reads 0.01 or "1%". isotope counts requests and lets every Nth fail
// (isotope/service/pkg/srv/handler.go).
func (g *graph) errorRate(n *yaml.Node, p *path) float64 {
	var rate float64
	if n.Kind == yaml.ScalarNode && scalarTag(n) == tagString {
		number, ok := strings.CutSuffix(n.Value, "%")
		v, err := strconv.ParseFloat(number, 64)
		if !ok || err != nil || !(v >= 0 && v <= 100) {
			g.report(n, p, "%q is not a share; write a percentage from 0%% to 100%%", clip(n.Value))
			return 0
		}
		rate = v / 100
	} else {
		v, ok := g.number(n, p)
		if !ok {
			return 0
		}
		if rate = v; v < 0 || v > 1 {
			g.report(n, p, "%s is out of range; must be from 0 to 1, or a percentage (%q)",
				clip(n.Value), "5%")
			return 0
		}
	}
	if rate == 0 {
		return 0
	}
	if rate*10000 < 1 {
		g.report(n, p, "%s is below 0.01%%, which isotope's service can not carry out",
			clip(n.Value))
		return 0
	}
	every := 10000 / uint64(rate*10000)
	if real := 1 / float64(every); math.Abs(real-rate) > rate/20 {
		g.warn(n, p, "isotope's service lets whole numbers of requests pass between two failures: "+
			"with this rate one in %d fails, %.3g%%", every, real*100)
	}
	return rate
}
