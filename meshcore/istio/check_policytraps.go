package istio

import (
	"slices"
	"strings"

	securityv1 "istio.io/api/security/v1"
)

// policyTraps warns of what a policy says and does not mean, each sort once: those that show
// without knowing the workloads.
func (c *checker) policyTraps(p *securityv1.AuthorizationPolicy) {
	t := traps{checker: c, told: map[string]bool{}}
	refuses := p.Action != securityv1.AuthorizationPolicy_ALLOW
	for i, r := range p.Rules {
		for j, to := range r.To {
			f := at(at("spec.rules", i)+".to", j) + ".operation"
			o := to.GetOperation()
			if p.Action == securityv1.AuthorizationPolicy_AUDIT {
				continue // nothing slips through
			}
			if refuses {
				t.hosts(f+".hosts", o.GetHosts())
				t.paths(f+".paths", o.GetPaths())
			} else {
				t.hosts(f+".notHosts", o.GetNotHosts())
				t.paths(f+".notPaths", o.GetNotPaths())
			}
			t.methods(f+".methods", o.GetMethods())
			t.methods(f+".notMethods", o.GetNotMethods())
		}
		for j, from := range r.From {
			f := at(at("spec.rules", i)+".from", j) + ".source"
			t.identities(f+".principals", from.GetSource().GetPrincipals())
			t.identities(f+".notPrincipals", from.GetSource().GetNotPrincipals())
		}
	}
}

// traps warns of each sort of trap once.
type traps struct {
	*checker
	told map[string]bool
}

func (t *traps) once(sort, field, format string, args ...any) {
	if !t.told[sort] {
		t.told[sort] = true
		t.warnf(field, format, args...)
	}
}

// hosts: what stands in the Host header is compared, port and all.
func (t *traps) hosts(field string, hosts []string) {
	for i, h := range hosts {
		if strings.ContainsAny(h, "*:") || slices.Contains(hosts, h+":*") ||
			slices.Contains(hosts, h+"*") {
			continue
		}
		t.once("hosts", at(field, i), "the port in the Host header is compared as well: a "+
			"client that writes %s:80 evades it; add %q", h, h+":*")
	}
}

// paths: istiod and Envoy leave a path's case alone, and by default repeated and escaped slashes.
func (t *traps) paths(field string, paths []string) {
	for i, p := range paths {
		if p == "*" || strings.HasPrefix(p, "*") {
			continue
		}
		slash := ""
		if !strings.ContainsAny(p, "*{") && !slices.Contains(paths, p+"/") && p != "/" {
			slash = p + "/, "
		}
		t.once("paths", at(field, i), "paths are compared as they are, in their case and with "+
			"repeated and escaped slashes (unless meshConfig.pathNormalization is "+
			"DECODE_AND_MERGE_SLASHES): %s/%s and %s evade it", slash, p, otherCase(p))
	}
}

// otherCase writes a path in another case.
func otherCase(p string) string {
	if up := strings.ToUpper(p); up != p {
		return up
	}
	return strings.ToLower(p)
}

func (t *traps) methods(field string, methods []string) {
	for i, m := range methods {
		if up := strings.ToUpper(m); up != m {
			t.once("methods", at(field, i), "methods are compared in their case, and clients "+
				"write %s", up)
		}
	}
}

func (t *traps) identities(field string, principals []string) {
	for i, p := range principals {
		if rest, ok := strings.CutPrefix(p, "spiffe://"); ok {
			t.once("spiffe", at(field, i), "principals are written without spiffe://, which "+
				"istiod adds; write %s", rest)
		}
	}
}
