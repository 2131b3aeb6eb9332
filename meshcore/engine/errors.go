package engine

import (
	"slices"
	"strings"
)

// Refusal says why one resource is not taken.
type Refusal struct {
	Type   string // type URL
	Name   string // resource
	Field  string // path of the field: virtual_hosts[2].routes[0].match.grpc
	Reason string
	// Proto says that the rules in the protos are broken, so that Envoy refuses the whole response
	// that the resource came in.
	Proto bool
}

// Error gives the refusal as Envoy words its own: the resource, the field and the reason.
func (r Refusal) Error() string {
	short := r.Type[strings.LastIndexByte(r.Type, '.')+1:]
	if r.Field == "" {
		return short + " " + r.Name + ": " + r.Reason
	}
	return short + " " + r.Name + ": " + r.Field + ": " + r.Reason
}

// Refusals is the error of Check and Update: every refused resource, by type and name.
type Refusals []Refusal

// Error joins the refusals, one a line.
func (r Refusals) Error() string {
	lines := make([]string, len(r))
	for i := range r {
		lines[i] = r[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Whole says whether the whole response is to be refused that the resource came in, or this
// resource alone.
func (r Refusals) Whole() bool {
	return slices.ContainsFunc(r, func(f Refusal) bool { return f.Proto })
}

// Of returns the refusals of one type URL: what a NACK of that type says.
func (r Refusals) Of(typeURL string) Refusals {
	var out Refusals
	for _, f := range r {
		if f.Type == typeURL {
			out = append(out, f)
		}
	}
	return out
}
