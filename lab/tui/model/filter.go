package model

import (
	"strconv"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Filter chooses records of requests: every term must hold. A term is a status (503, 5xx), one of
// Envoy's flags (UO), a path (/reviews), or part of a workload's or service's name; with a key it
// is about that alone: status:, flag:, path:, from:, to:, version:, method:, id:. An exclamation
// mark turns a term around.
type Filter []term

type term struct {
	key, value string
	not        bool
}

// ParseFilter reads a filter; there is none that is wrong.
func ParseFilter(text string) Filter {
	var f Filter
	for w := range strings.FieldsSeq(text) {
		t := term{}
		w, t.not = strings.CutPrefix(w, "!")
		if k, v, ok := strings.Cut(w, ":"); ok {
			t.key, w = strings.ToLower(k), v
		}
		if t.value = w; w != "" {
			f = append(f, t)
		}
	}
	return f
}

// holds says whether a record is chosen.
func (f Filter) holds(m *Model, r *observe.Request) bool {
	for _, t := range f {
		if t.holds(m, r) == t.not {
			return false
		}
	}
	return true
}

func (t *term) holds(m *Model, r *observe.Request) bool {
	switch t.key {
	case "status":
		return status(r, t.value)
	case "flag":
		return HasFlag(r, strings.ToUpper(t.value))
	case "path":
		return strings.Contains(r.Path, t.value)
	case "from":
		return has(m.Caller(r), t.value) || has(r.Workload, t.value)
	case "to":
		return has(Destination(r), t.value) || has(r.Dest.Workload, t.value)
	case "version":
		return r.Dest.Version == t.value
	case "method":
		return strings.EqualFold(r.Method, t.value)
	case "id":
		return has(r.ID, t.value)
	}
	return status(r, t.value) || strings.Contains(r.Path, t.value) ||
		HasFlag(r, strings.ToUpper(t.value)) || has(m.Caller(r), t.value) ||
		has(Destination(r), t.value) || has(r.Workload, t.value) ||
		has(r.Dest.Workload, t.value) || has(r.ID, t.value)
}

func has(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

// status says whether a record's status is 503, or 5xx.
func status(r *observe.Request, want string) bool {
	got := strconv.Itoa(r.Status)
	if len(want) != len(got) {
		return false
	}
	for i := range got {
		if want[i] != got[i] && want[i] != 'x' && want[i] != 'X' {
			return false
		}
	}
	return true
}

// Row is a record of a request, with who called whom.
type Row struct {
	observe.Request
	From, To string
}

// Tap returns the callers' records that a filter chooses, of requests that had ended at a moment,
// the newest first, at most n.
func (m *Model) Tap(f Filter, t clock.Instant, n int) []Row {
	var out []Row
	m.tap.newest(func(r *observe.Request, _ int) bool {
		if r.Reporter == observe.Source && r.Start+clock.Instant(r.Duration) <= t && f.holds(m, r) {
			out = append(out, Row{*r, m.Caller(r), Destination(r)})
		}
		return len(out) < n
	})
	return out
}

// Hops returns the records of one request, in the order in which its proxies saw it.
func (m *Model) Hops(id string) []observe.Request {
	var out []observe.Request
	m.tap.newest(func(r *observe.Request, _ int) bool {
		if r.ID == id {
			out = append(out, *r)
		}
		return true
	})
	for i := range out {
		for j := i; j > 0 && out[j].Start < out[j-1].Start; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}
