package xds

import (
	"github.com/cncf/xds/go/udpa/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
)

// redacted stands where a secret stood (Envoy source/common/protobuf/utility.cc redact).
const redacted = "[redacted]"

// Redact returns a message without what Envoy's API marks as sensitive, private keys above all, as
// Envoy's own dumps show it: "[redacted]" for every text in it. A message that has nothing of the
// kind is returned as it is; the message itself is never changed.
func Redact[M proto.Message](m M) M {
	if !sensitive(m.ProtoReflect()) {
		return m
	}
	out := proto.CloneOf(m)
	redact(out.ProtoReflect(), false)
	return out
}

// sensitive says whether anything in a message is to be redacted.
func sensitive(m protoreflect.Message) (found bool) {
	if inner := unpacked(m); inner != nil {
		return sensitive(inner.ProtoReflect())
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if found = marked(f); found || f.Message() == nil {
			return !found
		}
		each(f, v, func(m protoreflect.Message) { found = found || sensitive(m) })
		return !found
	})
	return found
}

// redact redacts what is marked, or with all everything, in place.
func redact(m protoreflect.Message, all bool) {
	if inner := unpacked(m); inner != nil {
		redact(inner.ProtoReflect(), all)
		packed, err := anypb.New(inner)
		if err != nil {
			m.Clear(m.Descriptor().Fields().ByName("value"))
			return
		}
		m.Set(m.Descriptor().Fields().ByName("value"), protoreflect.ValueOfBytes(packed.Value))
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		all := all || marked(f)
		switch {
		case f.IsMap() && f.MapValue().Message() == nil, f.Message() == nil:
			if all {
				m.Set(f, blank(m, f, v))
			}
		default:
			each(f, v, func(m protoreflect.Message) { redact(m, all) })
		}
		return true
	})
}

// blank returns what stands in the place of a value that is no message.
func blank(m protoreflect.Message, f protoreflect.FieldDescriptor,
	v protoreflect.Value) protoreflect.Value {
	one := func(f protoreflect.FieldDescriptor) protoreflect.Value {
		switch f.Kind() {
		case protoreflect.StringKind:
			return protoreflect.ValueOfString(redacted)
		case protoreflect.BytesKind:
			return protoreflect.ValueOfBytes([]byte(redacted))
		}
		return f.Default()
	}
	switch {
	case f.IsMap():
		out := m.NewField(f)
		v.Map().Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
			out.Map().Set(k, one(f.MapValue()))
			return true
		})
		return out
	case f.IsList():
		out := m.NewField(f)
		for range v.List().Len() {
			out.List().Append(one(f))
		}
		return out
	}
	return one(f)
}

// each calls do with every message in a field.
func each(f protoreflect.FieldDescriptor, v protoreflect.Value, do func(protoreflect.Message)) {
	switch {
	case f.IsMap():
		if f.MapValue().Message() == nil {
			return
		}
		v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			do(v.Message())
			return true
		})
	case f.IsList():
		for i := range v.List().Len() {
			do(v.List().Get(i).Message())
		}
	default:
		do(v.Message())
	}
}

// unpacked returns what is in an Any, if m is one that can be read.
func unpacked(m protoreflect.Message) proto.Message {
	a, ok := m.Interface().(*anypb.Any)
	if !ok {
		return nil
	}
	inner, err := a.UnmarshalNew()
	if err != nil {
		return nil
	}
	return inner
}

// marked says whether the API calls a field sensitive.
func marked(f protoreflect.FieldDescriptor) bool {
	o, ok := f.Options().(*descriptorpb.FieldOptions)
	if !ok || o == nil {
		return false
	}
	is, _ := proto.GetExtension(o, annotations.E_Sensitive).(bool)
	return is
}
