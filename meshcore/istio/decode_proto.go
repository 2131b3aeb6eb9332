package istio

import (
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"gopkg.in/yaml.v3"
)

// message decodes a mapping into a message of istio.io/api. Fields have their JSON names or, as
// istiod accepts too, their original ones.
func (d *decoder) message(n *yaml.Node, m protoreflect.Message, p *path) {
	md := m.Descriptor()
	entries := d.entries(n, p)
	seen := make(map[protoreflect.FieldNumber]string, len(entries))
	oneofs := map[protoreflect.FullName]string{}
	for _, e := range entries {
		fd := md.Fields().ByJSONName(e.name)
		if fd == nil {
			fd = md.Fields().ByName(protoreflect.Name(e.name))
		}
		if fd == nil {
			d.unknown(e, p, fieldNames(md))
			continue
		}
		fp := p.field(fd.JSONName())
		if first, twice := seen[fd.Number()]; twice {
			d.report(e.key, fp, "is given twice: as %s and as %s", first, e.name)
			continue
		}
		seen[fd.Number()] = e.name
		if one := fd.ContainingOneof(); one != nil && !one.IsSynthetic() {
			if other, twice := oneofs[one.FullName()]; twice {
				d.report(e.key, fp, "cannot be given together with %s; keep one of them", other)
				continue
			}
			oneofs[one.FullName()] = e.name
		}
		if fd.Kind() == protoreflect.EnumKind && !fd.IsList() && fd.Enum().Values().ByName(
			protoreflect.Name(e.value.Value)) == nil {
			d.enum(e.value, fd.Enum(), fp)
			continue
		}
		if inner := d.decide(e, fp, string(md.FullName()), fd.JSONName()); inner != nil {
			m.Clear(fd) // a default, in MeshConfig
			inner.protoField(e.value, m, fd, fp)
		}
	}
	for _, name := range required[md.FullName()] {
		fp := p.field(md.Fields().ByName(name).JSONName())
		given := seen[md.Fields().ByName(name).Number()] != "" ||
			slices.Contains(*d.meant, fp.String())
		if n.Kind == yaml.MappingNode && !given {
			d.report(n, fp, "is required")
		}
	}
}

// protoField decodes one field: a list, a map, or a single value.
func (d *decoder) protoField(
	n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, p *path,
) {
	switch {
	case fd.IsMap():
		d.protoMap(n, m.Mutable(fd).Map(), fd, p)
	case fd.IsList():
		list := m.Mutable(fd).List()
		for i, c := range d.list(n, p) {
			if v, ok := d.protoValue(c, list.NewElement, fd, p.element(i)); ok {
				list.Append(v)
			}
		}
	default:
		v, ok := d.protoValue(n, func() protoreflect.Value { return m.NewField(fd) }, fd, p)
		if ok {
			m.Set(fd, v)
		}
	}
}

func (d *decoder) protoMap(
	n *yaml.Node, m protoreflect.Map, fd protoreflect.FieldDescriptor, p *path,
) {
	for _, e := range d.entries(n, p) {
		key, ok := protoKey(e.name, fd.MapKey().Kind())
		if !ok {
			d.report(e.key, p.key(e.name), "the key must be a whole number, not %q", clip(e.name))
			continue
		}
		v, ok := d.protoValue(e.value, m.NewValue, fd.MapValue(), p.key(e.name))
		if ok {
			m.Set(key, v)
		}
	}
}

// protoKey reads the key of a map: a text, or a number of 32 bits.
func protoKey(name string, kind protoreflect.Kind) (protoreflect.MapKey, bool) {
	if kind != protoreflect.Uint32Kind {
		return protoreflect.ValueOfString(name).MapKey(), true
	}
	n, err := strconv.ParseUint(name, 10, 32)
	return protoreflect.ValueOfUint32(uint32(n)).MapKey(), err == nil
}

