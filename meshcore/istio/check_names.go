package istio

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Istio takes capital letters where Kubernetes does not (pkg/config/labels/instance.go).
var (
	istioLabel    = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$`)
	wildcardLabel = regexp.MustCompile(`^(\*|(\*-?)?[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)$`)
	labelKey      = regexp.MustCompile(
		`^([a-zA-Z0-9][-a-zA-Z0-9]*(\.[a-zA-Z0-9][-a-zA-Z0-9]*)*/)?` +
			`([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$`,
	)
	labelValue = regexp.MustCompile(`^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`)
)

const aLabel = "letters, digits and '-', at most 63 of them, " +
	"beginning and ending with a letter or digit"

// dnsLabel returns what a name violates, or "".
func dnsLabel(name string) string {
	if len(validation.IsDNS1123Label(name)) > 0 {
		return "must be a DNS label: lower-case " + aLabel
	}
	return ""
}

// dnsSubdomain is dnsLabel for names that may have dots.
func dnsSubdomain(name string) string {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return "must be a DNS name: lower-case letters, digits, '-' and '.', at most 253 " +
			"of them, beginning and ending with a letter or digit"
	}
	return ""
}

// gatewayName: a Gateway's name has no dots, for "NAME.NAMESPACE" is how VirtualServices once named
// it.
func gatewayName(name string) string {
	if !istioLabel.MatchString(name) {
		return "a Gateway's name must be a DNS label: " + aLabel
	}
	return ""
}

// domain returns what is wrong with a host name without wildcards, or "".
func domain(name string) string {
	switch {
	case name == "":
		return "a host name must not be empty"
	case len(name) > 255:
		return "a host name has at most 255 characters"
	}
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	if _, err := strconv.Atoi(last); err == nil {
		return "the top-level domain of " + name + " must not be a number"
	}
	if last == "" { // "istio.io." is unambiguous
		labels = labels[:len(labels)-1]
	}
	for _, l := range labels {
		if !istioLabel.MatchString(l) {
			return "host name " + strconv.Quote(name) + " is invalid: label " + strconv.Quote(l) +
				" must be " + aLabel
		}
	}
	return ""
}

// wildcardDomain is domain for names whose first label may be, or begin with, '*'.
func wildcardDomain(name string) string {
	first, rest, dotted := strings.Cut(name, ".")
	if !strings.HasPrefix(first, "*") {
		return domain(name)
	}
	if len(name) > 255 || len(first) > 63 || !wildcardLabel.MatchString(first) {
		return "host name " + strconv.Quote(name) + " is invalid: label " + strconv.Quote(first) +
			" must be '*', or '*' in front of a DNS label"
	}
	if !dotted {
		return ""
	}
	return domain(rest)
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// overlap reports whether two host names, each with a leading wildcard or not, share a name
// (pkg/config/host/name.go Matches).
func overlap(a, b string) bool {
	aSuffix, aWild := strings.CutPrefix(a, "*")
	bSuffix, bWild := strings.CutPrefix(b, "*")
	switch {
	case aWild && bWild:
		return strings.HasSuffix(aSuffix, bSuffix) || strings.HasSuffix(bSuffix, aSuffix)
	case aWild:
		return strings.HasSuffix(b, aSuffix)
	case bWild:
		return strings.HasSuffix(a, bSuffix)
	}
	return a == b
}

// port checks a port's number.
func (c *checker) port(field string, number int64) {
	if number < 1 || number > 65535 {
		c.errorf(field, "port %d is out of range; must be from 1 to 65535", number)
	}
}

// istioLabels checks labels as Istio takes them.
func (c *checker) istioLabels(field string, labels map[string]string) {
	for _, key := range sortedNames(labels) {
		if !labelKey.MatchString(key) {
			c.errorf(in(field, key), "%q is not a valid key of a label", key)
		}
		if !labelValue.MatchString(labels[key]) {
			c.errorf(in(field, key), "%q is not a valid value of a label", labels[key])
		}
	}
}

// labels checks labels as the API server does.
func (c *checker) labels(field string, labels map[string]string) {
	for _, key := range sortedNames(labels) {
		const word = "letters, digits, '-', '_' and '.', at most 63 of them, beginning and " +
			"ending with a letter or digit"
		if len(validation.IsQualifiedName(key)) > 0 {
			c.errorf(in(field, key), "the key of a label must be "+word+
				"; in front of it a DNS name and '/' are allowed")
		}
		if v := labels[key]; len(validation.IsValidLabelValue(v)) > 0 {
			c.errorf(
				in(field, key),
				"the value of a label must be empty, or "+word+"; not %q",
				clip(v),
			)
		}
	}
}

// exportTo checks visibility: ".", "*" or names of namespaces.
func (c *checker) exportTo(field string, namespaces []string) {
	seen := map[string]bool{}
	for i, ns := range namespaces {
		f := at(field, i)
		full := ns
		if ns == "." {
			full = c.object.Namespace
		}
		switch {
		case seen[full]:
			c.errorf(f, "%s is given twice (\".\" is the object's own namespace)", ns)
		case ns == "~" && c.object.Kind != "ServiceEntry":
			c.errorf(f, "\"~\" (nobody) is for ServiceEntries only")
		case ns == "~" && len(namespaces) > 1:
			c.errorf(f, "\"~\" is nobody; remove the others")
		case ns == "~":
		case ns == "*" && len(namespaces) > 1:
			c.errorf(f, "\"*\" is everybody; remove the others")
		case ns != "*" && !istioLabel.MatchString(full):
			c.errorf(f, "must be \".\", \"*\" or the name of a namespace, not %q", ns)
		}
		seen[full] = true
	}
}
