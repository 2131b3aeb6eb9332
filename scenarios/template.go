package scenarios

import (
	"fmt"
	"strconv"
	"strings"
)

// Template is a text with generators: "user-{1..20}" gives user-1 to user-20 in turn, "{a,b}" a
// and b, "{n}" the request's own number. Text without braces stays itself.
type Template struct {
	text  string
	parts []part
}

// part is a literal, a list to cycle through, or the request's number.
type part struct {
	literal string
	choices []string
	number  bool
}

// maxChoices bounds what a generator may expand to.
const maxChoices = 100_000

// Literal is a template without generators, whatever is in it.
func Literal(text string) Template {
	return Template{text: text, parts: []part{{literal: text}}}
}

// ParseTemplate reads a template.
func ParseTemplate(text string) (Template, error) {
	t := Template{text: text}
	for rest := text; rest != ""; {
		before, after, ok := strings.Cut(rest, "{")
		if before != "" {
			t.parts = append(t.parts, part{literal: before})
		}
		if !ok {
			break
		}
		inner, tail, closed := strings.Cut(after, "}")
		p, err := generator(inner)
		if !closed || err != nil {
			return Template{}, fmt.Errorf("%q is no generator; write it as {1..20}, {a,b} or {n}",
				"{"+inner)
		}
		t.parts = append(t.parts, p)
		rest = tail
	}
	return t, nil
}

func generator(inner string) (part, error) {
	if inner == "n" {
		return part{number: true}, nil
	}
	if from, to, ok := strings.Cut(inner, ".."); ok {
		lo, err := strconv.Atoi(from)
		if err != nil {
			return part{}, err
		}
		hi, err := strconv.Atoi(to)
		if err != nil || hi < lo || hi-lo >= maxChoices {
			return part{}, fmt.Errorf("range %s", inner)
		}
		var p part
		for i := lo; i <= hi; i++ {
			p.choices = append(p.choices, strconv.Itoa(i))
		}
		return p, nil
	}
	choices := strings.Split(inner, ",")
	if len(choices) < 2 {
		return part{}, fmt.Errorf("one choice only")
	}
	return part{choices: choices}, nil
}

// Constant says that every request gets the same text.
func (t Template) Constant() bool {
	return len(t.parts) == 0 || len(t.parts) == 1 && t.parts[0].literal != ""
}

// At returns the text of request n, counted from 0.
func (t Template) At(n int) string {
	if t.Constant() {
		return t.text
	}
	var b strings.Builder
	for _, p := range t.parts {
		switch {
		case p.number:
			b.WriteString(strconv.Itoa(n))
		case p.choices != nil:
			b.WriteString(p.choices[n%len(p.choices)])
		default:
			b.WriteString(p.literal)
		}
	}
	return b.String()
}

// String returns the template as written.
func (t Template) String() string { return t.text }

// UnmarshalText reads a template.
func (t *Template) UnmarshalText(b []byte) (err error) {
	*t, err = ParseTemplate(string(b))
	return err
}
