package match

import (
	"fmt"
	"strconv"
	"strings"
)

// String says what is wanted, in words: `exactly "jason"`, `prefix "/api"`.
func (s *String) String() string {
	text := ""
	switch s.kind {
	case Exact:
		text = "exactly "
	case Prefix:
		text = "prefix "
	case Suffix:
		text = "suffix "
	case Contains:
		text = "contains "
	default:
		if s.regexp == nil {
			return "regex"
		}
		e := strings.TrimSuffix(strings.TrimPrefix(s.regexp.String(), `\A(?:`), `)\z`)
		return "regex " + strconv.Quote(e)
	}
	text += strconv.Quote(string(s.want))
	if s.fold {
		text += " (any case)"
	}
	return text
}

// String says what is wanted, in words: `path prefix "/api"`.
func (p *Path) String() string {
	text := ""
	switch p.Kind {
	case PathPrefix:
		text = "path prefix " + strconv.Quote(string(p.Want))
	case PathExact:
		text = "path exactly " + strconv.Quote(string(p.Want))
	case PathSeparated:
		text = "path below " + strconv.Quote(string(p.Want))
	default:
		text = "path " + p.Regexp.String()
	}
	if p.Fold {
		text += " (any case)"
	}
	return text
}

// Everything says that no path fails.
func (p *Path) Everything() bool { return p.Kind == PathPrefix && string(p.Want) == "/" }

// String says what is wanted, in words: `header end-user exactly "jason"`.
func (m *Header) String() string {
	name := "header " + m.Name
	if m.Name[0] == ':' {
		name = m.Name[1:]
	}
	text := ""
	switch {
	case m.Present && m.Want != m.Invert:
		return name + " present"
	case m.Present:
		return name + " absent"
	case m.Range:
		text = fmt.Sprintf("in [%d, %d)", m.Start, m.End)
	default:
		text = m.Value.String()
	}
	if m.Invert {
		text = "not " + text
	}
	return name + " " + text
}

// String says what is wanted, in words: `query user exactly "jason"`.
func (q *Query) String() string {
	switch {
	case q.Present && q.Want:
		return "query " + q.Name + " present"
	case q.Present:
		return "query " + q.Name + " absent"
	}
	return "query " + q.Name + " " + q.Value.String()
}

// String names what is looked at.
func (m *Metadata) String() string {
	return "metadata " + m.Namespace + " " + strings.Join(m.Path, ".")
}
