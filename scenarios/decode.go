package scenarios

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// decoder fills Go values from YAML nodes by their yaml tags. It is strict: an unknown key is a
// problem with a suggestion. It reports every problem and goes on. A struct's field that is
// tagged scalar:"true" takes a scalar in the struct's place; an inline field that is a putter
// takes the keys that no other field has; a single value stands for a list of one.
type decoder struct {
	file     string
	scenario string
	problems []istio.Diagnostic
	visited  int
	listed   map[string]string // known keys that were listed → the field that it was for
}

// putter collects named values in the order written.
type putter interface {
	Put(name, value string) error
}

// selfDecoder is a value that reads its node by itself.
type selfDecoder interface {
	decode(d *decoder, n *yaml.Node, field string)
}

// validator is a value that knows what contradicts itself.
type validator interface{ Validate() error }

// maxNodes bounds what aliases may expand to.
const maxNodes = 100_000

var durationType = reflect.TypeFor[time.Duration]()

func (d *decoder) report(n *yaml.Node, field, format string, args ...any) {
	object := "Scenario"
	if d.scenario != "" {
		object += " " + d.scenario
	}
	d.problems = append(d.problems, istio.Diagnostic{
		Place:  istio.Place{File: d.file, Line: n.Line, Column: n.Column},
		Object: object, Field: field, Msg: fmt.Sprintf(format, args...),
	})
}

// node follows an alias. It returns nil when the document expands to too much.
func (d *decoder) node(n *yaml.Node, field string) *yaml.Node {
	d.visited++
	if d.visited == maxNodes {
		d.report(n, field, "aliases expand to too much")
	}
	if d.visited >= maxNodes {
		return nil
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// value fills v, which must be addressable.
func (d *decoder) value(n *yaml.Node, v reflect.Value, field string) {
	if n = d.node(n, field); n == nil {
		return
	}
	if own, ok := v.Addr().Interface().(selfDecoder); ok {
		own.decode(d, n, field)
		return
	}
	if text, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if d.scalar(n, field) {
			if err := text.UnmarshalText([]byte(n.Value)); err != nil {
				d.report(n, field, "%v", err)
			}
		}
		return
	}
	if named, ok := v.Addr().Interface().(putter); ok {
		d.named(n, named, field)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), field)
	case reflect.Struct:
		d.structure(n, v, field)
	case reflect.Slice:
		d.list(n, v, field)
	default:
		if d.scalar(n, field) {
			if err := setScalar(n.Value, v); err != nil {
				d.report(n, field, "%v", err)
			}
		}
	}
}

func (d *decoder) scalar(n *yaml.Node, field string) bool {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return true
	}
	d.report(n, field, "must be a single value, not %s", kindOf(n))
	return false
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	return strconv.Quote(n.Value)
}

func setScalar(text string, v reflect.Value) error {
	if v.Type() == durationType {
		t, err := time.ParseDuration(text)
		if err != nil || t < 0 {
			return fmt.Errorf("%q is no duration; write it as 250ms, 1.5s or 2m", text)
		}
		v.SetInt(int64(t))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int:
		i, err := strconv.Atoi(text)
		if err != nil || i < 0 {
			return fmt.Errorf("%q is no whole number", text)
		}
		v.SetInt(int64(i))
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(text == "true")
	case reflect.Float64:
		f, err := parseNumber(text)
		if err != nil {
			return fmt.Errorf("%q is no number", text)
		}
		v.SetFloat(f)
	default:
		panic("scenarios: no reader for " + v.Type().String())
	}
	return nil
}

// parseNumber reads a number that is not negative.
func parseNumber(text string) (float64, error) {
	f, err := strconv.ParseFloat(text, 64)
	if err == nil && !(f >= 0 && f <= math.MaxFloat64) {
		err = strconv.ErrRange
	}
	return f, err
}

// list fills a slice; a single value stands for a list of one.
func (d *decoder) list(n *yaml.Node, v reflect.Value, field string) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for i, item := range items {
		at := field
		if n.Kind == yaml.SequenceNode {
			at = fmt.Sprintf("%s[%d]", field, i)
		}
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		d.value(item, v.Index(v.Len()-1), at)
	}
}

