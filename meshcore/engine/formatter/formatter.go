// Package formatter compiles Envoy's substitution format strings ("%REQ(X?Y):Z%") once and fills
// them in many times, as text or as JSON. It knows the grammar and how values are written; what a
// command operator means is said by a table that its user gives.
//
//	"%PROTOCOL% %REQ(A?B):3%" ─Parse─▶ pieces ─Append(x)─▶ "HTTP/1.1 abc"
//	{"p": "%PROTOCOL%"}       ─ParseJSON─▶ tree ─Append(x)─▶ {"p":"HTTP/1.1"}\n
//
// The source is Envoy's source/common/formatter, at 1.40; what the source does not say was
// measured. Nothing here allocates once the line's buffer is large enough.
package formatter

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Kind says what an operator gave.
type Kind uint8

// The kinds of values. Only JSON tells them apart, but for None, which text shows as "-".
const (
	None   Kind = iota // no value
	Text               // a string, appended as it is
	Number             // an integer, appended in decimal
	JSON               // anything else, appended as JSON
)

// Eval appends the value of an operator for x. After None nothing that it appended counts.
type Eval[T any] func(x T, out []byte) ([]byte, Kind)

// Command is one operator as it stands in a format: %NAME(ARG):MAX%.
type Command struct {
	Name, Arg string
	Max       int // how many bytes of the value are kept; -1: all
}

// Lookup returns what a command does; the error is why Envoy, or we, refuse it.
type Lookup[T any] func(Command) (Eval[T], error)

// Refusal is why a format is refused, in Envoy's words.
type Refusal string

// Error returns the words.
func (r Refusal) Error() string { return string(r) }

// Syntax says what may follow an operator's name.
type Syntax uint8

// What operators take (substitution_format_utility.h CommandSyntaxChecker).
const (
	Alone    Syntax = 0
	Requires Syntax = 1 << iota // parameters in parentheses
	Optional                    // the same, or none
	Length                      // ":Z"
)

// Check refuses what does not fit the syntax, in Envoy's words
// (substitution_format_utility.cc verifySyntax).
func (s Syntax) Check(c Command) error {
	switch {
	case s == Alone && (c.Arg != "" || c.Max >= 0):
		return fmt.Errorf("%s does not take any parameters or length", c.Name)
	case s&Requires != 0 && c.Arg == "":
		return fmt.Errorf("%s requires parameters", c.Name)
	case s&Length == 0 && c.Max >= 0:
		return Refusal(c.Name + " does not allow length to be specified.")
	}
	return nil
}

// Format is a compiled format. It is immutable.
type Format[T any] interface {
	// Append appends the line for x.
	Append(x T, out []byte) []byte
}

// Compile compiles a format as configurations write it
// (source/common/formatter/substitution_format_string.cc). Its error begins with the field.
func Compile[T any](m *corev3.SubstitutionFormatString, find Lookup[T]) (Format[T], error) {
	text := func(field, s string) (Format[T], error) {
		f, err := Parse(s, m.GetOmitEmptyValues(), find)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		return f, nil
	}
	switch f := m.GetFormat().(type) {
	case *corev3.SubstitutionFormatString_TextFormat:
		return text("text_format", f.TextFormat)
	case *corev3.SubstitutionFormatString_TextFormatSource:
		switch s := f.TextFormatSource.GetSpecifier().(type) {
		case *corev3.DataSource_InlineString:
			return text("text_format_source.inline_string", s.InlineString)
		case *corev3.DataSource_InlineBytes:
			return text("text_format_source.inline_bytes", string(s.InlineBytes))
		}
		return nil, fmt.Errorf("text_format_source.specifier: is required")
	case *corev3.SubstitutionFormatString_JsonFormat:
		j, err := ParseJSON(f.JsonFormat, m.GetOmitEmptyValues(), find)
		if err != nil {
			return nil, fmt.Errorf("json_format.%w", err)
		}
		return j, nil
	}
	return nil, fmt.Errorf("format: is required")
}

// Template is a compiled text format.
type Template[T any] struct {
	pieces []piece[T]
	empty  string // what stands for no value
}

// piece is literal text, or an operator.
type piece[T any] struct {
	text string
	eval Eval[T]
	max  int // of a value that is no string: only text is truncated then
}

// Envoy source/common/formatter/substitution_formatter.cc commandWithArgsRegex.
var command = regexp.MustCompile(`^%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]+))?%`)

// Parse compiles a text format. Without a value stands "-", or nothing if empty values are omitted
// (substitution_formatter.cc SubstitutionFormatParser::parse).
func Parse[T any](format string, omitEmpty bool, find Lookup[T]) (*Template[T], error) {
	t := &Template[T]{empty: "-"}
	if omitEmpty {
		t.empty = ""
	}
	var text strings.Builder
	end := func() {
		if text.Len() > 0 {
			t.pieces = append(t.pieces, piece[T]{text: text.String()})
			text.Reset()
		}
	}
	for at := 0; at < len(format); {
		rest := format[at:]
		if rest[0] != '%' {
			n := strings.IndexByte(rest+"%", '%')
			text.WriteString(rest[:n])
			at += n
			continue
		}
		if strings.HasPrefix(rest, "%%") {
			text.WriteByte('%')
			at += 2
			continue
		}
		end()
		m := command.FindStringSubmatch(rest)
		c := Command{Max: -1}
		var err error
		if m != nil {
			c.Name, c.Arg = m[1], m[2]
			if m[3] != "" {
				c.Max, err = strconv.Atoi(m[3])
			}
		}
		if m == nil || err != nil {
			return nil, Refusal("Incorrect configuration: " + format +
				". Couldn't find valid command at position " + strconv.Itoa(at))
		}
		eval, err := resolve(c, find)
		if err != nil {
			return nil, err
		}
		t.pieces = append(t.pieces, piece[T]{eval: eval, max: c.Max})
		at += len(m[0])
	}
	end()
	return t, nil
}

// resolve asks for a command's meaning, bounds its value and knows COALESCE.
func resolve[T any](c Command, find Lookup[T]) (Eval[T], error) {
	if c.Name == "COALESCE" {
		return coalesce(c, find)
	}
	return find(c)
}

// Static returns the text of a format that has no operator.
func (t *Template[T]) Static() (string, bool) {
	switch {
	case len(t.pieces) == 0:
		return "", true
	case len(t.pieces) == 1 && t.pieces[0].eval == nil:
		return t.pieces[0].text, true
	}
	return "", false
}

// Append appends the text for x.
func (t *Template[T]) Append(x T, out []byte) []byte {
	for i := range t.pieces {
		p := &t.pieces[i]
		if p.eval == nil {
			out = append(out, p.text...)
			continue
		}
		n := len(out)
		var kind Kind
		switch out, kind = p.eval(x, out); kind {
		case None:
			out = append(out[:n], t.empty...)
		case Number, JSON:
			out = Truncate(out, n, p.max)
		}
	}
	return out
}

// Truncate keeps the first limit bytes of what was appended behind from; -1 keeps all.
func Truncate(out []byte, from, limit int) []byte {
	if limit >= 0 && len(out)-from > limit {
		return out[:from+limit]
	}
	return out
}
