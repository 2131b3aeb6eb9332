package assert

import (
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// faulted is a Monitor that looks at what was broken. Faults come before requests and changes.
type faulted interface{ fault(*observe.Fault) }

// lasting keeps the faults of a step that took effect, or those of one name.
type lasting struct {
	name  string // Name or Kind of the faults; empty: all
	terms Terms
	all   []observe.Fault
}

// fault takes a fault that lasts while the step does. One that was skipped broke nothing.
func (l *lasting) fault(f *observe.Fault) {
	over := f.Until != 0 && f.Until <= l.terms.From
	if f.Skipped == "" && f.From < l.terms.Until && !over &&
		(l.name == "" || l.name == f.Name || l.name == f.Kind) {
		l.all = append(l.all, *f)
	}
}

// fired says that one of them took effect.
func (l *lasting) fired() bool {
	for i := range l.all {
		if l.all[i].Fired > 0 {
			return true
		}
	}
	return false
}

// began is when the first of them took effect, or was there to; Never without one.
func (l *lasting) began() clock.Instant {
	first := clock.Never
	for i := range l.all {
		first = min(first, max(l.all[i].From, l.all[i].First))
	}
	return first
}

// healed is when the last of them was over; ok is false while one lasts, and without any.
func (l *lasting) healed() (at clock.Instant, ok bool) {
	for i := range l.all {
		if f := &l.all[i]; f.Until == 0 || f.Until >= l.terms.Until {
			return 0, false
		}
		at = max(at, l.all[i].Until)
	}
	return at, len(l.all) > 0
}

// failedTry says that a try got no answer, or one that tells of a failure.
func failedTry(a *observe.Attempt) bool {
	return a.Status >= 500 || a.Status == 0 || a.Flags != ""
}
