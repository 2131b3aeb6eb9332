package engine

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// fields says of each field of a message whether it is carried out: the empty string says yes,
// any other text says why it may be ignored. A field that is not listed is refused when it is
// set.
type fields map[protoreflect.Name]string

// Why a field that changes nothing may be set.
const (
	stats    = "statistics only"
	traces   = "tracing only: no header or decision depends on it"
	records  = "every request is recorded anyway"
	describe = "describes, decides nothing"
	sockets  = "tunes sockets or memory, not behaviour"
	fetching = "resources come with the snapshot"
	later    = "belongs to mutual TLS; without it the header is removed, as here"
	stripped = "the port is never part of what is matched here"
)

// supported is the one list of what the engine carries out.
var supported = join(listenerFields, httpFields, routeFields, filterFields,
	clusterFields, coreFields)

func join(tables ...map[protoreflect.FullName]fields) map[protoreflect.FullName]fields {
	out := map[protoreflect.FullName]fields{}
	for _, t := range tables {
		for name, f := range t {
			if out[name] != nil {
				panic("engine: two lists for " + string(name))
			}
			out[name] = f
		}
	}
	return out
}

func yes(names ...protoreflect.Name) fields {
	f := fields{}
	for _, n := range names {
		f[n] = ""
	}
	return f
}

// because adds fields that are ignored for a reason.
func (f fields) because(reason string, names ...protoreflect.Name) fields {
	for _, n := range names {
		f[n] = reason
	}
	return f
}

// whole lists messages whose every field is carried out, or ignored for one reason.
var whole = map[protoreflect.FullName]string{
	"google.protobuf.Duration":    "",
	"google.protobuf.UInt32Value": "",
	"google.protobuf.UInt64Value": "",
	"google.protobuf.BoolValue":   "",
	"google.protobuf.DoubleValue": "",
	"google.protobuf.StringValue": "",
	"google.protobuf.Struct":      describe,
}

// unsupported walks a resource and collects the fields that are not carried out.
func unsupported(m proto.Message) []Refusal {
	var out []Refusal
	walk(m.ProtoReflect(), "", func(field, reason string) {
		out = append(out, Refusal{Field: field, Reason: reason})
	})
	slices.SortFunc(out, func(a, b Refusal) int { return strings.Compare(a.Field, b.Field) })
	return out
}

const notCarried = "is not carried out yet"

func walk(m protoreflect.Message, path string, refuse func(field, reason string)) {
	name := m.Descriptor().FullName()
	if _, ok := whole[name]; ok {
		return
	}
	if name == "google.protobuf.Any" {
		walkAny(m, path, refuse)
		return
	}
	table, ok := supported[name]
	if !ok {
		refuse(path, string(name)+" "+notCarried)
		return
	}
	if len(m.GetUnknown()) > 0 {
		refuse(path, "has fields that this version does not know")
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		at := string(fd.Name())
		if path != "" {
			at = path + "." + at
		}
		reason, ok := table[fd.Name()]
		switch {
		case !ok:
			refuse(at, notCarried)
		case reason == "":
			walkField(fd, v, at, refuse)
		}
		return true
	})
}

func walkField(fd protoreflect.FieldDescriptor, v protoreflect.Value, at string,
	refuse func(field, reason string)) {
	switch {
	case fd.IsMap() && fd.MapValue().Message() != nil:
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			walk(v.Message(), fmt.Sprintf("%s[%q]", at, k.String()), refuse)
			return true
		})
	case fd.IsList() && fd.Message() != nil:
		for i := range v.List().Len() {
			walk(v.List().Get(i).Message(), fmt.Sprintf("%s[%d]", at, i), refuse)
		}
	case !fd.IsMap() && !fd.IsList() && fd.Message() != nil:
		walk(v.Message(), at, refuse)
	}
}

func walkAny(m protoreflect.Message, path string, refuse func(field, reason string)) {
	a, ok := m.Interface().(*anypb.Any)
	if !ok {
		refuse(path, notCarried)
		return
	}
	inner, err := a.UnmarshalNew()
	if err != nil {
		refuse(path, a.GetTypeUrl()+" "+notCarried)
		return
	}
	walk(inner.ProtoReflect(), path, refuse)
}
