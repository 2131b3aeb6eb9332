package assert

import (
	"fmt"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Headers wants every request to have request headers, as the destination (or where) sees them.
type Headers struct {
	At    string `yaml:"at" about:"the service, workload or pod that receives them"`
	Where Where  `yaml:"where" about:"which requests; all of them unless said"`
	Pairs Pairs  `yaml:",inline" about:"x-user: jason; \"*\" is any value, \"-\" is none"`
}

// Name says what is judged.
func (h *Headers) Name() string { return "headers at " + h.At }

// Validate says what is wrong with the expectation itself.
func (h *Headers) Validate() error {
	if h.At == "" || len(h.Pairs) == 0 {
		return fmt.Errorf("headers needs a destination and headers: {at: ratings, x-user: jason}")
	}
	where := h.Where
	where.At = h.At
	return where.Validate()
}

// Headers returns the request headers that records must keep.
func (h *Headers) Headers() []string {
	w := Where{Header: h.Pairs}
	return append(h.Where.Headers(), w.Headers()...)
}

// Statistical is false: each request has them.
func (h *Headers) Statistical() bool { return false }

// Monitor returns a judge.
func (h *Headers) Monitor(t Terms) Monitor {
	where := h.Where
	where.At = h.At
	var wanted []string
	for _, p := range h.Pairs {
		wanted = append(wanted, p.Name+": "+p.Value)
	}
	is := func(r *observe.Request) bool {
		for _, p := range h.Pairs {
			if !p.holds(r.Headers[strings.ToLower(p.Name)]) {
				return false
			}
		}
		return true
	}
	return newCategories(&categories{
		name: h.Name(), of: where.Holds, wanted: strings.Join(wanted, ", "),
		all: []*category{{want: Amount{Share: Exactly(1)}, is: is}},
	}, t, false)
}

// Mirrored wants a share of the requests to a service to be copied to another destination.
type Mirrored struct {
	Service   string `yaml:"service" about:"where the requests themselves go"`
	To        string `yaml:"to" about:"where the copies go: service, workload, version or pod"`
	Share     Share  `yaml:"share" about:"share of requests that are copied; 100% unless said"`
	Where     Where  `yaml:"where" about:"which requests; all of them unless said"`
	Tolerance Points `yaml:"tolerance" about:"how far the share may be off; 5% unless said"`
}

// Name says what is judged.
func (m *Mirrored) Name() string { return fmt.Sprintf("mirrored %s to %s", m.Service, m.To) }

// Validate says what is wrong with the expectation itself.
func (m *Mirrored) Validate() error {
	if m.Service == "" || m.To == "" {
		return fmt.Errorf("mirrored needs service and to")
	}
	where := m.Where
	where.To = m.Service
	return where.Validate()
}

func (m *Mirrored) want() Share {
	if m.Share.Set() {
		return m.Share
	}
	return Exactly(1)
}

// Statistical says whether it takes a part of α.
func (m *Mirrored) Statistical() bool { return !m.want().Exact() }

// Monitor returns a judge.
func (m *Mirrored) Monitor(t Terms) Monitor {
	if m.Tolerance > 0 {
		t.Tolerance = float64(m.Tolerance)
	}
	where := m.Where
	where.To = m.Service
	is := func(r *observe.Request) bool {
		for i := range r.Mirrors {
			a := &r.Mirrors[i]
			if a.Version == m.To || a.Pod == m.To || strings.HasPrefix(a.Pod, m.To+"-") ||
				isService(m.To, a.Cluster) {
				return true
			}
		}
		return false
	}
	return newCategories(&categories{
		name: m.Name(), of: where.Holds, exact: &enumerated{kind: "mirror"}, tolerance: t.Tolerance,
		all: []*category{{want: Amount{Share: m.want()}, is: is}},
	}, t, false)
}
