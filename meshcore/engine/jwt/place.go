package jwt

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// extractor finds tokens (source/extensions/filters/http/jwt_authn/extractor.cc).
type extractor struct {
	headers  []place // by name and prefix
	params   []place
	cookies  []place
	sanitize []string // headers that only a token may bring
}

type kind uint8

const (
	inHeader kind = iota
	inParam
	inCookie
)

// place is where a token may be, for the issuers that say so; the empty issuer is any.
type place struct {
	kind    kind
	name    string // of a header in lower case
	prefix  string // of a header's value
	issuers []string
}

func (p *place) allows(issuer string) bool {
	return slices.Contains(p.issuers, "") || slices.Contains(p.issuers, issuer)
}

// candidate is a token as it came.
type candidate struct {
	text string
	from *place
}

func (e *extractor) add(list *[]place, p place, issuer string) {
	for i := range *list {
		if o := &(*list)[i]; o.name == p.name && o.prefix == p.prefix {
			o.issuers = append(o.issuers, issuer)
			return
		}
	}
	p.issuers = []string{issuer}
	*list = append(*list, p)
}

// newExtractor looks where the providers say.
func newExtractor(providers []*provider) *extractor {
	e := &extractor{}
	for _, p := range providers {
		for _, at := range p.places {
			switch at.kind {
			case inHeader:
				e.add(&e.headers, at, p.issuer)
			case inParam:
				e.add(&e.params, at, p.issuer)
			default:
				e.add(&e.cookies, at, p.issuer)
			}
		}
		if p.payloadHeader != "" {
			e.sanitize = append(e.sanitize, p.payloadHeader)
		}
		for _, c := range p.claims {
			e.sanitize = append(e.sanitize, c.header)
		}
	}
	byName := func(a, b place) int { return cmp.Compare(a.name+a.prefix, b.name+b.prefix) }
	for _, l := range [][]place{e.headers, e.params, e.cookies} {
		slices.SortStableFunc(l, byName)
	}
	return e
}

func (e *extractor) clean(h *wire.Head) {
	for _, n := range e.sanitize {
		h.Del(n)
	}
}

// extract returns the tokens of a request in the order of the places.
func (e *extractor) extract(h *wire.Head) []candidate {
	var out []candidate
	for i := range e.headers {
		p := &e.headers[i]
		for _, f := range h.Fields {
			if string(f.Name) != p.name {
				continue
			}
			if v, ok := p.value(string(f.Value)); ok {
				out = append(out, candidate{v, p})
			}
		}
	}
	if len(e.params) > 0 && h.Target != nil {
		q := parseQuery(h.Target)
		for i := range e.params {
			if v, ok := q.first(e.params[i].name); ok {
				out = append(out, candidate{v, &e.params[i]})
			}
		}
	}
	for i := range e.cookies {
		if v, ok := cookie(h, e.cookies[i].name); ok {
			out = append(out, candidate{v, &e.cookies[i]})
		}
	}
	return out
}

// value takes the token out of a header: what begins with a character that a token may have, behind
// the prefix, to the end; all of it when there is none (extractJWT).
func (p *place) value(v string) (string, bool) {
	if p.prefix == "" {
		return v, true
	}
	i := strings.Index(v, p.prefix)
	if i < 0 {
		return "", false
	}
	rest := v[i+len(p.prefix):]
	j := strings.IndexAny(rest, alphabet+".")
	if j < 0 {
		return v, true
	}
	return rest[j:], true
}

// remove takes the token away, that nobody behind sees it. Cookies stay.
func (p *place) remove(h *wire.Head) {
	switch p.kind {
	case inHeader:
		h.Del(p.name)
	case inParam:
		h.Target = h.Bytes(parseQuery(h.Target).without(h.Target, p.name))
	}
}

// cookie returns the first cookie of a name; quotes around it do not count
// (source/common/http/utility.cc parseCookies).
func cookie(h *wire.Head, name string) (string, bool) {
	for _, f := range h.Fields {
		if string(f.Name) != "cookie" {
			continue
		}
		for _, part := range bytes.Split(f.Value, []byte(";")) {
			k, v, ok := strings.Cut(strings.TrimLeft(string(part), " "), "=")
			if !ok || k != name {
				continue
			}
			if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
				v = v[1 : len(v)-1]
			}
			return v, true
		}
	}
	return "", false
}

// query is a query string, decoded and sorted by name (source/common/http/utility.cc
// QueryParamsMulti).
type query []struct{ name, value string }

func parseQuery(target []byte) query {
	var q query
	_, text, ok := strings.Cut(string(target), "?")
	if !ok {
		return nil
	}
	for _, part := range strings.Split(text, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		q = append(q, struct{ name, value string }{unescape(name), unescape(value)})
	}
	slices.SortStableFunc(q, func(a, b struct{ name, value string }) int {
		return cmp.Compare(a.name, b.name)
	})
	return q
}

func (q query) first(name string) (string, bool) {
	for _, p := range q {
		if p.name == name {
			return p.value, true
		}
	}
	return "", false
}

// without is the target with a query without that name: decoded and sorted, for Envoy writes it
// back so (measured with 1.40).
func (q query) without(target []byte, name string) string {
	path, _, _ := strings.Cut(string(target), "?")
	sep := "?"
	for _, p := range q {
		if p.name != name {
			path += sep + p.name + "=" + p.value
			sep = "&"
		}
	}
	return path
}

// unescape decodes %XX; what is none stays.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20) - 'a' + 10
	}
	return -1
}
