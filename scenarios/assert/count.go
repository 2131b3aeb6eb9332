package assert

import (
	"fmt"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Count wants an exact number of records. At a destination each attempt and each copy is one.
type Count struct {
	Where `yaml:",inline"`
	Is    Number `yaml:"is" about:"20, >= 1, <= 3, 1..3"`
}

// Name says what is judged.
func (c *Count) Name() string { return named("count", &c.Where) }

// Validate says what is wrong with the expectation itself.
func (c *Count) Validate() error {
	if !c.Is.Set() {
		return fmt.Errorf("count needs a number: is: 20")
	}
	return c.Where.Validate()
}

// Statistical is false: numbers are exact.
func (c *Count) Statistical() bool { return false }

// Monitor returns a judge. The population is everything, so that a number of 0 is judged as soon as
// anything was recorded at all.
func (c *Count) Monitor(t Terms) Monitor {
	return newCategories(&categories{
		name: c.Name(), of: anything,
		all: []*category{{want: Amount{Number: c.Is}, is: c.Where.Holds}},
	}, t, false)
}

func anything(*observe.Request) bool { return true }

// Never wants no record of a sort at all, from a moment after the step's beginning on if it says
// so.
type Never struct {
	Where `yaml:",inline"`
	After Duration `yaml:"after" about:"counted from so long after the step's beginning"`
}

// Name says what is judged.
func (n *Never) Name() string { return named("never", &n.Where) }

// Validate says what is wrong with the expectation itself.
func (n *Never) Validate() error {
	if n.Where.String() == "" {
		return fmt.Errorf("never needs to know what: at, from, status or flag")
	}
	return n.Where.Validate()
}

// Statistical is false: never is exact.
func (n *Never) Statistical() bool { return false }

// Monitor returns a judge. The population is every record of the same view.
func (n *Never) Monitor(t Terms) Monitor {
	view := n.View()
	after := t.From.Add(time.Duration(n.After))
	of := func(r *observe.Request) bool { return view.Holds(r) && r.Start >= after }
	return newCategories(&categories{
		name: n.Name(), of: of, wanted: "never",
		all: []*category{{want: Amount{Share: Exactly(0)}, is: n.Where.Holds}},
	}, t, false)
}

// Eventually wants at least one record of a sort, within a time from the step's beginning.
type Eventually struct {
	Where  `yaml:",inline"`
	Within Duration `yaml:"within" about:"so long after the step's beginning at the latest"`
}

// Name says what is judged.
func (e *Eventually) Name() string { return named("eventually", &e.Where) }

// Validate says what is wrong with the expectation itself.
func (e *Eventually) Validate() error {
	if e.Where.String() == "" {
		return fmt.Errorf("eventually needs to know what: at, from, status or flag")
	}
	return e.Where.Validate()
}

// Statistical is false: once is enough.
func (e *Eventually) Statistical() bool { return false }

// Monitor returns a judge.
func (e *Eventually) Monitor(t Terms) Monitor {
	wanted, until := "at least once", t.Until
	if e.Within > 0 {
		wanted = "within " + e.Within.String()
		until = t.From.Add(time.Duration(e.Within))
	}
	is := func(r *observe.Request) bool { return r.Start <= until && e.Where.Holds(r) }
	return newCategories(&categories{
		name: e.Name(), of: anything, wanted: wanted,
		all: []*category{{want: Amount{Number: AtLeast(1)}, is: is}},
	}, t, false)
}
