package rules

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// text draws a condition on a text: exact, prefix or regex.
func (d drawer) text(exact, prefix, regex string) *networkingv1alpha3.StringMatch {
	switch d.IntN(3) {
	case 0:
		return &networkingv1alpha3.StringMatch{
			MatchType: &networkingv1alpha3.StringMatch_Exact{Exact: exact}}
	case 1:
		return &networkingv1alpha3.StringMatch{
			MatchType: &networkingv1alpha3.StringMatch_Prefix{Prefix: prefix}}
	}
	return &networkingv1alpha3.StringMatch{
		MatchType: &networkingv1alpha3.StringMatch_Regex{Regex: regex}}
}

func (d drawer) match() *networkingv1alpha3.HTTPMatchRequest {
	m := &networkingv1alpha3.HTTPMatchRequest{}
	if d.in(3, 4) {
		m.Uri = d.text(pick(d, "/a", "/a/b", "/", "/B", "/a/"), pick(d, "/a", "/a/", "/", "/b/c"),
			pick(d, "/a.*", "/[a-z]+/[0-9]*", "/(a|b)/?", "/a|/b", ".*"))
		if d.in(1, 4) {
			m.IgnoreUriCase = true
		}
	}
	if d.in(1, 3) {
		m.Headers = map[string]*networkingv1alpha3.StringMatch{d.headerName(): d.value()}
		if d.in(1, 3) {
			m.Headers[d.headerName()] = d.value()
		}
	}
	if d.in(1, 6) {
		m.WithoutHeaders = map[string]*networkingv1alpha3.StringMatch{d.headerName(): d.value()}
	}
	if d.in(1, 5) {
		m.QueryParams = map[string]*networkingv1alpha3.StringMatch{
			pick(d, "q", "debug"): d.text("on", "o", "o[nf]+")}
	}
	if d.in(1, 8) {
		m.Method = d.text("POST", "P", "GET|PUT")
	}
	if d.in(1, 12) {
		m.Scheme = d.text("http", "http", "https?")
	}
	if d.in(1, 10) {
		m.Authority = d.text(pick(d, "echo", "echo:80"), "echo", "echo.*")
	}
	switch d.IntN(12) {
	case 0:
		m.SourceLabels = map[string]string{"app": pick(d, "curl", "shop")}
	case 1:
		m.Port = pick(d, uint32(80), 8081)
	case 2:
		m.Name = "named"
	}
	return m
}

func (d drawer) headerName() string { return pick(d, "x-user", "x-color", "end-user", "cookie") }

// value draws a condition on a header; one without a condition asks that it is there.
func (d drawer) value() *networkingv1alpha3.StringMatch {
	if d.in(1, 5) {
		return &networkingv1alpha3.StringMatch{}
	}
	return d.text(pick(d, "jason", "red"), pick(d, "j", "re"),
		pick(d, "j.*n", "red|blue", "^(.*;)?a=1(;.*)?$"))
}

func (d drawer) headers() *networkingv1alpha3.Headers {
	h := &networkingv1alpha3.Headers{}
	if d.in(2, 3) {
		h.Request = d.operations()
	}
	if d.in(1, 2) || h.Request == nil {
		h.Response = d.operations()
	}
	return h
}

func (d drawer) operations() *networkingv1alpha3.Headers_HeaderOperations {
	o := &networkingv1alpha3.Headers_HeaderOperations{}
	name := func() string { return pick(d, "x-user", "x-color", "x-new", "x-two") }
	if d.in(1, 2) {
		o.Set = map[string]string{name(): pick(d, "set", "%REQ(x-user)%", "a b")}
	}
	if d.in(1, 2) {
		o.Add = map[string]string{name(): pick(d, "added", "100%%")}
	}
	if d.in(1, 3) || o.Set == nil && o.Add == nil {
		o.Remove = []string{name()}
	}
	return o
}

func (d drawer) destinationRule(host string) *networkingv1alpha3.DestinationRule {
	r := &networkingv1alpha3.DestinationRule{Host: host}
	versions := []string{"v1", "v2"}
	if host == "other" {
		versions = versions[:1]
	}
	for _, v := range versions {
		s := &networkingv1alpha3.Subset{Name: v, Labels: map[string]string{"version": v}}
		if d.in(1, 6) {
			s.TrafficPolicy = d.policy()
		}
		r.Subsets = append(r.Subsets, s)
	}
	if d.in(1, 8) {
		r.Subsets = append(r.Subsets, &networkingv1alpha3.Subset{
			Name: "v3", Labels: map[string]string{"version": "v3"}})
	}
	if d.in(1, 2) {
		r.TrafficPolicy = d.policy()
	}
	return r
}

func (d drawer) policy() *networkingv1alpha3.TrafficPolicy {
	p := &networkingv1alpha3.TrafficPolicy{}
	if d.in(3, 4) {
		p.LoadBalancer = d.loadBalancer()
	}
	if d.in(1, 6) || p.LoadBalancer == nil {
		p.ConnectionPool = &networkingv1alpha3.ConnectionPoolSettings{
			Http: &networkingv1alpha3.ConnectionPoolSettings_HTTPSettings{
				MaxRetries:               pick(d, int32(1), 3),
				MaxRequestsPerConnection: pick(d, int32(0), 1, 2)},
		}
		if d.in(1, 2) {
			p.ConnectionPool.Http.IdleTimeout = durationpb.New(time.Minute)
		}
	}
	return p
}

func (d drawer) loadBalancer() *networkingv1alpha3.LoadBalancerSettings {
	if d.in(1, 2) {
		return &networkingv1alpha3.LoadBalancerSettings{
			LbPolicy: &networkingv1alpha3.LoadBalancerSettings_Simple{Simple: pick(d,
				networkingv1alpha3.LoadBalancerSettings_ROUND_ROBIN,
				networkingv1alpha3.LoadBalancerSettings_RANDOM,
				networkingv1alpha3.LoadBalancerSettings_LEAST_REQUEST)}}
	}
	type ( // of LoadBalancerSettings
		hashLB = networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB
		cookie = networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_HTTPCookie
		source = networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_UseSourceIp
		query  = networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName
		byName = networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName
		byJar  = networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_HttpCookie
	)
	h := &hashLB{}
	switch d.IntN(4) {
	case 0:
		h.HashKey = &source{UseSourceIp: true}
	case 1:
		h.HashKey = &query{HttpQueryParameterName: "q"}
	case 2:
		h.HashKey = &byJar{HttpCookie: &cookie{Name: "session", Ttl: durationpb.New(0)}}
	default:
		h.HashKey = &byName{HttpHeaderName: "x-user"}
	}
	return &networkingv1alpha3.LoadBalancerSettings{
		LbPolicy: &networkingv1alpha3.LoadBalancerSettings_ConsistentHash{ConsistentHash: h}}
}