// named hands the pairs of a mapping to a putter.
func (d *decoder) named(n *yaml.Node, p putter, field string) {
	for _, e := range d.entries(n, field) {
		d.put(e, p, field)
	}
}

func (d *decoder) put(e entry, p putter, field string) {
	at := join(field, e.key.Value)
	if d.scalar(e.value, at) {
		if err := p.Put(e.key.Value, e.value.Value); err != nil {
			d.report(e.value, at, "%v", err)
		}
	}
}

// entry is one pair of a mapping; value is no alias.
type entry struct{ key, value *yaml.Node }

// entries returns the pairs of a mapping, each key once.
func (d *decoder) entries(n *yaml.Node, field string) []entry {
	if n.Kind != yaml.MappingNode {
		d.report(n, field, "must be a mapping (key: value), not %s", kindOf(n))
		return nil
	}
	var out []entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], d.node(n.Content[i+1], field)
		if value == nil {
			return nil
		}
		if key.Kind != yaml.ScalarNode {
			d.report(key, field, "a key must be a word, not %s", kindOf(key))
			continue
		}
		same := func(e entry) bool { return e.key.Value == key.Value }
		if j := slices.IndexFunc(out, same); j >= 0 {
			d.report(key, join(field, key.Value), "is given twice: first in line %d",
				out[j].key.Line)
			continue
		}
		out = append(out, entry{key, value})
	}
	return out
}

// structure fills a struct and lets it validate itself.
func (d *decoder) structure(n *yaml.Node, v reflect.Value, field string) {
	before := len(d.problems)
	fields, rest, scalar := fieldsOf(v)
	switch {
	case n.Kind == yaml.ScalarNode && scalar.IsValid():
		d.value(n, scalar, field)
	default:
		for _, e := range d.entries(n, field) {
			f, known := fields.get(e.key.Value)
			switch {
			case known:
				d.value(e.value, f, join(field, e.key.Value))
			case rest != nil && !misspelt(e.key.Value, fields.names):
				d.put(e, rest, field)
			default:
				d.unknown(e.key, field, fields.names)
			}
		}
	}
	if own, ok := v.Addr().Interface().(validator); ok && len(d.problems) == before {
		if err := own.Validate(); err != nil {
			d.report(n, field, "%v", err)
		}
	}
}

// misspelt says that a free key is so near to a known one that it cannot be meant.
func misspelt(key string, known []string) bool {
	return len(key) > 3 && istio.Suggest(key, known) != ""
}

// unknown reports a key that nothing knows.
func (d *decoder) unknown(key *yaml.Node, field string, known []string) {
	if s := istio.Suggest(key.Value, known); s != "" {
		d.report(key, join(field, key.Value), "unknown key; did you mean %s?", s)
		return
	}
	all := strings.Join(known, ", ")
	if first := d.listed[all]; first != "" { // once is enough to read
		d.report(key, join(field, key.Value), "unknown key; known are those named for %s", first)
		return
	}
	if d.listed == nil {
		d.listed = map[string]string{}
	}
	d.listed[all] = join(field, key.Value)
	d.report(key, join(field, key.Value), "unknown key; known are %s", all)
}

// fieldTable is a struct's fields by key, in the order of the struct.
type fieldTable struct {
	names  []string
	values []reflect.Value
}

func (t *fieldTable) get(name string) (reflect.Value, bool) {
	if i := slices.Index(t.names, name); i >= 0 {
		return t.values[i], true
	}
	return reflect.Value{}, false
}

// fieldsOf returns a struct's fields, the one that takes other keys, and the one that takes a
// scalar.
func fieldsOf(v reflect.Value) (t fieldTable, rest putter, scalar reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if f.Tag.Get("scalar") != "" {
			scalar = v.Field(i)
		}
		switch {
		case option == "inline":
			if p, ok := v.Field(i).Addr().Interface().(putter); ok {
				rest = p
				continue
			}
			inner, r, _ := fieldsOf(v.Field(i))
			t.names = append(t.names, inner.names...)
			t.values = append(t.values, inner.values...)
			if r != nil {
				rest = r
			}
		case name != "" && name != "-":
			t.names = append(t.names, name)
			t.values = append(t.values, v.Field(i))
		}
	}
	return t, rest, scalar
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}
