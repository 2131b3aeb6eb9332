// Package sent carries the records of a proxy in another process to the process that keeps the
// History: in order, each once, in batches. What there is no room for is counted and told, never
// dropped silently.
//
//	proxy ─▶ Sender ── batches ──▶ Receiver ─▶ observe.Recorder
//	                ◀─ acks, "has all that ended been sent?" ─
//
// Each direction is a stream of gob values: hello, then batch after batch; and answer after answer.
// Both ends are the same program; a version that differs is refused.
package sent

import (
	"fmt"
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

const version = 1

// hello is the sender's first value on a connection.
type hello struct {
	Version  int
	Token    string
	Node     string // POD.NAMESPACE
	Instance uint64 // drawn anew by each process
	Epoch    int64  // the kernel's monotonic time at the sender's Instant 0, in ns
}

// batch is what has gathered since the batch before.
type batch struct {
	Seq      uint64 // from 1, without gaps
	Requests []observe.Request
	Changes  []observe.Change
	Pushes   []observe.Push
	Lines    []line
	Lost     uint64   // records and lines that there was no room for, since the process began
	Answers  []answer // to questions: all before is in this batch or an earlier one
}

// line is one of an access log.
type line struct {
	Path string
	Text []byte
}

// answer is what a sender says to a question.
type answer struct {
	To    uint64
	Error string // why what has ended may not all be there
}

// reply is what the receiver says.
type reply struct {
	Ack     uint64 // this batch and those before it are kept
	Ask     uint64 // question: has all that ended been sent? 0: none
	Refused string // why the connection ends
}

func (b *batch) size() int {
	return len(b.Requests) + len(b.Changes) + len(b.Pushes) + len(b.Lines)
}

// shift moves the batch's instants from one time line to another. Instants that are not set stay.
func (b *batch) shift(d time.Duration) {
	move := func(i *clock.Instant) {
		if *i != 0 {
			*i = i.Add(d)
		}
	}
	for i := range b.Requests {
		r := &b.Requests[i]
		r.Start = r.Start.Add(d) // 0 is when the process began
		for _, list := range [][]observe.Attempt{r.Attempts, r.Mirrors} {
			for j := range list {
				move(&list[j].Start)
			}
		}
	}
	for i := range b.Changes {
		b.Changes[i].At = b.Changes[i].At.Add(d)
	}
	for i := range b.Pushes {
		move(&b.Pushes[i].At)
		move(&b.Pushes[i].Acked)
	}
}

// kept is a record that outlives the call.
func kept(r *observe.Request) observe.Request {
	k := *r
	k.Attempts, k.Mirrors = slices.Clone(r.Attempts), slices.Clone(r.Mirrors)
	return k
}

// LostError says that there was no room for some of a sender's records.
type LostError struct {
	Node string
	N    uint64
}

// Error says how many.
func (e *LostError) Error() string {
	return fmt.Sprintf("proxy %s: %d records are lost: they came faster than they could be sent",
		e.Node, e.N)
}

// Epoch returns the kernel's monotonic time at a clock's Instant 0, in nanoseconds: processes on
// one kernel agree on it. 0 where the kernel can not be asked.
func Epoch(c clock.Clock) int64 {
	best, width := int64(0), int64(1<<62)
	for range 5 { // the read with the least in between
		before := monotonic()
		now := c.Now()
		if after := monotonic(); after-before < width {
			width, best = after-before, before+(after-before)/2-int64(now)
		}
	}
	if monotonic() == 0 {
		return 0
	}
	return best
}
