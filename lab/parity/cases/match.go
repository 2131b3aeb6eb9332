package cases

import (
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// match makes the request that just meets a match's conditions, and those that just miss one.
func (m *maker) match(
	base draft, r *networkingv1alpha3.HTTPRoute, match *networkingv1alpha3.HTTPMatchRequest,
	first bool,
) {
	d := base
	if len(match.Gateways) > 0 && !slices.ContainsFunc(match.Gateways, func(g string) bool {
		return (g == meshGateway) == (base.from != outside)
	}) {
		m.add(d, true)
		return // it holds elsewhere
	}
	if match.Port != 0 && d.from != outside {
		d.port = int(match.Port)
	}
	d = d.with(func(d *draft) { meet(d, match) })
	m.sources(&d, match)
	m.route(d, r, first)
	m.uri(d, match)
	m.rest(d, match)
	for _, name := range sortedKeys(match.Headers) {
		m.header(d, name, match.Headers[name])
	}
	for _, name := range sortedKeys(match.WithoutHeaders) {
		m.header(d, name, match.WithoutHeaders[name])
	}
	for _, name := range sortedKeys(match.QueryParams) {
		m.query(d, name, match.QueryParams[name])
	}
	if match.Port != 0 && d.from != outside {
		m.variant(d, func(d *draft) { d.port = base.port })
		m.variant(d, func(d *draft) { d.authority = authority(d.host, d.port+1) })
	}
}

func sortedKeys[V any](of map[string]V) []string {
	var out []string
	for k := range of {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// meet gives a request what a match asks for.
func meet(d *draft, match *networkingv1alpha3.HTTPMatchRequest) {
	if v, ok := value(match.Uri); ok {
		d.path = v
	}
	if v, ok := value(match.Method); ok {
		d.method = v
	}
	if v, ok := value(match.Scheme); ok {
		d.set("x-forwarded-proto", v)
	}
	if v, ok := value(match.Authority); ok && v != "" {
		d.authority = v
	}
	for _, name := range sortedKeys(match.Headers) {
		v, ok := value(match.Headers[name])
		if ok && !strings.HasPrefix(name, ":") && !strings.EqualFold(name, "host") {
			d.set(name, v)
		}
	}
	for _, name := range sortedKeys(match.QueryParams) {
		if v, ok := value(match.QueryParams[name]); ok {
			d.setQuery(name, v)
		}
	}
}

// value returns a text that a StringMatch takes; one without a condition takes any.
func value(s *networkingv1alpha3.StringMatch) (string, bool) {
	switch t := s.GetMatchType().(type) {
	case *networkingv1alpha3.StringMatch_Exact:
		return t.Exact, true
	case *networkingv1alpha3.StringMatch_Prefix:
		return t.Prefix, true
	case *networkingv1alpha3.StringMatch_Regex:
		return example(t.Regex)
	}
	return "any", s != nil
}

// near lists texts around one that meets a condition: longer, shorter, other case, empty.
func near(v string) []string {
	out := []string{v + "x", "x" + v, strings.ToUpper(v), strings.ToLower(v), ""}
	if len(v) > 1 {
		out = append(out, v[:len(v)-1], v[1:])
	}
	return out
}

// uri tries paths around the one that meets the match.
func (m *maker) uri(d draft, match *networkingv1alpha3.HTTPMatchRequest) {
	v, ok := value(match.Uri)
	if match.Uri == nil || !ok {
		return
	}
	for _, p := range append(near(v), v+"/", v+"/deeper", strings.TrimSuffix(v, "/"), v+"?",
		v+"?q=1", v+"#f", v+";p=1", v+"//", v+"/.", v+"/..", v+"/../"+strings.TrimPrefix(v, "/"),
		"/."+v, "/"+v, v+"%2F", v+"%20", v+".", "/other") {
		m.variant(d, func(d *draft) { d.path = p })
	}
	if i := strings.LastIndexByte(v, '/'); i >= 0 && i+1 < len(v) {
		escaped := v[:i+1] + escape(v[i+1]) + v[i+2:]
		m.variant(d, func(d *draft) { d.path = escaped })
		m.variant(d, func(d *draft) { d.path = strings.ToLower(escaped) })
		m.variant(d, func(d *draft) { d.path = v[:i] + "%2F" + v[i+1:] })
		m.variant(d, func(d *draft) { d.path = v[:i] + "%5C" + v[i+1:] })
		m.variant(d, func(d *draft) { d.path = v[:i] + "\\" + v[i+1:] })
	}
}

// escape writes a byte as %XX.
func escape(b byte) string {
	const digits = "0123456789ABCDEF"
	return "%" + string(digits[b>>4]) + string(digits[b&15])
}

// rest misses the conditions on method, scheme and authority.
func (m *maker) rest(d draft, match *networkingv1alpha3.HTTPMatchRequest) {
	if match.Method != nil {
		for _, v := range append(near(d.method), "GET", "POST", "OPTIONS") {
			if v != "" {
				m.variant(d, func(d *draft) { d.method = v })
			}
		}
	}
	if match.Scheme != nil {
		for _, v := range []string{"http", "https", "HTTP", "ftp"} {
			m.variant(d, func(d *draft) { d.set("x-forwarded-proto", v) })
		}
		m.variant(d, func(d *draft) { d.drop("x-forwarded-proto") })
	}
	if match.Authority != nil {
		for _, v := range append(near(d.authority), d.authority+":80", d.host,
			authority(d.host, d.port)) {
			m.variant(d, func(d *draft) { d.authority = v })
		}
	}
}

// header tries the lines around a condition on a header: missed, missing, empty, twice, name in
// upper case.
func (m *maker) header(d draft, name string, s *networkingv1alpha3.StringMatch) {
	if strings.HasPrefix(name, ":") || strings.EqualFold(name, "host") {
		return
	}
	v, ok := value(s)
	if !ok {
		v = "any"
	}
	for _, n := range append(near(v), v) {
		m.variant(d, func(d *draft) { d.set(name, n) })
	}
	m.variant(d, func(d *draft) { d.drop(name) })
	lines := func(values ...string) {
		m.variant(d, func(d *draft) {
			d.drop(name)
			for _, v := range values {
				d.headers = append(d.headers, name+": "+v)
			}
		})
	}
	lines(v, "other")
	lines("other", v)
	lines(v, v)
	lines(v + ",other")
	lines("", v)
	m.variant(d, func(d *draft) {
		d.drop(name)
		d.headers = append(d.headers, strings.ToUpper(name)+": "+v)
	})
}

// query tries the parameters around a condition on one.
func (m *maker) query(d draft, name string, s *networkingv1alpha3.StringMatch) {
	v, ok := value(s)
	if !ok {
		v = "any"
	}
	for _, n := range near(v) {
		m.variant(d, func(d *draft) { d.setQuery(name, n) })
	}
	m.variant(d, func(d *draft) { d.dropQuery(name) })
	for _, q := range [][]string{
		{name}, {name + "="}, {name + "=other", name + "=" + v}, {name + "=" + v, name + "=other"},
		{strings.ToUpper(name) + "=" + v}, {"first=1", name + "=" + v}, {name + "=" + v, ""},
		{"", name + "=" + v}, {name + "=" + v + "#f"}, {"x" + name + "=" + v},
	} {
		m.variant(d, func(d *draft) {
			d.dropQuery(name)
			d.query = append(d.query, q...)
		})
	}
	if v != "" {
		m.variant(d, func(d *draft) { d.setQuery(name, escape(v[0])+v[1:]) })
	}
}

// sources chooses the sender that a match asks for, and sends from the others too.
func (m *maker) sources(d *draft, match *networkingv1alpha3.HTTPMatchRequest) {
	if d.from == outside || len(match.SourceLabels) == 0 && match.SourceNamespace == "" {
		return
	}
	takes := func(p *translate.Pod) bool {
		return translate.Selects(match.SourceLabels, p.Labels) &&
			(match.SourceNamespace == "" || match.SourceNamespace == p.Namespace)
	}
	if from := m.client(takes); from != "" {
		d.from = from
	}
	if other := m.client(func(p *translate.Pod) bool { return !takes(p) }); other != "" {
		m.add(d.with(func(d *draft) { d.from = other }), true)
	}
}

// hashKeys sends what the hash policies of a route's destinations look at.
func (m *maker) hashKeys(d draft, r *networkingv1alpha3.HTTPRoute) {
	for _, dest := range r.Route {
		name, namespace, _ := strings.Cut(dest.GetDestination().GetHost(), ".")
		namespace, _, _ = strings.Cut(namespace, ".")
		m.hashed(d, name, namespace)
	}
}

// hashed sends values of the keys that a Service's DestinationRules hash.
func (m *maker) hashed(d draft, name, namespace string) {
	for _, o := range m.config.Kind("DestinationRule") {
		rule, ok := o.Body.(*networkingv1alpha3.DestinationRule)
		host, ns, _ := strings.Cut(rule.GetHost(), ".")
		ns, _, _ = strings.Cut(ns, ".")
		if !ok || host != name || namespace != "" && ns != "" && ns != namespace {
			continue
		}
		for _, p := range policies(rule) {
			m.hashKey(d, p.GetLoadBalancer().GetConsistentHash())
		}
	}
}

// policies lists the traffic policies of a rule.
func policies(r *networkingv1alpha3.DestinationRule) []*networkingv1alpha3.TrafficPolicy {
	out := []*networkingv1alpha3.TrafficPolicy{r.TrafficPolicy}
	for _, s := range r.Subsets {
		out = append(out, s.TrafficPolicy)
	}
	return slices.DeleteFunc(out, func(p *networkingv1alpha3.TrafficPolicy) bool {
		return p == nil
	})
}

// keys are the values that hash policies are tried with.
var keys = []string{"jason", "alice", "bob", ""}

func (m *maker) hashKey(d draft, h *networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB) {
	for _, k := range keys {
		if name := h.GetHttpHeaderName(); name != "" {
			m.variant(d, func(d *draft) { d.set(name, k) })
		}
		if c := h.GetHttpCookie(); c != nil {
			m.variant(d, func(d *draft) { d.set("cookie", c.Name+"="+k) })
		}
		if q := h.GetHttpQueryParameterName(); q != "" {
			m.variant(d, func(d *draft) { d.setQuery(q, k) })
		}
	}
	if name := h.GetHttpHeaderName(); name != "" {
		m.variant(d, func(d *draft) { d.headers = append(d.headers, name+": a", name+": b") })
	}
}
