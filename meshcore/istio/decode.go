package istio

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder turns the nodes of one object into typed values. It reports every problem and goes on.
type decoder struct {
	file   string
	object string
	place  func(Place) Place // maps places of a text inside of a scalar; nil elsewhere
	diags  *[]Diagnostic
	fields fieldTable // which fields are carried out; nil: all
	goType goTypes
	meant  *[]string // fields that misspelt ones were meant to be
}

func (d *decoder) report(at *yaml.Node, p *path, format string, args ...any) {
	place := Place{File: d.file, Line: at.Line, Column: at.Column}
	if d.place != nil {
		place = d.place(place)
	}
	*d.diags = append(*d.diags, Diagnostic{
		Place: place, Object: d.object, Field: p.String(), Msg: fmt.Sprintf(format, args...),
	})
}

// entry is one field of a mapping.
type entry struct {
	name       string
	key, value *yaml.Node // value is never an alias
}

// entries returns the fields of a mapping, merge keys included; nothing when n is no mapping.
func (d *decoder) entries(n *yaml.Node, p *path) []entry {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, p, "a mapping")
		return nil
	}
	out := make([]entry, 0, len(n.Content)/2)
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], deref(n.Content[i+1])
		switch {
		case merges(key):
			// Explicit fields win over merged ones; added below.
		case deref(key).Kind != yaml.ScalarNode:
			d.report(key, p, "a key must be a word, not %s%s", kindOf(key), templateHint(key))
		case scalarTag(key) == tagBool || scalarTag(key) == tagNull:
			d.report(key, fieldPath(p, key.Value),
				"the key %s is not a string in Kubernetes' YAML; quote it", key.Value)
		default:
			name := deref(key).Value
			if first := seen[name]; first != nil {
				d.report(key, fieldPath(p, name), "is given twice: first in line %d", d.line(first))
				continue
			}
			seen[name] = key
			out = append(out, entry{name: name, key: key, value: value})
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if merges(n.Content[i]) {
			out = d.mergeInto(out, seen, n.Content[i+1], p)
		}
	}
	return out
}

// mergeInto appends what "<<: *anchor" or "<<: [*a, *b]" brings; the first to name a field wins.
func (d *decoder) mergeInto(
	out []entry, seen map[string]*yaml.Node, from *yaml.Node, p *path,
) []entry {
	sources := []*yaml.Node{from}
	if n := deref(from); n.Kind == yaml.SequenceNode {
		sources = n.Content
	}
	for _, source := range sources {
		for _, e := range d.entries(deref(source), p) {
			if seen[e.name] == nil {
				seen[e.name] = e.key
				out = append(out, e)
			}
		}
	}
	return out
}

func (d *decoder) line(n *yaml.Node) int {
	if d.place != nil {
		return d.place(Place{Line: n.Line, Column: n.Column}).Line
	}
	return n.Line
}

// fieldPath names a field of unknown type.
func fieldPath(p *path, name string) *path {
	if strings.ContainsAny(name, ".[]/") {
		return p.key(name)
	}
	return p.field(name)
}

// The types of scalars that Kubernetes' YAML knows.
const (
	tagNull   = "null"
	tagBool   = "a boolean"
	tagInt    = "an integer"
	tagFloat  = "a number"
	tagString = "a string"
)

// scalarTag returns a scalar's type as Kubernetes' tools see it: YAML 1.1, in which an unquoted
// yes, no, on or off is a boolean (sigs.k8s.io/yaml), while yaml.v3 takes it for a string.
func scalarTag(n *yaml.Node) string {
	n = deref(n)
	switch n.ShortTag() {
	case "!!null":
		return tagNull
	case "!!bool":
		return tagBool
	case "!!int":
		return tagInt
	case "!!float":
		return tagFloat
	}
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|
		yaml.FoldedStyle|yaml.TaggedStyle) == 0 && oldBool(n.Value) {
		return tagBool
	}
	return tagString
}

