package parity

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// known is a difference that there is to be, and why.
type known struct {
	fact *regexp.Regexp
	a, b *regexp.Regexp // nil: any value; A is mesh-lab's data plane, B is Envoy
	what string         // for docs/fidelity.md
	why  string
}

// allowed is the table of known differences. docs/fidelity.md has it as well.
var allowed = []known{{
	fact: regexp.MustCompile(`header `), b: hostname(),
	what: "a header whose value is `%HOSTNAME%`",
	why: "in a cluster it is the pod's name, and so it is with our data plane; an Envoy of the " +
		"embedded topology has the name of the machine",
}}

// hostname matches the name that Envoys have on this machine.
func hostname() *regexp.Regexp {
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	return regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`)
}

// tolerated returns the reason why a difference is known, or "".
func tolerated(d Difference) string {
	for _, k := range allowed {
		if k.fact.MatchString(d.Fact) && (k.a == nil || k.a.MatchString(d.A)) &&
			(k.b == nil || k.b.MatchString(d.B)) {
			return k.what
		}
	}
	return ""
}

// split tells unknown differences from known ones, whose names it returns.
func split(all []Difference) (unknown []Difference, names []string) {
	for _, d := range all {
		if name := tolerated(d); name != "" {
			names = append(names, name)
		} else {
			unknown = append(unknown, d)
		}
	}
	return unknown, names
}

// KnownTable writes the table of known differences for docs/fidelity.md.
func KnownTable() string {
	if len(allowed) == 0 {
		return "None."
	}
	var b strings.Builder
	b.WriteString("| difference | why |\n|---|---|\n")
	for _, k := range allowed {
		fmt.Fprintf(&b, "| %s | %s |\n", k.what, k.why)
	}
	return b.String()
}
