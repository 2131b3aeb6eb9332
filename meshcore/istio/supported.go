package istio

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshconfig "istio.io/api/mesh/v1alpha1"
)

// Field is a field that is carried out.
type Field struct {
	// Path names it from its kind on, without spec: "VirtualService.http.match.headers",
	// "annotation mesh-lab.dev/ip". A message that several fields share has its fields once, where
	// it stands first.
	Path string
	Only []string // the values that are carried out; empty: all
}

// Supported lists the fields that are carried out, sorted by path: those of Istio's kinds, of
// MeshConfig and of Kubernetes' kinds, labels and annotations.
func Supported() []Field { return slices.Clone(catalogue().list) }

// catalogue makes the list once: it depends on the field tables only.
var catalogue = sync.OnceValue(func() *fieldPaths {
	p := &fieldPaths{at: map[string]string{}, goType: goTypes{}}
	for name := range strings.FieldsSeq("VirtualService DestinationRule Gateway MeshConfig " +
		"Service Pod " + strings.Join(KnownKinds(), " ")) {
		if name == "MeshConfig" {
			p.message((&meshconfig.MeshConfig{}).ProtoReflect().Descriptor(), name)
			continue
		}
		i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name && k.body != nil })
		body := kinds[i].body()
		if m, ok := body.(proto.Message); ok && !isKubernetes(body) {
			p.message(m.ProtoReflect().Descriptor(), name)
		} else {
			p.object(reflect.TypeOf(body).Elem(), name)
		}
	}
	p.tags("label ", istioLabels)
	p.tags("annotation ", istioAnnotations)
	slices.SortFunc(p.list, func(a, b Field) int { return strings.Compare(a.Path, b.Path) })
	return p
})

// fieldPaths gives each type of the field tables the path at which it stands first.
type fieldPaths struct {
	at     map[string]string // by type: "istio....HTTPRoute": "VirtualService.http"
	list   []Field
	goType goTypes
}

// enter notes where a type stands; it is false for a type that was there before, or that no table
// has.
func (p *fieldPaths) enter(typeName, path string) bool {
	if _, seen := p.at[typeName]; seen || fields[typeName] == nil {
		return false
	}
	p.at[typeName] = path
	return true
}

// add lists a field if it is carried out, and returns its path.
func (p *fieldPaths) add(typeName, field string) (path string, ok bool) {
	rule := fields[typeName][field]
	if !rule.supports() {
		return "", false
	}
	path = p.at[typeName] + "." + field
	p.list = append(p.list, Field{Path: path, Only: rule.unless})
	return path, true
}

// supports says whether a field, or some value of it, is carried out.
func (r fieldRule) supports() bool { return r.verdict == carriedOut || len(r.unless) > 0 }

func (p *fieldPaths) message(md protoreflect.MessageDescriptor, path string) {
	name := string(md.FullName())
	if !p.enter(name, path) {
		return
	}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		at, ok := p.add(name, fd.JSONName())
		if fd.IsMap() {
			fd = fd.MapValue()
		}
		if ok && fd.Kind() == protoreflect.MessageKind {
			p.message(fd.Message(), at)
		}
	}
}

// frame are the parts that every object has.
var frame = []string{"apiVersion", "kind", "metadata"}

// object lists a kind of Kubernetes: the fields of its spec as its own, its metadata apart.
func (p *fieldPaths) object(t reflect.Type, kind string) {
	p.at[goTypeName(t)] = kind
	s := p.goType.fields(t)
	for _, field := range s.names {
		inner := t.FieldByIndex(s.index[field]).Type
		switch {
		case field == "metadata":
			p.nested(inner, "metadata")
		case field == "spec":
			p.nested(inner, kind)
		case !slices.Contains(frame, field):
			if at, ok := p.add(goTypeName(t), field); ok {
				p.nested(inner, at)
			}
		}
	}
}

func (p *fieldPaths) nested(t reflect.Type, path string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(jsonUnmarshaler) ||
		!p.enter(goTypeName(t), path) {
		return
	}
	s := p.goType.fields(t)
	for _, field := range s.names {
		if at, ok := p.add(goTypeName(t), field); ok {
			p.nested(t.FieldByIndex(s.index[field]).Type, at)
		}
	}
}

func (p *fieldPaths) tags(what string, table map[string]fieldRule) {
	for _, name := range sortedNames(table) {
		if rule := table[name]; rule.supports() {
			p.list = append(p.list, Field{Path: what + name, Only: rule.unless})
		}
	}
}
