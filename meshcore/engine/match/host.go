package match

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"
)

// Hosts is the table of virtual-host domains: it finds the value whose domain fits a host best.
// Build it with Add, then Sort, then only Find.
type Hosts[V any] struct {
	exact    map[string]V
	suffixes []wildcard[V] // "*.example.com", longest first
	prefixes []wildcard[V] // "example.*", longest first
	any      V
	hasAny   bool
}

type wildcard[V any] struct {
	part  string
	value V
}

// The errors of Add: Envoy refuses the route configuration (source/common/router/config_impl.cc
// RouteMatcher).
var (
	//lint:ignore ST1005 Envoy's own words
	ErrDuplicate = errors.New("Only unique values for domains are permitted. Duplicate entry")
	//lint:ignore ST1005 Envoy's own words
	ErrWildcards = errors.New("Only a single wildcard domain is permitted")
)

// Add enters a domain. Case does not matter.
func (h *Hosts[V]) Add(domain string, v V) error {
	domain = strings.ToLower(domain)
	switch {
	case domain == "*":
		if h.hasAny {
			return ErrWildcards
		}
		h.any, h.hasAny = v, true
		return nil
	case strings.HasPrefix(domain, "*"):
		return add(&h.suffixes, domain[1:], v)
	case strings.HasSuffix(domain, "*"):
		return add(&h.prefixes, domain[:len(domain)-1], v)
	}
	if _, dup := h.exact[domain]; dup {
		return ErrDuplicate
	}
	if h.exact == nil {
		h.exact = map[string]V{}
	}
	h.exact[domain] = v
	return nil
}

func add[V any](list *[]wildcard[V], part string, v V) error {
	for _, w := range *list {
		if w.part == part {
			return ErrDuplicate
		}
	}
	*list = append(*list, wildcard[V]{part, v})
	return nil
}

// Sort puts the wildcards in their order; call it after the last Add.
func (h *Hosts[V]) Sort() {
	longest := func(a, b wildcard[V]) int { return cmp.Compare(len(b.part), len(a.part)) }
	slices.SortStableFunc(h.suffixes, longest)
	slices.SortStableFunc(h.prefixes, longest)
}

// Find returns the value of the exact domain, else of the longest "*suffix", else of the longest
// "prefix*", else of "*". A wildcard stands for at least one character. buf is room for a
// lower-case copy.
func (h *Hosts[V]) Find(host, buf []byte) (v V, ok bool) {
	v, _, ok = h.find(host, buf)
	return v, ok
}

// Domain returns the domain by which Find finds a value; empty when there is none.
func (h *Hosts[V]) Domain(host []byte) string {
	_, at, ok := h.find(host, nil)
	switch {
	case !ok:
		return ""
	case at.suffix != nil:
		return "*" + *at.suffix
	case at.prefix != nil:
		return *at.prefix + "*"
	case at.any:
		return "*"
	}
	return strings.ToLower(string(host))
}

// found is which domain fits: the exact one when nothing is set.
type found struct {
	suffix, prefix *string
	any            bool
}

func (h *Hosts[V]) find(host, buf []byte) (v V, at found, ok bool) {
	for i, c := range host {
		if 'A' <= c && c <= 'Z' {
			host = appendLower(append(buf[:0], host[:i]...), host[i:])
			break
		}
	}
	if v, ok = h.exact[string(host)]; ok {
		return v, at, true
	}
	for i := range h.suffixes {
		w := &h.suffixes[i]
		if len(host) > len(w.part) && string(host[len(host)-len(w.part):]) == w.part {
			return w.value, found{suffix: &w.part}, true
		}
	}
	for i := range h.prefixes {
		w := &h.prefixes[i]
		if len(host) > len(w.part) && string(host[:len(w.part)]) == w.part {
			return w.value, found{prefix: &w.part}, true
		}
	}
	return h.any, found{any: true}, h.hasAny
}

func appendLower(out, s []byte) []byte {
	for _, c := range s {
		out = append(out, lower(c))
	}
	return out
}

// WithoutPort returns the host without its port (Envoy HeaderUtility::getPortStart: what follows
// the last colon outside of brackets, digits or not).
func WithoutPort(host []byte) []byte {
	i := bytes.LastIndexByte(host, ':')
	if i < 0 || bytes.LastIndexByte(host, ']') > i || i+1 > len(host) {
		return host
	}
	return host[:i]
}
