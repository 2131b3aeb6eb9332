package generate

import "math/rand/v2"

// securityObjects draws the security policies of a seed, and the authorizers of the MeshConfig that
// they ask. They have randomness of their own: what else a seed makes does not depend on them.
func (w *world) securityObjects(seed uint64, mesh *tree) []Object {
	own := *w
	own.draw = draw{rand.New(rand.NewPCG(seed, 0x706f6c69))}
	p := &policy{world: &own}
	if p.chance(40) {
		return nil
	}
	p.providers(mesh)
	var out []Object
	for i := range p.between(1, 3) {
		out = append(out, p.authorization(numbered("authz-", i)))
	}
	for i := range p.between(0, 2) {
		out = append(out, p.authentication(numbered("jwt-", i)))
	}
	return out
}

// policy draws policies.
type policy struct {
	*world
	asked bool // there is an authorizer
}

// provider is the authorizer that policies ask.
const provider = "authorizer"

// providers adds authorizers to the MeshConfig, where there is a Service for them.
func (p *policy) providers(mesh *tree) {
	if len(p.services) == 0 || p.chance(60) {
		return
	}
	if *mesh == nil {
		*mesh = tree{}
	}
	p.asked = true
	s := pick(p.draw, p.services...)
	headers := func() any { return someOf(p.draw, "x-a", "x-b*", "*-c") }
	base := func(service string) tree {
		return p.fields(tree{"service": service, "port": pick(p.draw, s.ports...)},
			of(p.draw, "timeout", 40, "1s", "250ms"),
			of(p.draw, "failOpen", 40, true, false),
			of(p.draw, "statusOnError", 40, "403", "503"),
			field{"includeRequestBodyInCheck", 40, func() any {
				return p.fields(tree{"maxRequestBytes": pick(p.draw, 1, 4096)},
					of(p.draw, "allowPartialMessage", 50, true),
					of(p.draw, "packAsBytes", 50, true))
			}})
	}
	http := p.fields(base(pick(p.draw, s.host(), s.namespace+"/"+s.host())),
		of(p.draw, "pathPrefix", 40, "/check", "/"),
		field{"includeHeadersInCheck", 30, headers},
		field{"includeRequestHeadersInCheck", 50, headers},
		of(p.draw, "includeAdditionalHeadersInCheck", 40, tree{"x-more": "a"}),
		field{"headersToUpstreamOnAllow", 40, headers},
		field{"headersToDownstreamOnDeny", 40, headers},
		field{"headersToDownstreamOnAllow", 40, headers})
	(*mesh)["extensionProviders"] = list{
		tree{"name": provider, "envoyExtAuthzHttp": http},
		tree{"name": "over-grpc", "envoyExtAuthzGrpc": base(s.host())},
	}
}

// where sets to which workloads a policy applies.
func (p *policy) where(spec tree) tree {
	ref := func() any {
		return tree{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "front"}
	}
	switch kind := p.r.IntN(100); {
	case kind < 50:
		spec["selector"] = tree{"matchLabels": pick(p.draw, tree{"app": "a"}, tree{"app": "b"},
			tree{"version": "v1"}, tree{"istio": "ingressgateway"})}
	case kind < 55:
		spec["targetRefs"] = list{ref()}
	case kind < 60:
		spec["targetRef"] = ref()
	}
	return spec
}

func securityObject(kind, name, ns string, spec tree) Object {
	o := object(kind, name, ns, spec)
	o["apiVersion"] = "security.istio.io/v1"
	return o
}

func (p *policy) authorization(name string) Object {
	spec := p.where(tree{})
	action := pick(p.draw, "ALLOW", "ALLOW", "DENY", "AUDIT")
	if p.asked && p.chance(40) {
		action, spec["provider"] = "CUSTOM", tree{"name": provider}
	}
	if action != "ALLOW" || p.chance(50) {
		spec["action"] = action
	}
	if action != "ALLOW" || p.chance(85) {
		spec["rules"] = repeat(p.between(1, 3), func() any { return p.rule(action == "CUSTOM") })
	}
	out := securityObject("AuthorizationPolicy", name, p.namespace(), spec)
	if (action == "ALLOW" || action == "DENY") && p.chance(20) {
		out["metadata"].(tree)["annotations"] = tree{"istio.io/dry-run": "true"}
	}
	return out
}

// rule draws a rule; custom ones know no identities.
func (p *policy) rule(custom bool) any {
	return p.fields(tree{},
		field{"from", 60, func() any {
			return repeat(p.between(1, 2), func() any {
				return tree{"source": p.source(custom)}
			})
		}},
		field{"to", 60, func() any {
			return repeat(p.between(1, 2), func() any { return tree{"operation": p.operation()} })
		}},
		field{"when", 40, func() any {
			return repeat(p.between(1, 2), func() any { return p.condition(custom) })
		}})
}

// list is a field whose value is some of a menu.
func (p *policy) list(name string, percent int, of ...string) field {
	return field{name, percent, func() any { return someOf(p.draw, of...) }}
}

