package assert

import (
	"fmt"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// category is one sort of request and its wanted share or number.
type category struct {
	name string
	want Amount
	is   func(*observe.Request) bool

	share *Proportion // judges want.Share
	seen  evidence    // for want.Number
	n     int64
}

// categories judges several shares or numbers of one population of records together. The part of
// α is divided over the statistical shares (Bonferroni), so that all intervals hold together.
type categories struct {
	unchanged
	name   string
	of     func(*observe.Request) bool // the population
	all    []*category
	rest   *category // requests of no category, when none is left for them
	n      int64
	wanted string // printed; empty: made from the categories

	exact     *enumerated // of shares that a proxy may have enumerated; else nil
	tolerance float64     // for these
}

// newCategories prepares the judges. With exclusive categories whose shares add up to 100 %, a
// request of no category is stray, and of two shares one suffices: the other is its complement.
func newCategories(c *categories, t Terms, exclusive bool) *categories {
	total, statistical := 0.0, 0
	for _, k := range c.all {
		if k.want.Share.Set() {
			total += k.want.Share.Low
			if !k.want.Share.Exact() {
				statistical++
			}
		}
	}
	closed := exclusive && total > 1-1e-9
	if closed {
		c.rest = &category{name: "other", want: Amount{Share: Exactly(0)}}
		c.rest.share = NewProportion(c.rest.want.Share, t)
	}
	if closed && statistical == 2 {
		statistical = 1
	}
	t.Alpha /= float64(max(1, statistical))
	for i, k := range c.all {
		complement := closed && statistical == 1 && i < len(c.all)-1 && !k.want.Share.Exact()
		if k.want.Share.Set() && !complement {
			k.share = NewProportion(k.want.Share, t)
		}
	}
	return c
}

// Request counts a record of the population in its categories.
func (c *categories) Request(r *observe.Request) {
	in := c.of(r)
	if c.exact != nil && r.Reporter == observe.Source {
		c.exact.add(r, in, categoryOf(c.all, r), len(c.all))
	}
	if !in {
		return
	}
	c.n++
	stray := true
	for _, k := range c.all {
		hit := k.is(r)
		if hit {
			k.n++
			k.seen.add(r)
			stray = false
		}
		if k.share != nil {
			k.share.Add(hit, r)
		}
	}
	if c.rest != nil {
		if stray {
			c.rest.n++
		}
		c.rest.share.Add(stray, r)
	}
}

func (k *category) state(final bool, n int64) Outcome {
	switch {
	case k.share != nil && final:
		return k.share.Outcome()
	case k.share != nil:
		return k.share.State()
	case k.want.Share.Set():
		return Pass // the complement of another
	case k.n > k.want.Number.High:
		return Fail
	case k.want.Number.Holds(k.n):
		return Pass
	case final && n > 0:
		return Fail
	}
	return Inconclusive
}

// State says whether all categories are decided.
func (c *categories) State() Outcome { return c.outcome(false) }

func (c *categories) outcome(final bool) Outcome {
	if c.n == 0 {
		return Inconclusive
	}
	worst := Pass
	for _, k := range c.judged() {
		worst = Worst(worst, k.state(final, c.n))
	}
	return worst
}

// judged lists the categories, the rest last.
func (c *categories) judged() []*category {
	if c.rest == nil {
		return c.all
	}
	return append(c.all[:len(c.all):len(c.all)], c.rest)
}

// Verdict judges all categories; its interval and reason are those of the one that decided.
func (c *categories) Verdict() Verdict {
	v := Verdict{Name: c.name, Wanted: c.wanted, Observed: c.observed(), Samples: c.n}
	if v.Wanted == "" {
		v.Wanted = c.wants()
	}
	if c.n == 0 {
		v.Reason = "no request was seen that it could be judged by"
		return v
	}
	whole := c.rest != nil || len(c.all) == 1
	if c.exact != nil && whole && c.exact.judge(&v, c.all, c.tolerance) {
		return v
	}
	k := c.decisive()
	if k.share != nil {
		k.share.fill(&v)
		v.Of = k.name
	} else if k.state(true, c.n) == Fail {
		k.seen.show(&v)
		v.Reason = fmt.Sprintf("%s instead of %s", count(k.n), k.want.Number)
	}
	v.Outcome = c.outcome(true)
	if v.Reason != "" && k.name != "" {
		v.Reason = k.name + ": " + v.Reason
	}
	return v
}

// decisive returns the category that the outcome hangs on: a failed one, an undecided one, or the
// one that is known least.
func (c *categories) decisive() *category {
	best, rank := c.all[0], -1.0
	for _, k := range c.judged() {
		r := 0.0
		switch k.state(true, c.n) {
		case Fail:
			r = 3
		case Inconclusive:
			r = 2
		default:
			if k.share != nil && !k.share.want.Exact() {
				r = 1 + k.share.Drift()/2
			} else if k.share != nil && k != c.rest {
				r = 0.5
			}
		}
		if r > rank {
			best, rank = k, r
		}
	}
	return best
}

func (c *categories) observed() string {
	var parts []string
	for _, k := range c.judged() {
		if k == c.rest && k.n == 0 {
			continue
		}
		value := count(k.n)
		switch {
		case k.want.Share.Set() && k.want.Share.Exact() && k.n == c.n && k.name == "":
			value = "100 %"
		case k.want.Share.Set() && k.want.Share.Exact():
			value += " of " + count(c.n)
		case k.want.Share.Set() && c.n > 0:
			value = pct(float64(k.n) / float64(c.n))
		}
		parts = append(parts, strings.TrimSpace(k.name+" "+value))
	}
	return strings.Join(parts, "  ")
}

// wants prints what is wanted: "90 / 10 ± 5" for shares that add up, else each by itself.
func (c *categories) wants() string {
	var parts []string
	tolerance := 0.0
	for _, k := range c.all {
		s := k.want.Share
		if c.rest == nil || len(c.all) < 2 || s.Low != s.High {
			return c.eachWanted()
		}
		parts = append(parts, decimals(100*s.Low))
		if k.share != nil && !s.Exact() {
			tolerance = max(tolerance, k.share.want.Tolerance)
		}
	}
	text := strings.Join(parts, " / ")
	if tolerance > 0 {
		text += " ± " + points(tolerance)
	}
	return text
}

func (c *categories) eachWanted() string {
	var parts []string
	for _, k := range c.all {
		want := k.want
		if k.share != nil && !want.Share.Exact() {
			want.Share = k.share.want
		}
		parts = append(parts, strings.TrimSpace(k.name+" "+want.String()))
	}
	return strings.Join(parts, ", ")
}

// statistical says whether any of the amounts is a share that must be estimated.
func statistical(all ...Amount) bool {
	for _, a := range all {
		if a.Share.Set() && !a.Share.Exact() {
			return true
		}
	}
	return false
}
