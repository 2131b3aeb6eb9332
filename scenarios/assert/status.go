package assert

import (
	"fmt"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Success wants a share of the requests to be answered with 2xx or 3xx, as the client sees it
// unless where says otherwise.
type Success struct {
	Share     Share  `yaml:"share" scalar:"true" about:"100%, >= 99%"`
	Where     Where  `yaml:"where" about:"which requests; the load's unless said"`
	Tolerance Points `yaml:"tolerance" about:"how far the share may be off; 5% unless said"`
}

// Name says what is judged.
func (s *Success) Name() string { return named("success", &s.Where) }

// Validate says what is wrong with the expectation itself.
func (s *Success) Validate() error {
	if !s.Share.Set() {
		return fmt.Errorf("success needs a share: 100%%")
	}
	return s.Where.Validate()
}

// Statistical says whether it takes a part of α.
func (s *Success) Statistical() bool { return !s.Share.Exact() }

// Monitor returns a judge.
func (s *Success) Monitor(t Terms) Monitor {
	if s.Tolerance > 0 {
		t.Tolerance = float64(s.Tolerance)
	}
	return newCategories(&categories{
		name: s.Name(), of: s.Where.Holds,
		all: []*category{{want: Amount{Share: s.Share}, is: succeeded}},
	}, t, false)
}

func succeeded(r *observe.Request) bool { return r.Status >= 200 && r.Status < 400 }

// Status wants shares or numbers of statuses, as the client sees them unless where says otherwise.
type Status struct {
	Where     Where   `yaml:"where" about:"which requests; the load's unless said"`
	Tolerance Points  `yaml:"tolerance" about:"how far a share may be off; 5% unless said"`
	Amounts   Amounts `yaml:",inline" about:"share or number of each status: 503: 30%"`
}

// Name says what is judged.
func (s *Status) Name() string { return named("status", &s.Where) }

// Validate says what is wrong with the expectation itself.
func (s *Status) Validate() error {
	if len(s.Amounts) == 0 {
		return fmt.Errorf("status needs statuses: 503: 30%%")
	}
	total := 0.0
	for _, n := range s.Amounts {
		var r StatusRange
		if err := r.UnmarshalText([]byte(n.Name)); err != nil {
			return err
		}
		total += n.Amount.Share.Low
	}
	if total > 1+1e-9 {
		return fmt.Errorf("shares add up to %s", pct(total))
	}
	return s.Where.Validate()
}

// Statistical says whether it takes a part of α.
func (s *Status) Statistical() bool { return s.Amounts.statistical() }

func (a Amounts) statistical() bool {
	for _, n := range a {
		if statistical(n.Amount) {
			return true
		}
	}
	return false
}

// Monitor returns a judge.
func (s *Status) Monitor(t Terms) Monitor {
	if s.Tolerance > 0 {
		t.Tolerance = float64(s.Tolerance)
	}
	c := &categories{name: s.Name(), of: s.Where.Holds}
	for _, n := range s.Amounts {
		var want StatusRange
		if err := want.UnmarshalText([]byte(n.Name)); err != nil {
			panic("assert: status not validated: " + n.Name)
		}
		c.all = append(c.all, &category{
			name: n.Name, want: n.Amount,
			is: func(r *observe.Request) bool { return Statuses{want}.Holds(r.Status) },
		})
	}
	return newCategories(c, t, true)
}

// Flags wants shares or numbers of Envoy response flags, as the callers' sidecars report them.
type Flags struct {
	Where     Where   `yaml:"where" about:"which requests: from and to, usually"`
	Tolerance Points  `yaml:"tolerance" about:"how far a share may be off; 5% unless said"`
	Amounts   Amounts `yaml:",inline" about:"share or number of each flag: UO: 30%, FI: 12"`
}

// Name says what is judged.
func (f *Flags) Name() string { return named("flags", &f.Where) }

// Validate says what is wrong with the expectation itself.
func (f *Flags) Validate() error {
	if len(f.Amounts) == 0 {
		return fmt.Errorf("flags needs flags: UO: 30%%")
	}
	if f.Where.View() == ClientView {
		return fmt.Errorf("only sidecars report flags: " +
			"add where: {from: WORKLOAD} or {at: WORKLOAD}")
	}
	return f.Where.Validate()
}

// Statistical says whether it takes a part of α.
func (f *Flags) Statistical() bool { return f.Amounts.statistical() }

// Monitor returns a judge.
func (f *Flags) Monitor(t Terms) Monitor {
	if f.Tolerance > 0 {
		t.Tolerance = float64(f.Tolerance)
	}
	c := &categories{name: f.Name(), of: f.Where.Holds}
	for _, n := range f.Amounts {
		c.all = append(c.all, &category{
			name: n.Name, want: n.Amount,
			is: func(r *observe.Request) bool { return hasFlag(r.Flags, n.Name) },
		})
	}
	if kind := map[string]string{"FI": "abort", "DI": "delay"}[c.all[0].name]; kind != "" {
		c.exact, c.tolerance = &enumerated{kind: kind}, t.Tolerance
	}
	return newCategories(c, t, false)
}

func named(what string, w *Where) string {
	if s := w.String(); s != "" {
		return what + " " + s
	}
	return what
}
