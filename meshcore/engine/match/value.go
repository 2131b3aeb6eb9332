package match

import (
	"unsafe"

	"google.golang.org/protobuf/types/known/structpb"
)

// ValueKind is how a Value compares.
type ValueKind uint8

// The kinds of comparison (envoy.type.matcher.v3.ValueMatcher).
const (
	Null    ValueKind = iota
	Number            // a number of [Start, End), or exactly Start
	Text              // a string
	Bool              // Want
	Present           // any value; nothing when Want is false
	List              // a list of which one element fits the only one of Of
	Any               // one of Of
)

// Value is a compiled ValueMatcher.
type Value struct {
	Kind       ValueKind
	Want       bool
	Range      bool // of a Number
	Start, End float64
	String     String
	Of         []Value
}

// Match says whether the value, nil for none, is as wanted (source/common/common/matchers.cc).
func (m *Value) Match(v *structpb.Value) bool {
	switch m.Kind {
	case Null:
		_, ok := v.GetKind().(*structpb.Value_NullValue)
		return ok
	case Number:
		n, ok := v.GetKind().(*structpb.Value_NumberValue)
		if !ok || !m.Range {
			return ok && n.NumberValue == m.Start
		}
		return n.NumberValue >= m.Start && n.NumberValue < m.End
	case Text:
		s, ok := v.GetKind().(*structpb.Value_StringValue)
		return ok && m.String.MatchText(s.StringValue)
	case Bool:
		b, ok := v.GetKind().(*structpb.Value_BoolValue)
		return ok && b.BoolValue == m.Want
	case Present:
		return m.Want && v.GetKind() != nil
	case List:
		for _, e := range v.GetListValue().GetValues() {
			if m.Of[0].Match(e) {
				return true
			}
		}
	case Any:
		for i := range m.Of {
			if m.Of[i].Match(v) {
				return true
			}
		}
	}
	return false
}

// MatchText is Match of a string.
func (s *String) MatchText(v string) bool {
	return s.Match(unsafe.Slice(unsafe.StringData(v), len(v)))
}

// Fields is metadata: values by namespace and key; nil where there is none.
type Fields interface {
	Field(namespace, key string) *structpb.Value
}

// Metadata is a compiled MetadataMatcher.
type Metadata struct {
	Namespace string
	Path      []string // at least one
	Value     Value
	Invert    bool
}

// Match says whether the value at the path is as wanted
// (source/common/config/metadata.cc metadataValue).
func (m *Metadata) Match(of Fields) bool {
	v := of.Field(m.Namespace, m.Path[0])
	for _, key := range m.Path[1:] {
		v = v.GetStructValue().GetFields()[key]
	}
	return m.Value.Match(v) != m.Invert
}
