package rbac

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// Path templates, as envoy.path.match.uri_template.uri_template_matcher reads them
// (source/extensions/path/uri_template_lib/uri_template_internal.cc): segments between slashes,
// each a literal, "*" (one segment), "**" (anything, once and last among the globs), or a variable
// in braces; behind the last glob there may be a suffix.

// pchar is what may stand in a segment (measured with 1.40, byte by byte).
const pchar = `a-zA-Z0-9-._~%!$&'()*+,;:=@`

const maxVariables, maxVariableName = 5, 16

var (
	templateForm = regexp.MustCompile(`^/[[:graph:]]*$`)
	literalForm  = regexp.MustCompile(`^[` + pchar + `]+$`)
	variableForm = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]*$`)
)

// escapes leaves the asterisk of a literal as it is, as Envoy does (measured with 1.40): "/a*b" is
// matched by "/aab".
var escapes = strings.NewReplacer("$", `\$`, "(", `\(`, ")", `\)`, "+", `\+`, ".", `\.`)

// templateReader reads a template and writes the regular expression.
type templateReader struct {
	rest  string
	out   strings.Builder
	names []string
	text  bool // "**" was read
}

// TemplateRegex returns the regular expression that whole paths must match.
func TemplateRegex(t string) (string, error) {
	if !templateForm.MatchString(t) {
		return "", errors.New("invalid pattern")
	}
	r := templateReader{rest: t[1:]}
	r.out.WriteByte('/')
	for r.rest != "" {
		if err := r.segment(); err != nil {
			return "", err
		}
		switch {
		case r.rest == "":
		case r.rest[0] == '/':
			r.rest = r.rest[1:]
			r.out.WriteByte('/')
		default: // a suffix
			if err := r.literal(); err != nil {
				return "", err
			}
			if r.rest != "" {
				return "", errors.New("prefix match not supported")
			}
		}
	}
	return r.out.String(), nil
}

func (r *templateReader) segment() error {
	switch r.rest[0] {
	case '*':
		return r.glob()
	case '{':
		return r.variable()
	}
	return r.literal()
}

func (r *templateReader) literal() error {
	text, _, _ := strings.Cut(r.rest, "/")
	if !literalForm.MatchString(text) {
		return errors.New("invalid literal")
	}
	r.rest = r.rest[len(text):]
	r.out.WriteString(escapes.Replace(text))
	return nil
}

func (r *templateReader) glob() error {
	if r.text {
		return errors.New("glob after text glob")
	}
	if r.text = strings.HasPrefix(r.rest, "**"); r.text {
		r.rest = r.rest[2:]
		r.out.WriteString("[" + pchar + "/]*")
		return nil
	}
	r.rest = r.rest[1:]
	r.out.WriteString("[" + pchar + "]+")
	return nil
}

func (r *templateReader) variable() error {
	inner, behind, ok := strings.Cut(r.rest[1:], "}")
	if !ok {
		return errors.New("unmatched variable bracket")
	}
	name, pattern, has := strings.Cut(inner, "=")
	switch {
	case !variableForm.MatchString(name):
		return errors.New("invalid variable name")
	case len(r.names) == maxVariables:
		return errors.New("exceeded variable count limit")
	case len(name) > maxVariableName:
		return errors.New("invalid variable length")
	case slices.Contains(r.names, name):
		return errors.New("repeated variable name")
	case has && pattern == "":
		return errors.New("empty variable match")
	case !has:
		pattern = "*"
	}
	r.names = append(r.names, name)
	r.rest = pattern
	for {
		var err error
		if r.rest[0] == '*' {
			err = r.glob()
		} else {
			err = r.literal()
		}
		if err != nil {
			return err
		}
		if r.rest == "" {
			break
		}
		if r.rest[0] != '/' || len(r.rest) == 1 {
			return errors.New("invalid variable match")
		}
		r.rest = r.rest[1:]
		r.out.WriteByte('/')
	}
	r.rest = behind
	return nil
}
