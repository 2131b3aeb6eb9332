package formatter

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"
)

// Object is a compiled JSON format. Keys are sorted, whatever sort_properties says (measured with
// 1.40; substitution_formatter.cc sortJsonStructFields).
type Object[T any] struct {
	root node[T]
	omit bool
}

// node is one value of a JSON format.
type node[T any] struct {
	key      string // with quotes and colon, in an object
	constant string // JSON
	list     []node[T]
	shape    shape
	template *Template[T]
}

type shape uint8

const (
	shapeConstant shape = iota
	shapeTemplate
	shapeObject
	shapeList
)

// ParseJSON compiles a JSON format. The error begins with the path of the value.
func ParseJSON[T any](s *structpb.Struct, omitEmpty bool, find Lookup[T]) (*Object[T], error) {
	o := &Object[T]{omit: omitEmpty}
	var err error
	o.root, err = o.object(s, find)
	return o, err
}

func (o *Object[T]) object(s *structpb.Struct, find Lookup[T]) (node[T], error) {
	out := node[T]{shape: shapeObject}
	for _, k := range slices.Sorted(maps.Keys(s.GetFields())) {
		n, keep, err := o.value(s.GetFields()[k], find)
		if err != nil {
			sep := ""
			if !strings.HasPrefix(err.Error(), ":") {
				sep = "."
			}
			return out, fmt.Errorf("%s%s%w", k, sep, err)
		}
		if keep {
			n.key = string(append(AppendString(nil, k), ':'))
			out.list = append(out.list, n)
		}
	}
	return out, nil
}

// value compiles one value; keep is false for a null that is omitted.
func (o *Object[T]) value(v *structpb.Value, find Lookup[T]) (n node[T], keep bool, err error) {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		n, err = o.object(k.StructValue, find)
		return n, true, err
	case *structpb.Value_ListValue:
		n.shape = shapeList
		for i, v := range k.ListValue.GetValues() {
			in, keep, err := o.value(v, find)
			if err != nil {
				return n, true, fmt.Errorf("%d%w", i, err)
			}
			if keep {
				n.list = append(n.list, in)
			}
		}
		return n, true, nil
	case *structpb.Value_StringValue:
		if strings.Contains(k.StringValue, "%") {
			n.shape = shapeTemplate
			n.template, err = Parse(k.StringValue, o.omit, find)
			if err != nil {
				err = fmt.Errorf(": %w", err)
			}
			return n, true, err
		}
	case *structpb.Value_NullValue, nil:
		return node[T]{constant: "null"}, !o.omit, nil
	}
	return node[T]{constant: string(AppendValue(nil, v))}, true, nil
}

// Append appends the line for x, with its end of line.
func (o *Object[T]) Append(x T, out []byte) []byte {
	n := len(out)
	out, ok := o.root.append(x, out, o.omit)
	if !ok {
		out = append(out[:n], "{}"...)
	}
	return append(out, '\n')
}

// append says whether there is a value; if not, nothing that was appended counts.
func (n *node[T]) append(x T, out []byte, omit bool) ([]byte, bool) {
	switch n.shape {
	case shapeTemplate:
		return n.template.appendJSON(x, out, omit)
	case shapeObject:
		return n.members(x, out, omit, '{', '}')
	case shapeList:
		out, _ = n.members(x, out, omit, '[', ']')
		return out, true
	}
	return append(out, n.constant...), true
}

// members appends an object or a list. An object of which nothing is left is omitted.
func (n *node[T]) members(x T, out []byte, omit bool, open, end byte) ([]byte, bool) {
	out = append(out, open)
	first := true
	for i := range n.list {
		m := &n.list[i]
		start := len(out)
		if !first {
			out = append(out, ',')
		}
		var ok bool
		if out, ok = m.append(x, append(out, m.key...), omit); !ok {
			out = out[:start]
			continue
		}
		first = false
	}
	return append(out, end), !omit || !first
}

// appendJSON appends a value of a JSON format. A single operator keeps its type; several make a
// string.
func (t *Template[T]) appendJSON(x T, out []byte, omit bool) ([]byte, bool) {
	if len(t.pieces) == 1 && t.pieces[0].eval != nil {
		return t.pieces[0].single(x, out, omit)
	}
	out = append(out, '"')
	for i := range t.pieces {
		p := &t.pieces[i]
		if p.eval == nil {
			n := len(out)
			out = sanitize(append(out, p.text...), n)
			continue
		}
		n := len(out)
		var kind Kind
		switch out, kind = p.eval(x, out); kind {
		case None:
			out = append(out[:n], t.empty...)
			continue
		case Number, JSON:
			out = Truncate(out, n, p.max)
		}
		out = sanitize(out, n)
	}
	return append(out, '"'), true
}