// oldBool reports whether a plain scalar is a boolean of YAML 1.1 only.
func oldBool(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off":
		// Only these spellings: "yEs" is a string.
		return s == strings.ToLower(s) || s == strings.ToUpper(s) ||
			s == strings.ToUpper(s[:1])+s[1:]
	}
	return false
}

// kindOf names what a node is, for messages.
func kindOf(n *yaml.Node) string {
	switch n = deref(n); n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if tag := scalarTag(n); tag != tagString && tag != tagNull {
		return fmt.Sprintf("%s (%s)", tag, clip(n.Value))
	} else if tag == tagString {
		return fmt.Sprintf("a string (%q)", clip(n.Value))
	}
	return "null"
}

// clip keeps messages short.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

func templateHint(n *yaml.Node) string {
	if n := deref(n); n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 {
		return "; if this is a template ({{ ... }}), render it first"
	}
	return ""
}

func (d *decoder) wrongType(n *yaml.Node, p *path, want string) {
	hint := ""
	switch tag := scalarTag(n); {
	case n.Kind != yaml.ScalarNode:
		hint = templateHint(n)
	case want == tagString && tag == tagBool && oldBool(n.Value):
		hint = fmt.Sprintf("; YAML reads an unquoted %s as a boolean, write %q", n.Value, n.Value)
	case want == tagString && tag != tagNull:
		hint = fmt.Sprintf("; write %q", n.Value)
	}
	d.report(n, p, "must be %s, not %s%s", want, kindOf(n), hint)
}

// text decodes a string.
func (d *decoder) text(n *yaml.Node, p *path) (string, bool) {
	if n.Kind != yaml.ScalarNode || scalarTag(n) != tagString {
		d.wrongType(n, p, tagString)
		return "", false
	}
	if tag := n.ShortTag(); strings.HasPrefix(tag, "!") && !strings.HasPrefix(tag, "!!") {
		d.report(n, p, "the tag %s has no meaning here; remove it", tag)
		return "", false
	}
	return n.Value, true
}

// boolean decodes a boolean.
func (d *decoder) boolean(n *yaml.Node, p *path) (value, ok bool) {
	if n.Kind != yaml.ScalarNode || scalarTag(n) != tagBool {
		d.wrongType(n, p, tagBool)
		return false, false
	}
	switch strings.ToLower(n.Value) {
	case "true", "y", "yes", "on":
		return true, true
	}
	return false, true
}

// integer decodes an integer within limits.
func (d *decoder) integer(n *yaml.Node, p *path, least, most int64) (int64, bool) {
	if n.Kind != yaml.ScalarNode || scalarTag(n) != tagInt {
		d.wrongType(n, p, tagInt)
		return 0, false
	}
	v, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, 64)
	if err != nil || v < least || v > most {
		d.report(n, p, "%s is out of range; must be from %d to %d", clip(n.Value), least, most)
		return 0, false
	}
	return v, true
}

// number decodes a number.
func (d *decoder) number(n *yaml.Node, p *path) (float64, bool) {
	var v float64
	tag := scalarTag(n)
	if n.Kind != yaml.ScalarNode || tag != tagInt && tag != tagFloat {
		d.wrongType(n, p, tagFloat)
		return 0, false
	}
	if err := n.Decode(&v); err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		d.report(n, p, "%s is not a finite number", clip(n.Value))
		return 0, false
	}
	return v, true
}

// list returns the elements of a list.
func (d *decoder) list(n *yaml.Node, p *path) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		d.wrongType(n, p, "a list")
		return nil
	}
	out := make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		out[i] = deref(c)
	}
	return out
}

// unknown reports a field that does not exist.
func (d *decoder) unknown(e entry, p *path, known []string) {
	msg := "unknown field"
	if s := suggest(e.name, known); s != "" {
		msg += fmt.Sprintf("; did you mean %q?", s)
		*d.meant = append(*d.meant, p.field(s).String())
	} else if len(known) <= 12 {
		msg += "; fields here are " + strings.Join(known, ", ")
	}
	d.report(e.key, fieldPath(p, e.name), "%s%s", msg, templateHint(e.key))
}
