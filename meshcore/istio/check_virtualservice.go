package istio

import (
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// meshGateway is the word for all sidecars in a VirtualService's gateways.
const meshGateway = "mesh"

// virtualService checks what istiod's webhook checks (pkg/config/validation/validation.go).
func (c *checker) virtualService() {
	vs := c.object.Body.(*networkingv1alpha3.VirtualService)
	delegate := len(vs.Hosts) == 0
	if delegate && len(vs.Gateways) > 0 {
		c.errorf(
			"spec.gateways",
			"without hosts this VirtualService is a delegate, and those have no "+
				"gateways: they serve where their roots do; add hosts, or remove gateways",
		)
	}
	c.gatewayNames("spec.gateways", vs.Gateways)
	c.hosts(vs)
	if len(vs.Http) == 0 && len(vs.Tcp) == 0 && len(vs.Tls) == 0 {
		c.errorf("spec", "http, tcp or tls must be given")
	}
	for i, r := range vs.Http {
		c.httpRoute(at("spec.http", i), r, delegate)
	}
	c.l4Routes(vs, delegate)
	c.exportTo("spec.exportTo", vs.ExportTo)
	c.unreachable(vs.Http)
}

// hosts checks the hosts of a VirtualService.
func (c *checker) hosts(vs *networkingv1alpha3.VirtualService) {
	valid := true
	check := wildcardDomain
	if gatewaysOnly(vs) && namesSNI(vs) {
		check = sniDomain
	}
	for i, h := range vs.Hosts {
		f := at("spec.hosts", i)
		if msg := check(h); msg != "" && !isIP(h) {
			c.errorf(f, "%s", msg)
			valid = false
		} else if h == "*" && !gatewaysOnly(vs) {
			c.errorf(f, "wildcard host * is not allowed for sidecars (the gateway \"mesh\", which "+
				"is the default); name hosts, or name gateways")
			valid = false
		}
	}
	for i, a := range vs.Hosts {
		for j, b := range vs.Hosts[:i] {
			if valid && overlap(a, b) {
				c.errorf(
					at("spec.hosts", i),
					"duplicate hosts: %s is in hosts[%d] %s as well",
					a,
					j,
					b,
				)
			}
		}
	}
}

// gatewayNames checks NAME, NAMESPACE/NAME and the old NAME.NAMESPACE...
func (c *checker) gatewayNames(field string, names []string) {
	for i, name := range names {
		f := at(field, i)
		ns, short, slash := strings.Cut(name, "/")
		switch {
		case !slash:
			if msg := domain(name); msg != "" {
				c.errorf(f, "%s", msg)
			} else if parts := strings.Split(name, "."); len(parts) > 1 {
				c.warnf(f, "old form of a gateway's name; write %s/%s", parts[1], parts[0])
			}
		case !istioLabel.MatchString(ns):
			c.errorf(
				f,
				"%q is not the name of a namespace; a gateway is NAME or NAMESPACE/NAME",
				ns,
			)
		case !istioLabel.MatchString(short):
			c.errorf(
				f,
				"%q is not the name of a Gateway; a gateway is NAME or NAMESPACE/NAME",
				short,
			)
		}
	}
}

// httpRoute checks one rule.
func (c *checker) httpRoute(field string, r *networkingv1alpha3.HTTPRoute, delegate bool) {
	c.conflicts(field, r, delegate)
	for i, m := range r.Match {
		c.match(at(field+".match", i), m)
	}
	c.headers(field+".headers", r.Headers)
	c.cors(field+".corsPolicy", r.CorsPolicy)
	c.fault(field+".fault", r.Fault)
	c.destination(field+".mirror", r.Mirror)
	if p := r.MirrorPercent; p != nil { //nolint:staticcheck // obsolete, but carried out
		c.warnf(
			field+".mirrorPercent",
			"is obsolete; write mirrorPercentage: {value: %d}",
			p.GetValue(),
		)
		if p.GetValue() > 100 {
			c.errorf(field+".mirrorPercent", "must be at most 100")
		}
	}
	c.share(field+".mirrorPercentage", r.MirrorPercentage)
	for i, m := range r.Mirrors {
		c.destination(at(field+".mirrors", i)+".destination", m.Destination)
		c.share(at(field+".mirrors", i)+".percentage", m.Percentage)
	}
	c.redirect(field+".redirect", r)
	c.directResponse(field+".directResponse", r.DirectResponse)
	c.retries(field+".retries", r.Retries)
	c.rewrite(field, r)
	c.routes(field+".route", r.Route)
}

// conflicts checks which actions stand beside each other.
func (c *checker) conflicts(field string, r *networkingv1alpha3.HTTPRoute, delegate bool) {
	both := func(set bool, name, action string) {
		if set {
			c.errorf(field+"."+name, "a rule cannot contain both %s and %s", name, action)
		}
	}
	routes := len(r.Route) > 0
	if r.Delegate != nil && !delegate {
		both(r.Redirect != nil, "redirect", "delegate")
		both(routes, "route", "delegate")
		return
	}
	if r.Delegate != nil {
		c.errorf(
			field+".delegate",
			"a delegate (a VirtualService without hosts) cannot delegate further",
		)
	}
	switch {
	case r.Redirect != nil:
		both(routes, "route", "redirect")
		both(r.Fault != nil, "fault", "redirect")
		both(r.Rewrite != nil, "rewrite", "redirect")
		both(r.DirectResponse != nil, "directResponse", "redirect")
	case r.DirectResponse != nil:
		both(routes, "route", "directResponse")
		both(r.Fault != nil, "fault", "directResponse")
		both(r.Rewrite != nil, "rewrite", "directResponse")
	case !routes:
		c.errorf(field, "route, redirect or directResponse is required")
	}
	both(r.Mirror != nil && len(r.Mirrors) > 0, "mirrors", "mirror")
}

// match checks the conditions of a rule.
func (c *checker) match(field string, m *networkingv1alpha3.HTTPMatchRequest) {
	c.stringMatch(field+".uri", m.Uri, true)
	c.stringMatch(field+".scheme", m.Scheme, false)
	c.stringMatch(field+".method", m.Method, false)
	c.stringMatch(field+".authority", m.Authority, false)
	for _, name := range sortedNames(m.Headers) {
		c.matchedHeader(in(field+".headers", name), name, m.Headers[name])
		c.stringMatch(in(field+".headers", name), m.Headers[name], false)
	}
	for _, name := range sortedNames(m.WithoutHeaders) {
		c.matchedHeader(in(field+".withoutHeaders", name), name, m.WithoutHeaders[name])
		if m.WithoutHeaders[name].GetRegex() != "*" { // no RE2, but istiod takes it for "any value"
			c.stringMatch(in(field+".withoutHeaders", name), m.WithoutHeaders[name], false)
		}
	}
	for _, name := range sortedNames(m.QueryParams) {
		c.stringMatch(in(field+".queryParams", name), m.QueryParams[name], false)
	}
	if m.Port != 0 {
		c.port(field+".port", int64(m.Port))
	}
	c.istioLabels(field+".sourceLabels", m.SourceLabels)
	c.gatewayNames(field+".gateways", m.Gateways)
	if ns := m.SourceNamespace; ns != "" && !istioLabel.MatchString(ns) {
		c.errorf(field+".sourceNamespace", "%q is not the name of a namespace", ns)
	}
}

var pseudoHeaders = []string{":method", ":scheme", ":authority", ":path", ":status"}

func (c *checker) matchedHeader(field, name string, m *networkingv1alpha3.StringMatch) {
	switch {
	case RoutingClaim(name) != nil:
		c.routingClaim(field, name, m)
	case !headerName.MatchString(name) && !slices.Contains(pseudoHeaders, name):
		c.errorf(field, "%q is not a valid name of a header", name)
	}
}

// routes checks weighted destinations.
func (c *checker) routes(field string, routes []*networkingv1alpha3.HTTPRouteDestination) {
	total := int64(0)
	for i, r := range routes {
		f := at(field, i)
		c.destination(f+".destination", r.Destination)
		c.headers(f+".headers", r.Headers)
		if r.Weight < 0 {
			c.errorf(f+".weight", "weight %d < 0", r.Weight)
		}
		total += int64(r.Weight)
	}
	if len(routes) > 1 && total == 0 {
		c.errorf(field, "total destination weight = 0; nothing could be sent anywhere")
	}
}

// fault checks injected faults.
func (c *checker) fault(field string, f *networkingv1alpha3.HTTPFaultInjection) {
	if f == nil {
		return
	}
	if f.Abort == nil && f.Delay == nil {
		c.errorf(field, "must have delay, abort or both")
	}
	if a := f.Abort; a != nil {
		c.percentage(field+".abort.percentage", a.Percentage)
		switch t := a.ErrorType.(type) {
		case *networkingv1alpha3.HTTPFaultInjection_Abort_HttpStatus:
			c.status(field+".abort.httpStatus", int64(t.HttpStatus))
		case *networkingv1alpha3.HTTPFaultInjection_Abort_GrpcStatus:
			if !slices.Contains(grpcStatuses, t.GrpcStatus) {
				c.errorf(field+".abort.grpcStatus", "%q is not a gRPC status; must be one of %s",
					t.GrpcStatus, strings.Join(grpcStatuses, ", "))
			}
		default:
			c.warnf(field+".abort", "has no httpStatus: Istio never aborts then")
		}
		if a.Percentage == nil && a.ErrorType != nil {
			c.warnf(field+".abort", "has no percentage: Istio never aborts then")
		}
	}
	if d := f.Delay; d != nil {
		c.percentage(field+".delay.percentage", d.Percentage)
		if p := d.Percent; p < 0 || p > 100 { //nolint:staticcheck // obsolete, but carried out
			c.errorf(
				field+".delay.percent",
				"percentage %d is out of range; must be from 0 to 100",
				p,
			)
		} else if p == 0 && d.Percentage == nil {
			c.warnf(field+".delay", "has no percentage: Istio never delays then")
		}
	}
}

var grpcStatuses = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
	"ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
	"OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// percentage checks the share of a fault; Envoy's finest fraction is one in a million.
func (c *checker) percentage(field string, p *networkingv1alpha3.Percent) {
	if v := p.GetValue(); v < 0 || v > 100 || v > 0 && v < 0.0001 {
		c.errorf(field+".value", "percentage %v must be 0, or from 0.0001 to 100", v)
	}
}

// share checks the share of mirrored requests.
func (c *checker) share(field string, p *networkingv1alpha3.Percent) {
	if v := p.GetValue(); v < 0 || v > 100 {
		c.errorf(field+".value", "percentage %v is out of range; must be from 0 to 100", v)
	}
}

func (c *checker) redirect(field string, route *networkingv1alpha3.HTTPRoute) {
	r := route.Redirect
	if r == nil {
		return
	}
	if r.Uri != "" && r.PrefixRewrite != "" {
		c.errorf(field+".prefixRewrite", "cannot stand beside uri")
	}
	if r.PrefixRewrite != "" && slices.ContainsFunc(route.Match, notByPrefix) {
		c.errorf(field+".prefixRewrite", "every match on uri must be a prefix then")
	}
	if r.Uri == "" && r.PrefixRewrite == "" && r.Authority == "" && r.RedirectPort == nil &&
		r.Scheme == "" {
		c.errorf(field, "must have uri, prefixRewrite, authority, scheme or port")
	}
	if code := r.RedirectCode; code != 0 && (code < 300 || code > 399) {
		c.errorf(field+".redirectCode", "%d is not a redirect; must be 3xx", code)
	}
	if !slices.Contains([]string{"", "http", "https"}, r.Scheme) {
		c.errorf(field+".scheme", "must be http or https, not %q", r.Scheme)
	}
	if p := r.GetPort(); p > 0 {
		c.port(field+".port", int64(p))
	}
}

func notByPrefix(m *networkingv1alpha3.HTTPMatchRequest) bool {
	_, prefix := m.GetUri().GetMatchType().(*networkingv1alpha3.StringMatch_Prefix)
	return m.Uri != nil && !prefix
}

func (c *checker) directResponse(field string, r *networkingv1alpha3.HTTPDirectResponse) {
	if r == nil {
		return
	}
	c.status(field+".status", int64(r.Status))
	const largest, large = 1 << 20, 100 << 10
	switch size := max(len(r.Body.GetString_()), len(r.Body.GetBytes())); {
	case size > largest:
		c.errorf(field+".body", "has %d bytes; must be at most 1 MiB", size)
	case size > large:
		c.warnf(field+".body", "has %d bytes, and every proxy is sent them", size)
	}
}

// rewrite checks changes of path and authority.
func (c *checker) rewrite(field string, r *networkingv1alpha3.HTTPRoute) {
	if w, f := r.Rewrite, field+".rewrite"; w != nil {
		re := w.UriRegexRewrite
		if w.Uri != "" && re != nil {
			c.errorf(f+".uriRegexRewrite", "cannot stand beside uri")
		}
		if w.Uri == "" && re == nil && w.Authority == "" {
			c.errorf(f, "must have uri, uriRegexRewrite or authority")
		}
		if re != nil && (re.Match == "" || re.Rewrite == "") {
			c.errorf(f+".uriRegexRewrite", "must have both match and rewrite")
		} else if re != nil {
			c.regex(f+".uriRegexRewrite.match", re.Match)
		}
	}
	first := ""
	if r.Rewrite.GetAuthority() != "" {
		first = field + ".rewrite.authority"
	}
	request := r.Headers.GetRequest()
	again := func(mapping string, entries map[string]string) {
		for _, name := range sortedNames(entries) {
			if f := in(field+".headers.request."+mapping, name); !isAuthority(name) {
				continue
			} else if first != "" {
				c.errorf(f, "sets the authority again; it is set at %s already", first)
			} else {
				first = f
			}
		}
	}
	again("set", request.GetSet())
	again("add", request.GetAdd())
}
