package match

import (
	"strconv"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// Header is a compiled HeaderMatcher.
type Header struct {
	Name         string // lower-case; a pseudo-header with its colon (host is :authority)
	Value        String // with neither Present nor Range
	Present      bool   // present_match
	Range        bool   // range_match [Start, End)
	Start, End   int64
	Want         bool // the value of present_match
	Invert       bool
	MissingEmpty bool // treat_missing_header_as_empty
}

// Match says whether the head has the header as wanted. Repeated lines are looked at one by
// one, and one that matches is enough; a missing header matches nothing, not even inverted, but
// present_match and with treat_missing_header_as_empty (source/common/http/header_utility.h
// HeaderDataBaseImpl; measured with 1.40).
func (m *Header) Match(h *wire.Head) bool {
	if m.Name[0] == ':' {
		v, ok := Pseudo(h, m.Name)
		if !ok {
			return m.missing()
		}
		return m.holds(v) != m.Invert
	}
	found := false
	for i := range h.Fields {
		if string(h.Fields[i].Name) != m.Name {
			continue
		}
		found = true
		if m.holds(h.Fields[i].Value) {
			return !m.Invert
		}
	}
	if !found {
		return m.missing()
	}
	return m.Invert
}

func (m *Header) missing() bool {
	switch {
	case m.MissingEmpty:
		return m.holds(nil) != m.Invert
	case m.Present:
		return m.Want == m.Invert
	default:
		return false
	}
}

func (m *Header) holds(v []byte) bool {
	switch {
	case m.Present:
		return m.Want
	case m.Range:
		n, ok := integer(v)
		return ok && n >= m.Start && n < m.End
	default:
		return m.Value.Match(v)
	}
}

// integer reads what absl::SimpleAtoi reads: an optional sign and digits, nothing else.
func integer(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 20 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	return n, err == nil
}

// Pseudo returns a pseudo-header of a request, as Envoy names them.
func Pseudo(h *wire.Head, name string) (value []byte, ok bool) {
	switch name {
	case ":path":
		return h.Target, h.Target != nil
	case ":method":
		return h.Method, h.Method != nil
	case ":authority":
		return h.Authority, h.Authority != nil
	case ":scheme":
		return h.Scheme, h.Scheme != nil
	}
	return nil, false
}
