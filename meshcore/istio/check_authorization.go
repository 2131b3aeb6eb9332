package istio

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	securityv1 "istio.io/api/security/v1"
)

// authorizationPolicy checks what istiod's webhook and the CRD check
// (pkg/config/validation/validation.go ValidateAuthorizationPolicy, pkg/config/security).
func (c *checker) authorizationPolicy() {
	p := c.object.Body.(*securityv1.AuthorizationPolicy)
	c.attachment(p)
	c.dryRun(p.Action)
	custom := p.Action == securityv1.AuthorizationPolicy_CUSTOM
	deny := p.Action == securityv1.AuthorizationPolicy_DENY
	if len(p.Rules) == 0 && (custom || deny) {
		c.errorf("spec.rules", "%s action without `rules` is meaningless as it will never be "+
			"triggered; write rules: [{}] for every request", p.Action)
	}
	switch {
	case custom && len(p.Rules) > 0 && p.GetProvider().GetName() == "":
		c.errorf("spec.provider.name", "`provider.name` must not be empty: it names one of "+
			"meshConfig.extensionProviders")
	case p.GetProvider() != nil && !custom:
		c.errorf("spec.provider", "`provider` must not be with non CUSTOM action, found %s",
			p.Action)
	}
	c.atMost("spec.rules", len(p.Rules), 512)
	for i, r := range p.Rules {
		c.authorizationRule(at("spec.rules", i), i, r)
		if custom {
			c.customRule(at("spec.rules", i), r)
		}
	}
	c.policyTraps(p)
}

func (c *checker) atMost(field string, n, most int) {
	if n > most {
		c.errorf(field, "has %d entries; at most %d are allowed", n, most)
	}
}

// dryRun: only what allows or denies can be tried out.
func (c *checker) dryRun(action securityv1.AuthorizationPolicy_Action) {
	value, found := c.object.Annotations[dryRunAnnotation]
	if !found {
		return
	}
	field := in("metadata.annotations", dryRunAnnotation)
	switch action {
	case securityv1.AuthorizationPolicy_ALLOW, securityv1.AuthorizationPolicy_DENY:
		if _, err := strconv.ParseBool(value); err != nil {
			c.errorf(field, "%q is an invalid value; must be \"true\" or \"false\"", clip(value))
		}
	default:
		c.errorf(field, "currently only supports action ALLOW/DENY, found action %s", action)
	}
}

const dryRunAnnotation = "istio.io/dry-run"

// dryRunElsewhere: istiod refuses the annotation on its other kinds.
func (c *checker) dryRunElsewhere(k *kind) {
	_, found := c.object.Annotations[dryRunAnnotation]
	if found && strings.HasSuffix(k.group, ".istio.io") && k.name != "AuthorizationPolicy" {
		c.errorf(in("metadata.annotations", dryRunAnnotation),
			"unsupported annotation: only an AuthorizationPolicy can be tried out; remove it")
	}
}

func (c *checker) authorizationRule(field string, number int, r *securityv1.Rule) {
	c.atMost(field+".from", len(r.From), 512)
	for i, from := range r.From {
		f := at(field+".from", i)
		if from.Source == nil {
			c.errorf(f, "`from.source` must not be nil, found at rule %d", number)
			continue
		}
		c.requestSource(f+".source", number, from.Source)
	}
	for i, to := range r.To {
		f := at(field+".to", i)
		if to.Operation == nil {
			c.errorf(f, "`to.operation` must not be nil, found at rule %d", number)
			continue
		}
		c.requestOperation(f+".operation", number, to.Operation)
	}
	for i, when := range r.When {
		c.condition(at(field+".when", i), when)
	}
}

// named is a list of values with its name.
type named struct {
	name   string
	values []string
	check  func(string) string // says what is wrong with a value that is not empty, or ""
}

// lists checks each value of some lists; it reports whether all lists are empty.
func (c *checker) lists(field string, all []named) (empty bool) {
	empty = true
	for _, l := range all {
		empty = empty && len(l.values) == 0
		for i, v := range l.values {
			f := at(field+"."+l.name, i)
			if v == "" {
				c.errorf(f, "empty value not allowed, found in %s", l.name)
			} else if l.check != nil {
				if msg := l.check(v); msg != "" {
					c.errorf(f, "%s", msg)
				}
			}
		}
	}
	return empty
}

func (c *checker) requestSource(field string, number int, s *securityv1.Source) {
	empty := c.lists(field, []named{
		{"principals", s.Principals, nil},
		{"notPrincipals", s.NotPrincipals, nil},
		{"requestPrincipals", s.RequestPrincipals, nil},
		{"notRequestPrincipals", s.NotRequestPrincipals, nil},
		{"namespaces", s.Namespaces, nil},
		{"notNamespaces", s.NotNamespaces, nil},
		{"serviceAccounts", s.ServiceAccounts, badServiceAccount},
		{"notServiceAccounts", s.NotServiceAccounts, badServiceAccount},
		{"trustDomains", s.TrustDomains, badTrustDomain},
		{"notTrustDomains", s.NotTrustDomains, badTrustDomain},
		{"ipBlocks", s.IpBlocks, badBlock},
		{"notIpBlocks", s.NotIpBlocks, badBlock},
		{"remoteIpBlocks", s.RemoteIpBlocks, badBlock},
		{"notRemoteIpBlocks", s.NotRemoteIpBlocks, badBlock},
	})
	if empty {
		c.errorf(field, "`from.source` must not be empty, found at rule %d", number)
	}
	c.atMost(field+".serviceAccounts", len(s.ServiceAccounts), 16)
	c.atMost(field+".notServiceAccounts", len(s.NotServiceAccounts), 16)
	identities := len(s.Principals) + len(s.NotPrincipals) +
		len(s.Namespaces) + len(s.NotNamespaces)
	if identities > 0 && len(s.ServiceAccounts)+len(s.NotServiceAccounts) > 0 {
		c.errorf(field, "cannot set serviceAccounts with namespaces or principals, "+
			"found at rule %d", number)
	}
}

