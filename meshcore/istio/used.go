package istio

import (
	"maps"
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Used lists the fields of Supported that a configuration sets, by their paths, sorted: what its
// objects have, and what its MeshConfig has other than by default. A scalar that is set to its zero
// value is not seen.
func Used(c *Config) []string {
	u := &uses{fieldPaths: catalogue(), goType: goTypes{}, set: map[string]bool{}}
	for _, o := range c.Objects {
		u.object(o)
	}
	if c.Mesh != nil {
		u.message(c.Mesh.ProtoReflect(), DefaultMeshConfig().ProtoReflect())
	}
	return slices.Sorted(maps.Keys(u.set))
}

// uses collects the paths of fields that are set.
type uses struct {
	*fieldPaths
	goType goTypes // the catalogue's is shared
	set    map[string]bool
}

// mark notes a field that is set.
func (u *uses) mark(typeName, field string) {
	if fields[typeName][field].supports() {
		u.set[u.at[typeName]+"."+field] = true
	}
}

func (u *uses) object(o *Object) {
	u.tags("label ", o.Labels, istioLabels)
	u.tags("annotation ", o.Annotations, istioAnnotations)
	if labels, annotations, ok := podsOf(o); ok {
		u.tags("label ", labels, istioLabels)
		u.tags("annotation ", annotations, istioAnnotations)
	}
	if m, ok := o.Body.(proto.Message); ok && !isKubernetes(o.Body) {
		u.metadata(o)
		u.message(m.ProtoReflect(), m.ProtoReflect().Type().Zero())
		return
	}
	v := reflect.ValueOf(o.Body).Elem()
	s := u.goType.fields(v.Type())
	for _, field := range s.names {
		value := v.FieldByIndex(s.index[field])
		if value.IsZero() || slices.Contains(frame[:2], field) {
			continue
		}
		if field != "metadata" && field != "spec" {
			u.mark(s.name, field)
		}
		u.goValue(value)
	}
}

// metadata notes the metadata of an object whose body has none.
func (u *uses) metadata(o *Object) {
	for field, given := range map[string]bool{
		"name": true, "namespace": o.Namespace != "", "labels": len(o.Labels) > 0,
		"annotations": len(o.Annotations) > 0, "creationTimestamp": !o.Created.IsZero(),
	} {
		if given {
			u.set["metadata."+field] = true
		}
	}
}

func (u *uses) tags(what string, tags map[string]string, table map[string]fieldRule) {
	for name := range tags {
		if rule, known := table[name]; known && rule.supports() {
			u.set[what+name] = true
		}
	}
}

// message notes the fields of a message that are other than in base.
func (u *uses) message(m, base protoreflect.Message) {
	md := m.Descriptor()
	name := string(md.FullName())
	if _, known := u.at[name]; !known {
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if base.Has(fd) && base.Get(fd).Equal(v) {
			return true
		}
		u.mark(name, fd.JSONName())
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				u.message(v.Message(), v.Message().Type().Zero())
				return true
			})
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				e := v.List().Get(i).Message()
				u.message(e, e.Type().Zero())
			}
		case !fd.IsMap() && !fd.IsList() && fd.Message() != nil:
			u.message(v.Message(), base.Get(fd).Message())
		}
		return true
	})
	u.choice(md)
}

// choice notes the one field of a message in which there is nothing to say but an enum, whose zero
// value is as good as any: tls.mode DISABLE.
func (u *uses) choice(md protoreflect.MessageDescriptor) {
	var only []protoreflect.FieldDescriptor
	for i := range md.Fields().Len() {
		if fd := md.Fields().Get(i); fields[string(md.FullName())][fd.JSONName()].supports() {
			only = append(only, fd)
		}
	}
	if len(only) == 1 && only[0].Kind() == protoreflect.EnumKind {
		u.mark(string(md.FullName()), only[0].JSONName())
	}
}

// goValue notes the fields of a value of k8s.io/api that are not zero.
func (u *uses) goValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			u.goValue(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			u.goValue(v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			u.goValue(v.MapIndex(k))
		}
	case reflect.Struct:
		if _, known := u.at[goTypeName(v.Type())]; !known {
			return
		}
		s := u.goType.fields(v.Type())
		for _, field := range s.names {
			if value := v.FieldByIndex(s.index[field]); !value.IsZero() {
				u.mark(s.name, field)
				u.goValue(value)
			}
		}
	}
}
