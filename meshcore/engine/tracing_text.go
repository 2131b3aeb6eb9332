package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// seen is what the connection has of what a criterion looks at.
func (x *Exchange) seen(criterion string) string {
	ci := x.ci
	switch criterion {
	case "destination port":
		return "it goes to " + strconv.Itoa(int(ci.Local.Port()))
	case "destination address":
		return "it goes to " + ci.Local.Addr().String()
	case "server name":
		if ci.SNI == "" {
			return "it names none"
		}
		return "it names " + ci.SNI
	case "transport":
		if ci.Transport == "tls" {
			return "it is TLS"
		}
		return "it is plain text"
	case "application protocol":
		if len(ci.ALPN) == 0 {
			return "none was found"
		}
		return "it offers " + strings.Join(ci.ALPN, ", ")
	case "direct source address":
		return "it comes from " + ci.Direct.Addr().String()
	case "source port":
		return "it comes from " + strconv.Itoa(int(ci.Remote.Port()))
	}
	return "it comes from " + ci.Remote.Addr().String()
}

// text says in words what a filter chain is for.
func (m *chainMatch) text() string {
	var out []string
	add := func(what string, values ...string) {
		if len(values) > 0 {
			out = append(out, what+" "+strings.Join(values, ", "))
		}
	}
	if m.port != 0 {
		add("port", strconv.Itoa(int(m.port)))
	}
	for _, p := range m.dest {
		add("to", p.String())
	}
	var names []string
	for _, n := range m.servers {
		if strings.HasPrefix(n, ".") {
			n = "*" + n
		}
		names = append(names, n)
	}
	add("SNI", names...)
	switch m.transport {
	case "tls":
		out = append(out, "TLS")
	case "raw_buffer":
		out = append(out, "plain text")
	}
	add("protocol", m.protocols...)
	for _, p := range m.sources {
		add("from", p.String())
	}
	return strings.Join(out, ", ")
}

// configOf reads which object something is made of, as Istio's telemetry has it.
func configOf(m *corev3.Metadata) string {
	return m.GetFilterMetadata()["istio"].GetFields()["config"].GetStringValue()
}

// ruleOf reads where a route is written (translate.RuleMetadata).
func ruleOf(m *corev3.Metadata) string {
	return m.GetFilterMetadata()["mesh-lab"].GetFields()["rule"].GetStringValue()
}

// text says in words what a route is for.
func (r *route) text() string {
	var out []string
	if !r.path.Everything() {
		out = append(out, r.path.String())
	}
	if r.tls != nil {
		out = append(out, "a TLS client certificate as wanted")
	}
	if r.grpc {
		out = append(out, "gRPC")
	}
	if r.fraction != nil {
		out = append(out, r.fraction.text())
	}
	for i := range r.headers {
		out = append(out, r.headers[i].String())
	}
	for i := range r.queries {
		out = append(out, r.queries[i].String())
	}
	for i := range r.dynamic {
		out = append(out, r.dynamic[i].String())
	}
	if len(out) == 0 {
		return "everything"
	}
	return strings.Join(out, ", ")
}

func (f *fraction) text() string {
	percent := 100 * float64(f.numerator) / float64(max(f.denominator, 1))
	return strconv.FormatFloat(percent, 'g', 6, 64) + "% of requests"
}

// failed says in words which condition failed, and what the request has in its place.
func (r *route) failed(c condition, x *Exchange, h *wire.Head) string {
	has := func(what string, v []byte, ok bool) string {
		if !ok {
			return what + ": the request has none"
		}
		return what + ": it is " + strconv.Quote(string(v))
	}
	switch c.kind {
	case fits:
		return ""
	case failsPath:
		return has(r.path.String(), match.PathOf(h.Target), true)
	case failsTLS:
		return "the TLS client certificate"
	case failsGRPC:
		return "gRPC: the request is not"
	case failsFraction:
		return fmt.Sprintf("%s: drew %d", r.fraction.text(),
			draw(x.rnd, drawStream, 0)%max(r.fraction.denominator, 1))
	case failsHeader:
		m := &r.headers[c.i]
		v, ok := lookup(h, m.Name)
		return has(m.String(), v, ok)
	case failsQuery:
		q := &r.queries[c.i]
		v, ok := match.Param(h.Target, q.Name)
		return has(q.String(), v, ok)
	}
	return r.dynamic[c.i].String()
}

// leads says in words what a route does.
func (r *route) leads() string {
	switch {
	case r.redirect != nil:
		return "redirects with " + strconv.Itoa(r.redirect.status)
	case r.direct != nil:
		return "answers " + strconv.Itoa(r.direct.status) + " itself"
	case r.action == nil:
		return ""
	case len(r.action.targets) == 1:
		return r.action.targets[0].name
	}
	var out []string
	for i := range r.action.targets {
		t := &r.action.targets[i]
		out = append(out, fmt.Sprintf("%s (%d of %d)", t.name, t.weight, r.action.total))
	}
	return strings.Join(out, ", ")
}

// text names the conditions.
func (c conditions) text() string {
	var out []string
	for name, bit := range conditionNames {
		if c&bit != 0 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// limitsText says which limits of the circuit breaker are less than none.
func (c *Cluster) limitsText() string {
	const none = 1<<32 - 1
	t := c.limits
	var out []string
	for _, l := range []struct {
		n    uint32
		what string
	}{
		{t.MaxConnections, "connections"}, {t.MaxPendingRequests, "waiting requests"},
		{t.MaxRequests, "requests"}, {t.MaxRetries, "retries"},
	} {
		if l.n != none {
			out = append(out, fmt.Sprintf("%d %s", l.n, l.what))
		}
	}
	if c.MaxRequestsPerConnection > 0 {
		out = append(out, fmt.Sprintf("%d requests a connection", c.MaxRequestsPerConnection))
	}
	return strings.Join(out, ", ")
}

// ejectionText says in words when outlier detection ejects; empty without it.
func (c *Cluster) ejectionText() string {
	if c.detector == nil {
		return ""
	}
	return c.detector.String()
}

// headCopy is what a request head was before the router changed it.
type headCopy struct {
	authority, target string
	fields            map[string]string
}

func copyOf(h *wire.Head) headCopy {
	c := headCopy{string(h.Authority), string(h.Target), map[string]string{}}
	for i := range h.Fields {
		f := &h.Fields[i]
		name := string(f.Name)
		if old, ok := c.fields[name]; ok {
			c.fields[name] = old + ", " + string(f.Value)
			continue
		}
		c.fields[name] = string(f.Value)
	}
	return c
}

// private are headers whose values no explanation shows.
func private(name string) bool {
	return name == "authorization" || name == "cookie" || name == "proxy-authorization"
}
