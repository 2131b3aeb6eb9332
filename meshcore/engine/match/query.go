package match

import "bytes"

// Query is a compiled QueryParameterMatcher.
type Query struct {
	Name    string
	Value   String
	Present bool // present_match: any value will do, and Want says whether it must be there
	Want    bool
}

// Match says whether the target's query has the parameter as wanted. Names and values are
// compared as they were sent, undecoded, and of a repeated parameter the first counts
// (source/common/router/config_utility.cc QueryParameterMatcher).
func (q *Query) Match(target []byte) bool {
	v, ok := Param(target, q.Name)
	if q.Present {
		return ok == q.Want
	}
	return ok && q.Value.Match(v)
}

// Param returns the first value of a query parameter, undecoded.
func Param(target []byte, name string) (value []byte, ok bool) {
	i := bytes.IndexByte(target, '?')
	if i < 0 {
		return nil, false
	}
	query := target[i+1:]
	if end := bytes.IndexByte(query, '#'); end >= 0 {
		query = query[:end]
	}
	for len(query) > 0 {
		part := query
		if i := bytes.IndexByte(query, '&'); i >= 0 {
			part, query = query[:i], query[i+1:]
		} else {
			query = nil
		}
		key, value, _ := bytes.Cut(part, []byte{'='})
		if string(key) == name {
			return value, true
		}
	}
	return nil, false
}

// PathOf returns the target without query and fragment (Envoy PathUtil::removeQueryAndFragment).
func PathOf(target []byte) []byte {
	if i := bytes.IndexAny(target, "?#"); i >= 0 {
		return target[:i]
	}
	return target
}