// single appends the value of the one operator that there is.
func (p *piece[T]) single(x T, out []byte, omit bool) ([]byte, bool) {
	out = append(out, '"')
	n := len(out)
	out, kind := p.eval(x, out)
	switch kind {
	case None:
		return append(out[:n-1], "null"...), !omit
	case Text:
		return append(sanitize(out, n), '"'), true
	}
	copy(out[n-1:], out[n:])
	return out[:len(out)-1], true
}

// AppendString appends a JSON string.
func AppendString(out []byte, s string) []byte {
	out = append(out, '"')
	n := len(out)
	return append(sanitize(append(out, s...), n), '"')
}

const hex = "0123456789abcdef"

// sanitize escapes what stands behind from for a JSON string. Valid UTF-8 stays as it is; if any of
// it is not valid, all that is special is written as if each byte were a character
// (source/common/json/json_sanitizer.cc).
func sanitize(out []byte, from int) []byte {
	clean, ascii := true, true
	for _, c := range out[from:] {
		if c >= 0x80 {
			ascii = false
		} else if c < ' ' || c == '"' || c == '\\' {
			clean = false
		}
	}
	valid := ascii || utf8.Valid(out[from:])
	if clean && valid {
		return out
	}
	end := len(out)
	for i := from; i < end; i++ {
		c := out[i]
		switch {
		case !valid && (c < ' ' || c == '"' || c == '\\' || c >= 0x7f):
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c >= ' ':
			out = append(out, c)
		default:
			out = control(out, c)
		}
	}
	n := copy(out[from:], out[end:])
	return out[:from+n]
}

// control escapes a control character (nlohmann::json dump).
func control(out []byte, c byte) []byte {
	switch c {
	case '\b':
		return append(out, '\\', 'b')
	case '\t':
		return append(out, '\\', 't')
	case '\n':
		return append(out, '\\', 'n')
	case '\f':
		return append(out, '\\', 'f')
	case '\r':
		return append(out, '\\', 'r')
	}
	return append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

// AppendValue appends a protobuf value as JSON, keys sorted
// (source/common/json/json_utility.cc appendValueToString).
func AppendValue(out []byte, v *structpb.Value) []byte {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		return AppendStruct(out, k.StructValue)
	case *structpb.Value_ListValue:
		out = append(out, '[')
		for i, v := range k.ListValue.GetValues() {
			if i > 0 {
				out = append(out, ',')
			}
			out = AppendValue(out, v)
		}
		return append(out, ']')
	case *structpb.Value_StringValue:
		return AppendString(out, k.StringValue)
	case *structpb.Value_BoolValue:
		return strconv.AppendBool(out, k.BoolValue)
	case *structpb.Value_NumberValue:
		return AppendNumber(out, k.NumberValue)
	}
	return append(out, "null"...)
}

// AppendStruct appends a protobuf struct as JSON.
func AppendStruct(out []byte, s *structpb.Struct) []byte {
	out = append(out, '{')
	for i, k := range slices.Sorted(maps.Keys(s.GetFields())) {
		if i > 0 {
			out = append(out, ',')
		}
		out = AppendValue(append(AppendString(out, k), ':'), s.GetFields()[k])
	}
	return append(out, '}')
}

// AppendNumber appends a number as C++'s std::to_chars writes it: the shorter of the plain and the
// scientific notation, and the plain one when both are equally long
// (source/common/buffer/buffer_util.cc serializeDouble).
func AppendNumber(out []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(out, "null"...)
	case math.IsInf(f, 0):
		return append(out, strings.TrimPrefix(strconv.FormatFloat(f, 'f', -1, 64), "+")...)
	}
	n := len(out)
	out = strconv.AppendFloat(out, f, 'f', -1, 64)
	plain := len(out) - n
	out = strconv.AppendFloat(out, f, 'e', -1, 64)
	if short := len(out) - n - plain; short < plain {
		copy(out[n:], out[n+plain:])
		return out[:n+short]
	}
	return out[:n+plain]
}
