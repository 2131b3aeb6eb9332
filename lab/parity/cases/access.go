package cases

import (
	"slices"
	"strings"

	securityv1 "istio.io/api/security/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// access makes the requests of the security kinds: from every kind of sender to every Service, and
// for each operation and condition of a policy what just meets it and what tries to get around it.
func (m *maker) access() {
	var policies []*istio.Object
	for _, kind := range []string{
		"PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy",
	} {
		policies = append(policies, m.config.Kind(kind)...)
	}
	if len(policies) == 0 {
		return
	}
	tokens := len(m.config.Kind("RequestAuthentication")) > 0
	for _, d := range m.ways() {
		m.add(d, true)
		if tokens {
			m.tokens(d)
		}
		for _, o := range policies {
			if p, ok := o.Body.(*securityv1.AuthorizationPolicy); ok {
				m.policy(d, p)
			}
		}
	}
}

// ways are requests from one pod of every sender to every HTTP Service, and from outside.
func (m *maker) ways() []draft {
	var out []draft
	for _, from := range m.senders() {
		for _, s := range m.config.Kind("Service") {
			if ports := httpPorts(s); len(ports) > 0 {
				host := s.Name + "." + s.Namespace
				out = append(out, place{from: from, host: host, port: ports[0]}.draft())
			}
		}
	}
	for _, o := range m.config.Kind("Gateway") {
		for _, p := range m.atGateway(o.Name, o.Namespace, []string{"*"}) {
			out = append(out, p.draft())
		}
	}
	return out
}

// senders are one pod of each workload that is a client and nothing else, with a sidecar or none.
func (m *maker) senders() []string {
	var out []string
	seen := map[string]bool{}
	for _, p := range m.reg.Pods {
		key := p.Workload + "." + p.Namespace
		if p.Role == translate.Gateway || rank(p) > 0 || seen[key] {
			continue
		}
		seen[key] = true
		out = append(out, p.ID())
	}
	return out
}

// policy makes the requests of one policy's rules.
func (m *maker) policy(d draft, p *securityv1.AuthorizationPolicy) {
	for _, r := range p.Rules {
		meeting := d
		for _, c := range r.When {
			if name, ok := headerOf(c.Key); ok {
				for _, v := range slices.Concat(c.Values, c.NotValues) {
					m.headerValues(d, name, shown(v))
					meeting = meeting.with(func(d *draft) { d.set(name, shown(v)) })
				}
			}
		}
		m.add(meeting, true)
		for _, to := range r.To {
			m.operation(meeting, to.GetOperation())
		}
		for _, from := range r.From {
			for _, ip := range from.GetSource().GetRemoteIpBlocks() {
				ip, _, _ := strings.Cut(ip, "/")
				m.variant(meeting, func(d *draft) { d.set("x-forwarded-for", ip) })
				m.variant(meeting, func(d *draft) { d.set("x-forwarded-for", ip+", 192.0.2.9") })
			}
		}
	}
}

func headerOf(key string) (string, bool) {
	name, ok := strings.CutPrefix(key, "request.headers[")
	return strings.TrimSuffix(name, "]"), ok
}

// shown is a text that a value of a policy takes: its asterisks and braces stand for something.
func shown(v string) string {
	v = strings.NewReplacer("{**}", "s/t", "{*}", "s").Replace(v)
	return strings.ReplaceAll(v, "*", "any")
}

// operation makes the request that an operation describes, and those around it.
func (m *maker) operation(d draft, o *securityv1.Operation) {
	paths := slices.Concat(o.GetPaths(), o.GetNotPaths())
	hosts := slices.Concat(o.GetHosts(), o.GetNotHosts())
	methods := slices.Concat(o.GetMethods(), o.GetNotMethods())
	met := d.with(func(d *draft) {
		if len(o.GetPaths()) > 0 {
			d.path = pathOf(o.Paths[0])
		}
		if len(o.GetHosts()) > 0 {
			d.authority = shown(o.Hosts[0])
		}
		if len(o.GetMethods()) > 0 {
			d.method = shown(o.Methods[0])
		}
	})
	m.add(met, true)
	for _, v := range paths {
		for _, p := range around(pathOf(v)) {
			m.variant(met, func(d *draft) { d.path = p })
		}
	}
	for _, v := range hosts {
		h := shown(v)
		for _, h := range []string{
			h, h + ":80", h + ":8080", h + ".", h + ".:80", strings.ToUpper(h), h + ":",
		} {
			m.variant(met, func(d *draft) { d.authority = h })
		}
	}
	for _, v := range append(methods, "GET", "HEAD", "OPTIONS", "post") {
		m.variant(met, func(d *draft) { d.method = shown(v) })
	}
}

func pathOf(v string) string { return "/" + strings.TrimPrefix(shown(v), "/") }

// around lists ways to write a path that servers may take for the same, and its neighbours.
func around(p string) []string {
	last := strings.LastIndexByte(p, '/')
	dir, file := p[:last], p[last+1:]
	out := []string{
		p, p + "/", "/" + p, p + "?q", p + "?q=/", p + "#", p + ";x=1", p + "%00", p + "%20",
		p + "x", p + "/..", p + "/..;/", "/x/.." + p, "/x/..;" + p, "/x/%2e%2e" + p, "/." + p,
		"/%2e" + p, p + "/%2e%2e/x", dir + "//" + file, dir + "%2f" + file, dir + "%2F" + file,
		dir + "%5c" + file, dir + "\\" + file, dir + "/./" + file, dir + "/;/" + file,
		dir + "/x/../" + file, strings.ToUpper(p), dir + "/",
	}
	if file != "" {
		out = append(out, dir+"/"+escape(file[0])+file[1:],
			dir+"/%25"+strings.TrimPrefix(escape(file[0]), "%")+file[1:])
	}
	return out
}

// headerValues tries a value alone, beside another in both orders, joined, in another case.
func (m *maker) headerValues(d draft, name, v string) {
	for _, lines := range [][]string{
		{v}, {v, "other"}, {"other", v}, {v + ",other"}, {"other, " + v}, {strings.ToUpper(v)},
		{v, v}, {""}, {" " + v}, {v + "x"},
	} {
		m.variant(d, func(d *draft) {
			d.drop(name)
			for _, l := range lines {
				d.headers = append(d.headers, name+": "+l)
			}
		})
	}
}

// tokens tries tokens, a good one among them, in every place that rules are likely to name.
func (m *maker) tokens(d draft) {
	good := header + claims + signature
	m.add(d.with(func(d *draft) { d.set("authorization", "Bearer "+good) }), true)
	for _, t := range []string{
		good, "x", "", "a.b.c", unsigned + claims + ".", unsigned + claims,
		header + claims + "AAAA", header + claims + ".",
		unsigned + claims + signature, good + "x",
		good + ".", " " + good, expired,
	} {
		for _, h := range []string{
			"authorization: Bearer ", "authorization: bearer ", "authorization: ", "x-token: T ",
			"x-token: ", "cookie: session=", "cookie: a=b; session=",
		} {
			m.variant(d, func(d *draft) { d.headers = append(d.headers, h+t) })
		}
		m.variant(d, func(d *draft) { d.setQuery("token", t) })
		m.variant(d, func(d *draft) { d.setQuery("t", t) })
		m.variant(d, func(d *draft) {
			d.headers = append(d.headers, "authorization: Bearer "+t, "authorization: Bearer x")
		})
		m.variant(d, func(d *draft) {
			d.headers = append(d.headers, "authorization: Bearer "+t, "x-token: "+good)
		})
	}
	m.variant(d, func(d *draft) { d.set("x-payload", "e30"); d.set("x-sub", "ada") })
}

// Tokens of the issuer mint.example for ada, signed with a key that nobody has any more
// (meshcore/istio/generate has the public one): one that is good until 2046, and one that was.
const (
	unsigned = "eyJhbGciOiJub25lIn0."
	header   = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ."
	claims   = "eyJpc3MiOiJtaW50LmV4YW1wbGUiLCJzdWIiOiJhZGEiLCJhdWQiOiJ2YXVsdCIsImV4cCI6MjQ" +
		"wMDAwMDAwMCwiZ3JvdXBzIjpbInN0YWZmIl0sImF6cCI6ImFwcCJ9"
	signature = "." +
		"OziKy-73IWXge1_CzG5ZC9YuydCYnCzwgQUikL1a38Ze0zH0-ZTFOya5vqIyMuh8hCp2cnaWGI3wmxEpR98Vxg" +
		"f_P3tFUqd7Dix0TIfIT33IMumpv7AL-paB8po4s92OCr4ic9Ldni7qExWLwSOlh1h8kGHuQXE0pMG56_W0EYKk" +
		"CPqPP52YkfpqmI5YIiECDWdH1PLA7dZrhfAZpNu_2oPQiry_FSedbVUl0hjjVMrDMRd7Esmw9Be51sHDs3cajG" +
		"UxZC5n2RYJrDMc42d9mLEDfg3ZUMqKoiIc6m72q7KR6XO5RBq9fznH-ZdXvXbgiLmoox4mBc1YodgXS_nm5w"
	expired = header +
		"eyJpc3MiOiJtaW50LmV4YW1wbGUiLCJzdWIiOiJhZGEiLCJleHAiOjE3MDAwMDAwMDB9" + "." +
		"URRIv6JeVICvf5Mk4j8JqHFrJF-kjN-Jefg54RM0_hL6RsdkxNllYlgUjL5SmEmw6wDQq48QmONmYJz4SI1FMI" +
		"mIFuNAkWQiL7gZ22j5dy-tGau3VihSXvSSM272Lvt1n4n2wS-3e3XUe6iMM1qG3sXEkeBBn7ArM9JW98bBoeKJ" +
		"G17trsZcFZ39wmt9TzvRf4kJFtam40I15aUIDinnP0s5P1e8nep4jX8DkF6n3WTVW1YQ6EuqfJhN8mVhfSHFiJ" +
		"yyiGVAYQhlLXQeSi9tRLNZPvV6C4lghBrQwhBfeLPpes1-ktvQ-fDOwKCWXWxU7bpUJxd9d_BC23ypC7xX7Q"
)
