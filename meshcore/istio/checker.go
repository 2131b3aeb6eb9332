package istio

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// checker validates one object, or the MeshConfig.
type checker struct {
	object *Object                  // nil for MeshConfig
	ref    string                   // "Kind ns/name"
	prefix string                   // in front of every field
	at     func(field string) Place // where a field is
	diags  *[]Diagnostic
}

func newChecker(o *Object, diags *[]Diagnostic) *checker {
	return &checker{object: o, ref: refOf(o), at: o.At, diags: diags}
}

// refOf names an object as far as it is known.
func refOf(o *Object) string {
	if o.Name == "" || o.Kind == "" {
		return o.Kind
	}
	return o.Ref()
}

func (c *checker) errorf(field, format string, args ...any) {
	c.add(Error, field, fmt.Sprintf(format, args...))
}

func (c *checker) warnf(field, format string, args ...any) {
	c.add(Warning, field, fmt.Sprintf(format, args...))
}

func (c *checker) add(s Severity, field, msg string) {
	*c.diags = append(*c.diags, Diagnostic{
		Severity: s, Place: c.at(field), Object: c.ref, Field: join(c.prefix, field), Msg: msg,
	})
}

// withoutEchoes drops the problems found by validation that only repeat one found by decoding: a
// field that could not be decoded, or that was meant by a misspelt one, is missing for validation.
func withoutEchoes(decoded, validated []Diagnostic, meant []string) []Diagnostic {
	if len(decoded) == 0 {
		return validated
	}
	broken, above := map[string]bool{}, map[string]bool{}
	for _, field := range meant {
		broken[field] = true
	}
	for _, d := range decoded {
		broken[d.Field] = true
		for field := range ancestors(d.Field) {
			above[field] = true
		}
	}
	return slices.DeleteFunc(validated, func(v Diagnostic) bool {
		if broken[v.Field] || above[v.Field] {
			return true
		}
		for field := range ancestors(v.Field) {
			if broken[field] {
				return true
			}
		}
		return false
	})
}

// ancestors yields the fields around a field, the whole object included.
func ancestors(field string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for field != "" {
			field = field[:max(0, strings.LastIndexAny(field, ".["))]
			if !yield(field) {
				return
			}
		}
	}
}

// wayOut appends what to do instead.
func wayOut(s string) string {
	if s == "" {
		return ""
	}
	return "; " + s
}

// at names an element of a list.
func at(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// in names an entry of a map.
func in(mapping, key string) string { return mapping + "[" + key + "]" }