func (p *policy) source(custom bool) tree {
	blocks := []string{"10.0.0.0/8", "10.244.0.2", "192.0.2.0/24", "203.0.113.50"}
	all := []field{
		p.list("ipBlocks", 25, blocks...), p.list("notIpBlocks", 15, blocks...),
		p.list("remoteIpBlocks", 15, blocks...), p.list("notRemoteIpBlocks", 15, blocks...),
	}
	if custom {
		return p.least(tree{}, all...)
	}
	domains := []string{"cluster.local", "*.example", "old*", "*"}
	all = append(all,
		p.list("trustDomains", 10, domains...), p.list("notTrustDomains", 10, domains...))
	tokens := []string{"*", "mint.example/ada", "*/bob", "mint.example/*", "other"}
	all = append(all, p.list("requestPrincipals", 15, tokens...),
		p.list("notRequestPrincipals", 15, tokens...))
	if p.chance(30) {
		accounts := []string{"default", "shop/default", "stock/b"}
		all = append(all, p.list("serviceAccounts", 50, accounts...),
			p.list("notServiceAccounts", 40, accounts...))
	} else {
		peers := []string{
			"*", "cluster.local/ns/shop/sa/default", "*/sa/default", "cluster.local/ns/st*",
		}
		places := []string{"shop", "stock", "s*k", "*"}
		all = append(all, p.list("principals", 25, peers...), p.list("notPrincipals", 15, peers...),
			p.list("namespaces", 25, places...), p.list("notNamespaces", 15, places...))
	}
	return p.least(tree{}, all...)
}

func (p *policy) operation() tree {
	hosts := []string{"a.shop", "a.shop:*", "*.example.com", "shop*", "*"}
	ports := []string{"80", "8080", "9000"}
	methods := []string{"GET", "POST", "P*", "*"}
	paths := []string{"/", "/a", "/a*", "*/b", "/{*}/c", "/d/{**}", "*"}
	return p.least(tree{},
		p.list("hosts", 25, hosts...), p.list("notHosts", 15, hosts...),
		p.list("ports", 25, ports...), p.list("notPorts", 15, ports...),
		p.list("methods", 30, methods...), p.list("notMethods", 15, methods...),
		p.list("paths", 40, paths...), p.list("notPaths", 20, paths...))
}

func (p *policy) condition(custom bool) any {
	type choice struct {
		key    string
		values []string
	}
	menu := []choice{
		{"request.headers[x-user]", []string{"ada", "b*", "*c", "*"}},
		{"source.ip", []string{"10.0.0.0/8", "10.244.0.2"}},
		{"remote.ip", []string{"192.0.2.0/24", "203.0.113.50"}},
		{"destination.ip", []string{"10.244.0.0/16"}},
		{"destination.port", []string{"8080", "80"}},
		{"connection.sni", []string{"*.example.com", "outbound*"}},
		{"experimental.envoy.filters.http.a[b]", []string{"c", "[d]"}},
	}
	if !custom {
		menu = append(menu,
			choice{"source.namespace", []string{"shop", "s*k"}},
			choice{"source.principal", []string{"cluster.local/ns/shop/sa/default", "*"}},
			choice{"source.serviceAccount", []string{"default", "shop/default"}},
			choice{"source.trustDomain", []string{"cluster.local", "*.example"}},
			choice{"request.auth.principal", []string{"mint.example/ada", "*"}},
			choice{"request.auth.audiences", []string{"vault", "sh*"}},
			choice{"request.auth.presenter", []string{"app"}},
			choice{"request.auth.claims[groups]", []string{"staff", "*"}},
			choice{"request.auth.claims[realm][roles]", []string{"admin", "b*"}})
	}
	c := pick(p.draw, menu...)
	return p.least(tree{"key": c.key}, p.list("values", 70, c.values...),
		p.list("notValues", 30, c.values...))
}

// keySet is a set of public keys that nobody has the private ones of any more: lab/parity/cases has
// a token that one of them has signed.
const keySet = `{"keys":[{"kty":"RSA","e":"AQAB","kid":"k","n":"` +
	`xf_yioNQ_1R1Qk5O0Ldz5AJ0cV-1qApxn8O1o3e9` +
	`tVvVNFrNoocUa2z_62zEcamdJjfHr_EE9cpnsS3Jb5OCn7z5a3BY6C7x6iDpEZ1UadosZ1cvVL6Roe5xLtyjc9vS` +
	`WbDuAnF1wZirH8aaE6Sf2kI_N4FD1NeyiA4VpwcGw1G4O4agyGQv2Mntz0ZDw-urEPog3kFoMdpSWS36CZyGL14w` +
	`2AmpiuuUqsgXYj01F2l5JM6b9OEi-90iZiExdChIpYjoPIrH6uXRM7VxWrGraSMJVua_3M4b9cZBhrDlA5TjCqEk` +
	`BtgDkxtpaLo3A2KrRzBQfgh_0YLMX5cHCvEOEQ"}]}`

func (p *policy) authentication(name string) Object {
	spec := p.where(tree{})
	if p.chance(90) {
		spec["jwtRules"] = repeat(p.between(1, 2), p.jwtRule)
	}
	return securityObject("RequestAuthentication", name, p.namespace(), spec)
}

func (p *policy) jwtRule() any {
	rule := p.fields(tree{"issuer": pick(p.draw, "mint.example", "https://other.example")},
		p.list("audiences", 30, "vault", "shop"),
		field{"fromHeaders", 30, func() any {
			return list{p.fields(tree{"name": "x-token"}, of(p.draw, "prefix", 50, "T "))}
		}},
		p.list("fromParams", 20, "t", "token"),
		p.list("fromCookies", 20, "session"),
		of(p.draw, "outputPayloadToHeader", 30, "x-payload"),
		of(p.draw, "forwardOriginalToken", 40, true),
		of(p.draw, "outputClaimToHeaders", 30, list{tree{"header": "x-sub", "claim": "sub"}}),
		p.list("spaceDelimitedClaims", 20, "roles", "scope"),
		of(p.draw, "timeout", 20, "1s"))
	switch kind := p.r.IntN(100); {
	case kind < 60:
		rule["jwks"] = keySet
	case kind < 90:
		rule["jwksUri"] = pick(p.draw, "http://keys.shop.svc.cluster.local/k",
			"https://other.example/k")
	}
	return rule
}
