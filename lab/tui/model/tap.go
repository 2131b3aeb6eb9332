package model

import (
	"slices"

	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// tap keeps the last records of requests, all of them, and of those before, as far back as one may
// step, whole requests, one in so many.
type tap struct {
	last  []observe.Request // a ring
	next  int
	old   []observe.Request // the oldest first
	every int               // of old
}

func (t *tap) add(q *observe.Request) {
	if len(t.last) < tapped {
		t.last = append(t.last, *q)
		return
	}
	t.retire(&t.last[t.next])
	t.last[t.next] = *q
	t.next = (t.next + 1) % tapped
}

// retire takes a record that is none of the last any more.
func (t *tap) retire(q *observe.Request) {
	if !feed.Kept(q, t.every) {
		return
	}
	if len(t.old) == tapped {
		since := q.Start - clock.Instant(Memory)
		t.old = slices.DeleteFunc(t.old, func(r observe.Request) bool { return r.Start < since })
		switch n := len(t.old); {
		case n > tapped/2:
			t.every *= 2
			t.old = slices.DeleteFunc(t.old, func(r observe.Request) bool {
				return !feed.Kept(&r, t.every)
			})
		case n < tapped/8 && t.every > 1:
			t.every /= 2
		}
		if t.every > 1<<20 { // records that name no request are all kept, or none
			t.every, t.old = 1, t.old[:0]
		}
	}
	t.old = append(t.old, *q)
}

// newest calls f for each record, the newest first, until it returns false; the record stands for
// so many.
func (t *tap) newest(f func(r *observe.Request, many int) bool) {
	n := len(t.last)
	for i := range n {
		if !f(&t.last[(t.next+2*n-1-i)%n], 1) {
			return
		}
	}
	for i := len(t.old) - 1; i >= 0; i-- {
		if !f(&t.old[i], t.every) {
			return
		}
	}
}
