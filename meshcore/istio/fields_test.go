package istio

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"istio.io/api/annotation"
	"istio.io/api/label"
)

// TestFieldTables walks the types of all kinds: every field must be decided, and every decision
// must be about a field that exists. It fails when a new version of an API brings a field.
func TestFieldTables(t *testing.T) {
	used := map[string]bool{}
	g := goTypes{}
	var goType func(reflect.Type)
	goType = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			goType(typ.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		name := goTypeName(typ)
		if used[name] || reflect.PointerTo(typ).Implements(jsonUnmarshaler) {
			return
		}
		used[name] = true
		s := g.fields(typ)
		for _, field := range undecided(t, name, s.names) {
			goType(typ.FieldByIndex(s.index[field]).Type)
		}
	}
	var message func(protoreflect.MessageDescriptor)
	message = func(md protoreflect.MessageDescriptor) {
		name := string(md.FullName())
		if used[name] || strings.HasPrefix(name, "google.protobuf.") {
			return
		}
		used[name] = true
		for _, field := range undecided(t, name, fieldNames(md)) {
			fd := md.Fields().ByJSONName(field)
			if fd.IsMap() {
				fd = fd.MapValue()
			}
			if fd.Kind() == protoreflect.MessageKind {
				message(fd.Message())
			}
		}
	}
	message((&meshconfig.MeshConfig{}).ProtoReflect().Descriptor())
	for _, k := range kinds {
		if k.body == nil {
			continue
		}
		if m, ok := k.body().(proto.Message); ok && !isKubernetes(k.body()) {
			message(m.ProtoReflect().Descriptor())
		} else {
			goType(reflect.TypeOf(k.body()))
		}
	}
	for _, name := range sortedNames(fields) {
		if !used[name] {
			t.Errorf("%s is in the tables, but no kind has it", name)
		}
	}
}

// undecided checks one type and returns the fields below which the walk goes on.
func undecided(t *testing.T, name string, names []string) []string {
	t.Helper()
	var on []string
	for _, field := range names {
		rule, ok := fields[name][field]
		if !ok {
			t.Errorf("%s: the table decides nothing on %s", name, field)
		}
		if rule.verdict == carriedOut || len(rule.unless) > 0 {
			on = append(on, field)
		}
		if rule.verdict == withoutEffect && rule.why == "" {
			t.Errorf("%s: %s has no effect, but no reason says why", name, field)
		}
	}
	for _, field := range sortedNames(fields[name]) {
		if !slices.Contains(names, field) {
			t.Errorf("%s: the table has %s, which does not exist", name, field)
		}
	}
	return on
}

// TestRequiredFields checks the names in the schema's tables.
func TestRequiredFields(t *testing.T) {
	find := func(message protoreflect.FullName, field protoreflect.Name) {
		rules, ok := fields[string(message)]
		if _, known := rules[camel(string(field))]; !ok || !known {
			t.Errorf("no field %s.%s", message, field)
		}
	}
	for message, names := range required {
		for _, name := range names {
			find(message, name)
		}
	}
	for field := range zeroDurations {
		find(field.Parent(), field.Name())
	}
}

// TestIstioTags checks that each label and annotation of Istio's API is decided.
func TestIstioTags(t *testing.T) {
	for _, a := range annotation.AllResourceAnnotations() {
		if _, ok := istioAnnotations[a.Name]; !ok {
			t.Errorf("nothing is decided on annotation %s", a.Name)
		}
	}
	for _, l := range label.AllResourceLabels() {
		if _, ok := istioLabels[l.Name]; !ok {
			t.Errorf("nothing is decided on label %s", l.Name)
		}
	}
}
