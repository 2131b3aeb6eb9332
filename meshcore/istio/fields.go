package istio

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A fieldTable says of every field of every type whether it is carried out. Types have the names of
// their messages ("istio.networking.v1alpha3.HTTPRoute") or Go types ("core/v1.PodSpec"). A type
// that is missing lies below a field without effect only; TestFieldTables keeps the tables
// complete.
type fieldTable map[string]map[string]fieldRule

// fieldRule is the decision on one field.
type fieldRule struct {
	verdict fieldVerdict
	why     string   // noEffect: the reason; notYet: the way out, which may be empty
	unless  []string // notYet: the values that are carried out all the same
}

type fieldVerdict int

const (
	carriedOut fieldVerdict = iota
	withoutEffect
	notCarriedOut
)

// rules makes the entry of a type.
func rules(groups ...map[string]fieldRule) map[string]fieldRule {
	out := map[string]fieldRule{}
	for _, g := range groups {
		for name, rule := range g {
			out[name] = rule
		}
	}
	return out
}

func decided(rule fieldRule, names string) map[string]fieldRule {
	out := map[string]fieldRule{}
	for name := range strings.FieldsSeq(names) {
		out[name] = rule
	}
	return out
}

// carried lists fields that do here what they do in a cluster.
func carried(names string) map[string]fieldRule {
	return decided(fieldRule{verdict: carriedOut}, names)
}

// noEffect lists fields that change nothing that a request could experience, and why.
func noEffect(why, names string) map[string]fieldRule {
	return decided(fieldRule{verdict: withoutEffect, why: why}, names)
}

// notYet lists fields that are errors, with the way out if there is one.
func notYet(why, names string) map[string]fieldRule {
	return decided(fieldRule{verdict: notCarriedOut, why: why}, names)
}

// notYetUnless lists fields of which only some values, separated by spaces, are carried out.
func notYetUnless(values, why, names string) map[string]fieldRule {
	return decided(fieldRule{notCarriedOut, why, strings.Fields(values)}, names)
}

// fields is the decision on every field of the kinds that are carried out.
var fields = join2(kubernetesFields, istioFields, securityFields, meshFields)

func join2(tables ...fieldTable) fieldTable {
	out := fieldTable{}
	for _, t := range tables {
		for name, rules := range t {
			out[name] = rules
		}
	}
	return out
}

// decide looks a field up in the tables. It reports fields that are not carried out, and returns
// the decoder for the field's value: nil when it shall not be decoded.
func (d *decoder) decide(e entry, p *path, typeName, field string) *decoder {
	types, ok := d.fields[typeName]
	if !ok {
		return d
	}
	rule, ok := types[field]
	switch {
	case !ok:
		rule = fieldRule{verdict: notCarriedOut}
	case rule.verdict == carriedOut:
		return d
	case rule.verdict == withoutEffect:
		free := *d
		free.fields = nil
		return &free
	}
	if rule.allows(e.value) {
		return d
	}
	d.report(e.key, p, "%s%s", rule.refusal(e), wayOut(rule.why))
	return nil
}

// allows reports whether a value of a field that is not carried out in general is harmless.
func (r fieldRule) allows(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.ScalarNode:
		return slices.Contains(r.unless, n.Value)
	case yaml.SequenceNode:
		return len(r.unless) > 0 && !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool {
			return !r.allows(deref(c))
		})
	}
	return false
}

// refusal says that a field, or its value, is not carried out.
func (r fieldRule) refusal(e entry) string {
	what := e.name
	if len(r.unless) == 0 {
		return what + " is not carried out yet"
	}
	if e.value.Kind == yaml.ScalarNode {
		what += " " + clip(e.value.Value)
	}
	return what + " is not carried out yet (only " + strings.Join(r.unless, ", ") + ")"
}
