package istio

import (
	"encoding"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/api/resource"
)

// goTypes remembers the JSON fields of Go structs.
type goTypes map[reflect.Type]*goStruct

type goStruct struct {
	name  string           // "core/v1.PodSpec"
	index map[string][]int // by JSON name
	names []string
}

// fields returns the JSON fields of a struct, those of inlined structs included.
func (g goTypes) fields(t reflect.Type) *goStruct {
	if s := g[t]; s != nil {
		return s
	}
	s := &goStruct{name: goTypeName(t), index: map[string][]int{}}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name == "" && (f.Anonymous || strings.Contains(options, "inline")):
			inner := g.fields(f.Type)
			for _, n := range inner.names {
				s.add(n, append([]int{i}, inner.index[n]...))
			}
		case name != "":
			s.add(name, []int{i})
		}
	}
	g[t] = s
	return s
}

// goTypeName names a type of Kubernetes by its API group and version.
func goTypeName(t reflect.Type) string {
	pkg := strings.TrimPrefix(t.PkgPath(), "k8s.io/api/")
	return strings.TrimPrefix(pkg, "k8s.io/apimachinery/pkg/apis/") + "." + t.Name()
}

func (s *goStruct) add(name string, index []int) {
	s.names = append(s.names, name)
	s.index[name] = index
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	quantity        = reflect.TypeFor[resource.Quantity]()
	timestamp       = reflect.TypeFor[metav1.Time]()
)

// goValue decodes a node along a type of k8s.io/api. As for Kubernetes, null is as good as absent.
func (d *decoder) goValue(n *yaml.Node, v reflect.Value, p *path) {
	if isNull(n) {
		return
	}
	if v.CanAddr() {
		if t := v.Addr().Type(); t.Implements(jsonUnmarshaler) || t.Implements(textUnmarshaler) {
			d.goSpecial(n, v, p)
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.goValue(n, v.Elem(), p)
	case reflect.Struct:
		d.goStruct(n, v, p)
	case reflect.Slice:
		d.goSlice(n, v, p)
	case reflect.Map:
		d.goMap(n, v, p)
	case reflect.String:
		if s, ok := d.text(n, p); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		if b, ok := d.boolean(n, p); ok {
			v.SetBool(b)
		}
	case reflect.Int32:
		if i, ok := d.integer(n, p, math.MinInt32, math.MaxInt32); ok {
			v.SetInt(i)
		}
	case reflect.Int64, reflect.Int:
		if i, ok := d.integer(n, p, math.MinInt64, math.MaxInt64); ok {
			v.SetInt(i)
		}
	default:
		d.report(n, p, "a field of type %s is not carried out yet", v.Type())
	}
}

func (d *decoder) goStruct(n *yaml.Node, v reflect.Value, p *path) {
	s := d.goType.fields(v.Type())
	for _, e := range d.entries(n, p) {
		index, ok := s.index[e.name]
		if !ok {
			d.unknown(e, p, s.names)
			continue
		}
		fp := p.field(e.name)
		if isNull(e.value) {
			continue // as good as absent, for Kubernetes
		}
		if inner := d.decide(e, fp, s.name, e.name); inner != nil {
			inner.goValue(e.value, v.FieldByIndex(index), fp)
		}
	}
}

func (d *decoder) goSlice(n *yaml.Node, v reflect.Value, p *path) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		if b, ok := d.base64(n, p); ok {
			v.SetBytes(b)
		}
		return
	}
	elements := d.list(n, p)
	v.Set(reflect.MakeSlice(v.Type(), len(elements), len(elements)))
	for i, c := range elements {
		if isNull(c) {
			d.report(c, p.element(i), "must not be null")
			continue
		}
		d.goValue(c, v.Index(i), p.element(i))
	}
}

func (d *decoder) goMap(n *yaml.Node, v reflect.Value, p *path) {
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range d.entries(n, p) {
		value := reflect.New(v.Type().Elem()).Elem()
		if isNull(e.value) && value.Kind() == reflect.String {
			d.report(e.value, p.key(e.name), "must be a string, not null; write \"\"")
			continue
		}
		d.goValue(e.value, value, p.key(e.name))
		v.SetMapIndex(reflect.ValueOf(e.name).Convert(v.Type().Key()), value)
	}
}

// goSpecial decodes types with a JSON form of their own: quantities, times, ports by number or
// name.
func (d *decoder) goSpecial(n *yaml.Node, v reflect.Value, p *path) {
	js, ok := d.json(n, p)
	if !ok {
		return
	}
	if err := json.Unmarshal(js, v.Addr().Interface()); err == nil {
		return
	}
	switch v.Type() {
	case quantity:
		d.report(n, p, "must be a quantity such as 500m, 2 or 64Mi, not %s", kindOf(n))
	case timestamp:
		d.report(n, p, "must be a time such as 2026-01-31T12:00:00Z, not %s", kindOf(n))
	default:
		d.report(n, p, "must be an integer or a string, not %s", kindOf(n))
	}
}

// json renders a node as JSON.
func (d *decoder) json(n *yaml.Node, p *path) ([]byte, bool) {
	before := len(*d.diags)
	v := d.plain(n, p)
	if len(*d.diags) > before {
		return nil, false
	}
	js, err := json.Marshal(v)
	return js, err == nil
}

// plain returns a node as encoding/json's types.
func (d *decoder) plain(n *yaml.Node, p *path) any {
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for _, e := range d.entries(n, p) {
			out[e.name] = d.plain(e.value, fieldPath(p, e.name))
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, c := range n.Content {
			out[i] = d.plain(deref(c), p.element(i))
		}
		return out
	}
	switch scalarTag(n) {
	case tagNull:
		return nil
	case tagBool:
		b, _ := d.boolean(n, p)
		return b
	case tagInt:
		i, _ := d.integer(n, p, math.MinInt64, math.MaxInt64)
		return i
	case tagFloat:
		f, _ := d.number(n, p)
		return f
	}
	return n.Value
}

// sortedNames returns the keys of a table in order.
func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