func (c *checker) requestOperation(field string, number int, o *securityv1.Operation) {
	empty := c.lists(field, []named{
		{"hosts", o.Hosts, nil},
		{"notHosts", o.NotHosts, nil},
		{"ports", o.Ports, badPort},
		{"notPorts", o.NotPorts, badPort},
		{"methods", o.Methods, nil},
		{"notMethods", o.NotMethods, nil},
		{"paths", o.Paths, badPathTemplate},
		{"notPaths", o.NotPaths, badPathTemplate},
	})
	if empty {
		c.errorf(field, "`to.operation` must not be empty, found at rule %d", number)
	}
}

func badBlock(block string) string {
	if strings.Contains(block, "/") && !isPrefix(block) {
		return fmt.Sprintf("bad CIDR range (%s); write for example 10.1.0.0/16", clip(block))
	}
	if !strings.Contains(block, "/") && !isIP(block) {
		return fmt.Sprintf("bad IP address (%s)", clip(block))
	}
	return ""
}

func badPort(port string) string {
	if n, err := strconv.ParseUint(port, 10, 32); err != nil || n > 65535 {
		return fmt.Sprintf("bad port (%s); must be a number from 0 to 65535", clip(port))
	}
	return ""
}

func badServiceAccount(name string) string {
	const form = "expected format 'serviceAccount' or 'namespace/serviceAccount'"
	namespace, account, qualified := strings.Cut(name, "/")
	switch {
	case strings.Contains(name, "*"):
		return "wildcard not allowed; serviceAccounts are compared exactly"
	case len(name) > 320:
		return "value cannot exceed 320 characters"
	case qualified && (namespace == "" || account == "" || strings.Contains(account, "/")):
		return form + ", found " + strconv.Quote(name)
	}
	return ""
}

func badTrustDomain(domain string) string {
	if strings.Contains(domain, "/") {
		return fmt.Sprintf("trust domain must not contain '/': %q", clip(domain))
	}
	return badWildcard(domain)
}

// badWildcard: at either end one may stand.
func badWildcard(value string) string {
	switch strings.Count(value, "*") {
	case 0:
		return ""
	case 1:
		if strings.HasPrefix(value, "*") || strings.HasSuffix(value, "*") {
			return ""
		}
		return fmt.Sprintf("wildcard is only allowed at the start or end: %q", clip(value))
	}
	return fmt.Sprintf("at most one wildcard is allowed: %q", clip(value))
}

// badPathTemplate checks a path's segments: {*} is one, {**} the rest.
func badPathTemplate(path string) string {
	template := strings.Contains(path, "{*}") || strings.Contains(path, "{**}")
	rest := false
	bad := func(format string, args ...any) string {
		return "invalid or unsupported path " + clip(path) + "; " + fmt.Sprintf(format, args...)
	}
	for segment := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		operator := segment == "{*}" || segment == "{**}"
		switch {
		case operator && rest:
			return bad("{**} is not the last operator")
		case operator:
			rest = segment == "{**}"
		case strings.ContainsAny(segment, "{}"):
			return bad("contains '{' or '}' beyond a supported path template: a segment is " +
				"{*}, {**} or literal")
		case template && !isPathLiteral(segment):
			return bad("contains segment %s with invalid string literal; beside {*} and {**} "+
				"no other wildcard is allowed", clip(segment))
		}
	}
	return ""
}

// isPathLiteral: RFC 3986's pchar.
func isPathLiteral(segment string) bool {
	const others = "-._~%!$&'()+,;:@="
	return segment != "" && !strings.ContainsFunc(segment, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune(others, r)
	})
}

// customRule: who asks is not known yet when an external authorizer is asked.
func (c *checker) customRule(field string, r *securityv1.Rule) {
	const why = "%s is currently not supported with CUSTOM action"
	for i, from := range r.From {
		f := at(field+".from", i) + ".source"
		s := from.GetSource()
		for _, l := range []named{
			{"namespaces", s.GetNamespaces(), nil}, {"notNamespaces", s.GetNotNamespaces(), nil},
			{"serviceAccounts", s.GetServiceAccounts(), nil},
			{"notServiceAccounts", s.GetNotServiceAccounts(), nil},
			{"trustDomains", s.GetTrustDomains(), nil},
			{"notTrustDomains", s.GetNotTrustDomains(), nil},
			{"principals", s.GetPrincipals(), nil}, {"notPrincipals", s.GetNotPrincipals(), nil},
			{"requestPrincipals", s.GetRequestPrincipals(), nil},
			{"notRequestPrincipals", s.GetNotRequestPrincipals(), nil},
		} {
			if len(l.values) > 0 {
				c.errorf(f+"."+l.name, why, l.name)
			}
		}
	}
	identity := []string{
		"source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal",
	}
	for i, w := range r.When {
		if slices.Contains(identity, w.Key) || strings.HasPrefix(w.Key, "request.auth.") {
			c.errorf(at(field+".when", i)+".key", why, w.Key)
		}
	}
}
