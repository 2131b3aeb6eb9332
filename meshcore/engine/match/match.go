// Package match decides, exactly as Envoy does, whether a value, a header, a query parameter, a
// path or a host is what a configuration asks for. It neither reads configuration nor keeps
// state: the engine compiles Envoy's matchers into these values.
package match

import (
	"bytes"
	"regexp"
)

// Kind is how a String compares.
type Kind uint8

// The kinds of comparison (envoy.type.matcher.v3.StringMatcher).
const (
	Exact Kind = iota
	Prefix
	Suffix
	Contains
	Regex
)

// String is a compiled StringMatcher.
type String struct {
	kind   Kind
	fold   bool // ignore_case; not with Regex
	want   []byte
	regexp *regexp.Regexp
}

// NewString returns a matcher; with ignoreCase letters compare without case.
func NewString(kind Kind, want string, ignoreCase bool) String {
	return String{kind: kind, want: []byte(want), fold: ignoreCase}
}

// NewRegex returns a matcher that holds when the whole value matches: Envoy asks RE2 for a full
// match (source/common/common/regex.cc CompiledGoogleReMatcher::match), and Go's syntax is
// RE2's.
func NewRegex(expr string) (String, error) {
	re, err := CompileRegex(expr)
	return String{kind: Regex, regexp: re}, err
}

// CompileRegex compiles an expression that is to match whole values.
func CompileRegex(expr string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(expr); err != nil {
		return nil, err // in the user's words, not with the anchors
	}
	return regexp.Compile(`\A(?:` + expr + `)\z`)
}

// Match says whether the value is wanted.
func (s *String) Match(v []byte) bool {
	switch s.kind {
	case Exact:
		return len(v) == len(s.want) && s.equal(v)
	case Prefix:
		return len(v) >= len(s.want) && s.equal(v[:len(s.want)])
	case Suffix:
		return len(v) >= len(s.want) && s.equal(v[len(v)-len(s.want):])
	case Contains:
		return s.contains(v)
	default:
		return s.regexp.Match(v)
	}
}

func (s *String) equal(v []byte) bool {
	if !s.fold {
		return string(v) == string(s.want)
	}
	return EqualFold(v, s.want)
}

func (s *String) contains(v []byte) bool {
	if !s.fold {
		return bytes.Contains(v, s.want)
	}
	for i := 0; i+len(s.want) <= len(v); i++ {
		if EqualFold(v[i:i+len(s.want)], s.want) {
			return true
		}
	}
	return false
}

// EqualFold compares ASCII letters without case and all other bytes as they are
// (absl::EqualsIgnoreCase, which bytes.EqualFold is not).
func EqualFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
