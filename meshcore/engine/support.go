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
	describe = "describes, decides nothing; only access logs tell it"
	sockets  = "tunes sockets or memory, not behaviour"
	fetching = "resources come with the snapshot"
	stripped = "the port is never part of what is matched here"
)

// supported is the one list of what the engine carries out.
var supported = join(listenerFields, httpFields, routeFields, filterFields, extAuthzFields,
	clusterFields, coreFields, logFields, tlsFields, policyFields)

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

// Elsewhere marks a message of which another check speaks.
var Elsewhere = map[protoreflect.Name]string{"": "elsewhere"}

// Unsupported returns the fields of a message that are not carried out: by table where that has the
// message, else by what the engine carries out. As there, a field's text says why it is ignored.
func Unsupported(
	m proto.Message, table map[protoreflect.FullName]map[protoreflect.Name]string,
) []Refusal {
	w := walker{own: table}
	return w.walk(m).unsupported
}

// findings are what a look at every field of a resource finds.
type findings struct {
	unsupported []Refusal // what is not carried out
	invalid     []Refusal // what breaks the rules in the protos (invalid.go)
}

func (f *findings) none() bool { return len(f.unsupported)+len(f.invalid) == 0 }

// inspect walks a resource.
func inspect(m proto.Message) findings {
	var w walker
	w.validate(m)
	return w.walk(m)
}

func (w *walker) walk(m proto.Message) findings {
	w.message(m.ProtoReflect())
	byField := func(a, b Refusal) int { return strings.Compare(a.Field, b.Field) }
	slices.SortFunc(w.out, byField)
	slices.SortFunc(w.invalid, byField)
	return findings{w.out, w.invalid}
}

const notCarried = "is not carried out yet"

// walker walks one resource. Most have nothing to refuse, so a path becomes text only when it has
// to.
type walker struct {
	own     map[protoreflect.FullName]map[protoreflect.Name]string // instead of supported
	path    []segment
	out     []Refusal
	invalid []Refusal
}

// segment is one field on the way, with the place in a list or map.
type segment struct {
	name  protoreflect.Name
	index int // of a list; -1 for none
	key   protoreflect.MapKey
}

func (s segment) appendTo(b []byte) []byte {
	b = append(b, s.name...)
	switch {
	case s.key.IsValid():
		b = fmt.Appendf(b, "[%q]", s.key.String())
	case s.index >= 0:
		b = fmt.Appendf(b, "[%d]", s.index)
	}
	return b
}

func (w *walker) refuse(reason string) {
	w.out = append(w.out, Refusal{Field: w.place(), Reason: reason})
}

// place is the path as text.
func (w *walker) place() string {
	var b []byte
	for i, s := range w.path {
		if i > 0 {
			b = append(b, '.')
		}
		b = s.appendTo(b)
	}
	return string(b)
}

// in walks a message that stands in a field.
func (w *walker) in(s segment, m protoreflect.Message) {
	w.path = append(w.path, s)
	w.message(m)
	w.path = w.path[:len(w.path)-1]
}

func (w *walker) message(m protoreflect.Message) {
	name := m.Descriptor().FullName()
	if _, ok := whole[name]; ok {
		return
	}
	if name == "google.protobuf.Any" {
		w.any(m)
		return
	}
	table, ok := supported[name]
	if own, has := w.own[name]; has {
		table, ok = own, true
	}
	if _, elsewhere := table[""]; elsewhere {
		return
	}
	if !ok {
		w.refuse(string(name) + " " + notCarried)
		return
	}
	if len(m.GetUnknown()) > 0 {
		w.refuse("has fields that this version does not know")
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		reason, ok := table[fd.Name()]
		switch {
		case !ok:
			w.path = append(w.path, segment{name: fd.Name(), index: -1})
			w.refuse(notCarried)
			w.path = w.path[:len(w.path)-1]
		case reason == "":
			w.field(fd, v)
		case fd.Message() != nil && fd.Message().FullName() == "google.protobuf.Duration":
			w.duration(fd, v) // Envoy reads it, whatever we do
		}
		return true
	})
}

func (w *walker) field(fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	at := segment{name: fd.Name(), index: -1}
	switch {
	case fd.IsMap() && fd.MapValue().Message() != nil:
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			w.in(segment{name: at.name, index: -1, key: k}, v.Message())
			return true
		})
	case fd.IsList() && fd.Message() != nil:
		for at.index = range v.List().Len() {
			w.in(at, v.List().Get(at.index).Message())
		}
	case !fd.IsMap() && !fd.IsList() && fd.Message() != nil:
		w.in(at, v.Message())
	}
}

func (w *walker) any(m protoreflect.Message) {
	a, ok := m.Interface().(*anypb.Any)
	if !ok {
		w.refuse(notCarried)
		return
	}
	inner, err := a.UnmarshalNew()
	if err != nil {
		w.refuse(a.GetTypeUrl() + " " + notCarried)
		return
	}
	w.validate(inner)
	w.message(inner.ProtoReflect())
}