// protoValue decodes a single value; fresh makes an empty message to decode into.
func (d *decoder) protoValue(
	n *yaml.Node, fresh func() protoreflect.Value, fd protoreflect.FieldDescriptor, p *path,
) (v protoreflect.Value, ok bool) {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		v = fresh()
		return v, d.protoMessage(n, v.Message(), fd, p)
	case protoreflect.EnumKind:
		return d.enum(n, fd.Enum(), p)
	case protoreflect.StringKind:
		s, ok := d.text(n, p)
		return protoreflect.ValueOfString(s), ok
	case protoreflect.BoolKind:
		b, ok := d.boolean(n, p)
		return protoreflect.ValueOfBool(b), ok
	case protoreflect.Int32Kind:
		i, ok := d.integer(n, p, math.MinInt32, math.MaxInt32)
		return protoreflect.ValueOfInt32(int32(i)), ok
	case protoreflect.Int64Kind:
		i, ok := d.integer(n, p, math.MinInt64, math.MaxInt64)
		return protoreflect.ValueOfInt64(i), ok
	case protoreflect.Uint32Kind:
		i, ok := d.integer(n, p, 0, math.MaxUint32)
		return protoreflect.ValueOfUint32(uint32(i)), ok
	case protoreflect.Uint64Kind:
		i, ok := d.integer(n, p, 0, math.MaxInt64)
		return protoreflect.ValueOfUint64(uint64(i)), ok
	case protoreflect.DoubleKind:
		f, ok := d.number(n, p)
		return protoreflect.ValueOfFloat64(f), ok
	case protoreflect.BytesKind:
		b, ok := d.base64(n, p)
		return protoreflect.ValueOfBytes(b), ok
	}
	d.report(n, p, "a field of type %s is not carried out yet", fd.Kind())
	return v, false
}

// protoMessage decodes a message, or one of protobuf's own types from its JSON form.
func (d *decoder) protoMessage(
	n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, p *path,
) bool {
	switch name := m.Descriptor().FullName(); name {
	case "google.protobuf.Duration":
		return d.duration(n, m, fd, p)
	case "google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.DoubleValue",
		"google.protobuf.Int32Value", "google.protobuf.Int64Value",
		"google.protobuf.UInt32Value", "google.protobuf.UInt64Value":
		value := m.Descriptor().Fields().ByName("value")
		v, ok := d.protoValue(n, nil, value, p)
		if ok {
			m.Set(value, v)
		}
		return ok
	case "google.protobuf.Struct":
		js, ok := d.json(n, p)
		if !ok {
			return false
		}
		if err := protojson.Unmarshal(js, m.Interface()); err != nil {
			d.wrongType(n, p, "a mapping")
			return false
		}
		return true
	}
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, p, "a mapping")
		return false
	}
	d.message(n, m, p)
	return true
}

// duration decodes what Go's time.ParseDuration takes: istiod does so (golang/protobuf jsonpb).
func (d *decoder) duration(
	n *yaml.Node, m protoreflect.Message, fd protoreflect.FieldDescriptor, p *path,
) bool {
	if n.Kind != yaml.ScalarNode || scalarTag(n) != tagString {
		d.report(
			n,
			p,
			"must be a duration with its unit, such as 2s, 250ms or 1m30s, not %s",
			kindOf(n),
		)
		return false
	}
	v, err := time.ParseDuration(n.Value)
	if err != nil {
		d.report(n, p, "%q is not a duration; write for example 2s, 250ms or 1m30s", clip(n.Value))
		return false
	}
	if least, ok := shortest(fd); ok && v < least {
		d.report(n, p, "duration %s is too short; must be at least %s", n.Value, least)
	} else if ok && v%time.Millisecond != 0 {
		d.report(n, p, "duration %s has fractions of a millisecond; use whole ones", n.Value)
	}
	proto.Merge(m.Interface(), durationpb.New(v))
	return true
}

// enum decodes the name of an enum value.
func (d *decoder) enum(
	n *yaml.Node, ed protoreflect.EnumDescriptor, p *path,
) (protoreflect.Value, bool) {
	var names []string
	for i := range ed.Values().Len() {
		names = append(names, string(ed.Values().Get(i).Name()))
	}
	if n.Kind == yaml.ScalarNode {
		if v := ed.Values().ByName(protoreflect.Name(n.Value)); v != nil {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
	}
	d.notOneOf(n, p, names)
	return protoreflect.Value{}, false
}

// notOneOf reports a word that is not in a list.
func (d *decoder) notOneOf(n *yaml.Node, p *path, names []string) {
	hint := ""
	if n.Kind == yaml.ScalarNode {
		if s := suggest(n.Value, names); s != "" {
			hint = fmt.Sprintf("; did you mean %s?", s)
		}
	}
	d.report(n, p, "must be one of %s, not %s%s", strings.Join(names, ", "), kindOf(n), hint)
}

// base64 decodes bytes.
func (d *decoder) base64(n *yaml.Node, p *path) ([]byte, bool) {
	s, ok := d.text(n, p)
	if !ok {
		return nil, false
	}
	// Line breaks inside are allowed, as encoding/base64 does for Kubernetes.
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		d.report(n, p, "is not base64: %v", err)
		return nil, false
	}
	return b, true
}

// fieldNames lists the JSON names of a message's fields.
func fieldNames(md protoreflect.MessageDescriptor) []string {
	var out []string
	for i := range md.Fields().Len() {
		out = append(out, md.Fields().Get(i).JSONName())
	}
	return out
}
