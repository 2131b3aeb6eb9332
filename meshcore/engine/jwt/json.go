package jwt

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"
)

// JSON as protobuf's C++ library reads it into a Struct, with the old syntax that it still allows
// (google/protobuf/json/internal/lexer.cc, parser.cc; measured with Envoy 1.40): single quotes,
// names without quotes, a comma behind the last element, and control characters in strings. A name
// twice is an error.

// maxDepth bounds how deeply values may be nested.
const maxDepth = 100

type jsonReader struct {
	s     []byte
	depth int
	bad   bool
}

// parseStruct reads an object, or null, which is empty.
func parseStruct(text []byte) (*structpb.Struct, bool) {
	r := &jsonReader{s: text}
	if !utf8.Valid(text) {
		return nil, false
	}
	v := r.value()
	r.blanks()
	if r.bad || len(r.s) > 0 {
		return nil, false
	}
	switch k := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		return k.StructValue, true
	case *structpb.Value_NullValue:
		return &structpb.Struct{}, true
	}
	return nil, false
}

func (r *jsonReader) fail() *structpb.Value {
	r.bad, r.s = true, nil
	return nil
}

func (r *jsonReader) blanks() {
	for len(r.s) > 0 && (r.s[0] == ' ' || r.s[0] == '\t' || r.s[0] == '\n' || r.s[0] == '\r') {
		r.s = r.s[1:]
	}
}

// next takes a byte if it comes next.
func (r *jsonReader) next(c byte) bool {
	r.blanks()
	if len(r.s) == 0 || r.s[0] != c {
		return false
	}
	r.s = r.s[1:]
	return true
}

func (r *jsonReader) value() *structpb.Value {
	r.blanks()
	if len(r.s) == 0 {
		return r.fail()
	}
	switch c := r.s[0]; {
	case c == '{':
		return r.object()
	case c == '[':
		return r.list()
	case c == '"' || c == '\'':
		return structpb.NewStringValue(r.text())
	case c == '-' || c >= '0' && c <= '9':
		return r.number()
	}
	switch r.word() {
	case "null":
		return structpb.NewNullValue()
	case "true":
		return structpb.NewBoolValue(true)
	case "false":
		return structpb.NewBoolValue(false)
	}
	return r.fail()
}

func (r *jsonReader) enter() bool {
	r.s, r.depth = r.s[1:], r.depth+1
	return r.depth <= maxDepth
}

func (r *jsonReader) object() *structpb.Value {
	if !r.enter() {
		return r.fail()
	}
	out := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for !r.next('}') {
		r.blanks()
		var name string
		if len(r.s) > 0 && (r.s[0] == '"' || r.s[0] == '\'') {
			name = r.text()
		} else {
			name = r.word()
			if name == "" || name == "null" || name == "true" || name == "false" {
				return r.fail()
			}
		}
		if _, twice := out.Fields[name]; twice || !r.next(':') {
			return r.fail()
		}
		out.Fields[name] = r.value()
		if r.bad || !r.next(',') && (len(r.s) == 0 || r.s[0] != '}') {
			return r.fail()
		}
	}
	r.depth--
	return structpb.NewStructValue(out)
}

func (r *jsonReader) list() *structpb.Value {
	if !r.enter() {
		return r.fail()
	}
	out := &structpb.ListValue{}
	for !r.next(']') {
		out.Values = append(out.Values, r.value())
		if r.bad || !r.next(',') && (len(r.s) == 0 || r.s[0] != ']') {
			return r.fail()
		}
	}
	r.depth--
	return structpb.NewListValue(out)
}

// word takes letters, digits and '_'; a digit does not come first.
func (r *jsonReader) word() string {
	n := 0
	for n < len(r.s) {
		c := r.s[n]
		if c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || n > 0 && c >= '0' && c <= '9' {
			n++
			continue
		}
		break
	}
	w := string(r.s[:n])
	r.s = r.s[n:]
	return w
}

// number takes what JSON calls a number.
func (r *jsonReader) number() *structpb.Value {
	i := 0
	digits := func() bool {
		from := i
		for i < len(r.s) && r.s[i] >= '0' && r.s[i] <= '9' {
			i++
		}
		return i > from
	}
	at := func(set string) bool {
		for _, c := range []byte(set) {
			if i < len(r.s) && r.s[i] == c {
				i++
				return true
			}
		}
		return false
	}
	at("-")
	from := i
	ok := digits() && (r.s[from] != '0' || i == from+1)
	if ok && at(".") {
		ok = digits()
	}
	if ok && at("eE") {
		at("+-")
		ok = digits()
	}
	f, err := strconv.ParseFloat(string(r.s[:i]), 64)
	if !ok || err != nil || math.IsInf(f, 0) {
		return r.fail()
	}
	r.s = r.s[i:]
	if len(r.s) > 0 && r.word() != "" {
		return r.fail()
	}
	return structpb.NewNumberValue(f)
}

// text takes a string with its quotes.
func (r *jsonReader) text() string {
	quote := r.s[0]
	r.s = r.s[1:]
	var out []byte
	for len(r.s) > 0 {
		c := r.s[0]
		r.s = r.s[1:]
		switch c {
		case quote:
			return string(out)
		case '\\':
			if out = r.escape(out); r.bad {
				return ""
			}
		default:
			out = append(out, c)
		}
	}
	r.fail()
	return ""
}

var escapes = map[byte]byte{'"': '"', '\'': '\'', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f',
	'n': '\n', 'r': '\r', 't': '\t'}

// escape takes what follows a backslash.
func (r *jsonReader) escape(out []byte) []byte {
	if len(r.s) == 0 {
		r.fail()
		return nil
	}
	c := r.s[0]
	if plain, ok := escapes[c]; ok {
		r.s = r.s[1:]
		return append(out, plain)
	}
	u, ok := r.unit()
	if ok && utf16.IsSurrogate(u) {
		if len(r.s) == 0 || r.s[0] != '\\' {
			r.fail()
			return nil
		}
		r.s = r.s[1:]
		var low rune
		if low, ok = r.unit(); ok {
			u = utf16.DecodeRune(u, low)
			ok = u != utf8.RuneError
		}
	}
	if !ok {
		r.fail()
		return nil
	}
	return utf8.AppendRune(out, u)
}

// unit takes uXXXX.
func (r *jsonReader) unit() (rune, bool) {
	if len(r.s) < 5 || r.s[0] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(r.s[1:5]), 16, 16)
	r.s = r.s[5:]
	return rune(n), err == nil
}
