// Package exact replaces what a proxy draws at random for a route by an enumeration: of 1,000
// requests through a route of weights 70 and 30, exactly 700 take the one and 300 the other.
//
//	Of(route) ─▶ []Decision ─┬▶ Enumerator: the draws of each request    (our data plane)
//	                         └▶ Lower: the same in Envoy's own resources  (Lua, header_name,
//	                                                                       range_match)
//
// A decision is what one draw decides: whether a request is aborted, delayed, to which cluster it
// goes, which copies are made. Its outcomes come in the order of a Sequence, evenly spread. Several
// decisions of one route are independent: each has a Sequence of its own for every outcome of those
// before it, so that 10 % aborted and the rest 50/50 are 100, 450 and 450 of 1,000.
//
// It does not touch load balancing: which pod of a cluster gets a request stays what the policy
// says.
package exact

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Name is what the Lua filter, a route's metadata and a request's dynamic metadata go by in Envoy.
const Name = "mesh-lab.exact"

// Kind says what a decision decides.
type Kind uint8

// The kinds, in the order in which they are drawn.
const (
	Abort Kind = iota
	Delay
	Split
	Mirror
	kinds
)

// String returns the kind as headers and records spell it.
func (k Kind) String() string { return [...]string{"abort", "delay", "split", "mirror"}[k] }

// Header is the request header that carries the draw of a kind. A client's own wins over the
// enumeration, when it is a number of at most 15 digits.
func (k Kind) Header() string { return "x-mesh-lab-draw-" + k.String() }

// Decision is one thing that is drawn for each request of a route. A draw lies in [0, Total); the
// outcomes share these numbers out in their order.
type Decision struct {
	Kind   Kind
	Shares []uint64 // of each outcome
}

// Total is the number of draws.
func (d *Decision) Total() uint64 {
	n := uint64(0)
	for _, s := range d.Shares {
		n += s
	}
	return n
}

// random says that more than one outcome can be.
func (d *Decision) random() bool { return d.possible() > 1 }

func (d *Decision) possible() (n int) {
	for _, s := range d.Shares {
		if s > 0 {
			n++
		}
	}
	return n
}

// outcome tells what a draw decides. What lies beyond the end is the last outcome of a decision by
// range_match; header_name takes the remainder (Envoy source/common/router/config_impl.cc
// pickWeightedCluster).
func (d *Decision) outcome(draw uint64) int {
	if d.Kind == Split {
		draw %= d.Total()
	}
	for i, s := range d.Shares {
		if draw < s {
			return i
		}
		draw -= s
	}
	return len(d.Shares) - 1
}

// Draws are the draws of one request.
type Draws struct {
	draws [kinds]uint64
	set   [kinds]bool
	// Keys names for each kind the sequence that its draw belongs to: the draws of one sequence
	// follow each other without a gap. It is not to be changed.
	Keys map[string]string
}

// Of returns the draw of a kind; ok is false when the route has no such decision.
func (d *Draws) Of(k Kind) (draw uint64, ok bool) { return d.draws[k], d.set[k] }

// Enumerator enumerates the draws of one route at one proxy. It is safe for concurrent use.
type Enumerator struct {
	id        string
	decisions []Decision

	mu   sync.Mutex
	root *node
}

// node is the sequence of one decision after certain outcomes of those before it.
type node struct {
	key  string // of the sequence
	seq  *Sequence
	next []*node
	keys map[string]string // of the leaf: all on the way
}

// NewEnumerator returns the enumerator of a route's decisions, as Of found them.
func NewEnumerator(id string, decisions []Decision) *Enumerator {
	e := &Enumerator{id: id, decisions: decisions}
	e.root = e.node(0, nil, nil)
	return e
}

// Decisions are what is enumerated.
func (e *Enumerator) Decisions() []Decision { return e.decisions }

func (e *Enumerator) node(level int, before []string, keys map[string]string) *node {
	if level == len(e.decisions) {
		return &node{keys: keys}
	}
	d := &e.decisions[level]
	key := e.id
	if len(before) > 0 {
		key += "/" + strings.Join(before, ".")
	}
	return &node{key: key, seq: NewSequence(d.Shares), next: make([]*node, len(d.Shares))}
}

// Next returns the next request's draws. By tells a draw that the request itself brings.
func (e *Enumerator) Next(by func(Kind) (draw uint64, ok bool)) Draws {
	var out Draws
	var before [kinds]int
	e.mu.Lock()
	defer e.mu.Unlock()
	n, asked := e.root, false
	for i := range e.decisions {
		d := &e.decisions[i]
		draw, ok := by(d.Kind)
		if asked = asked || ok; !ok {
			draw = n.seq.Next()
		}
		out.draws[d.Kind], out.set[d.Kind] = draw, true
		o := d.outcome(draw)
		before[i] = o
		if n.next[o] == nil {
			n.next[o] = e.child(before[:i+1])
		}
		n = n.next[o]
	}
	if !asked {
		out.Keys = n.keys
	}
	return out
}

// child makes the node after these outcomes.
func (e *Enumerator) child(outcomes []int) *node {
	var before []string
	keys := map[string]string{}
	n := e.root
	for i, o := range outcomes {
		keys[e.decisions[i].Kind.String()] = n.key
		before = append(before, strconv.Itoa(o))
		n = n.next[o]
	}
	return e.node(len(outcomes), before, keys)
}

// ParseDraw reads a draw that a request brings: 1 to 15 decimal digits, which Lua's numbers hold.
// Whatever else stands there is as if nothing did.
func ParseDraw(v []byte) (draw uint64, ok bool) {
	if len(v) == 0 || len(v) > 15 || slices.ContainsFunc(v, func(c byte) bool {
		return c < '0' || c > '9'
	}) {
		return 0, false
	}
	for _, c := range v {
		draw = draw*10 + uint64(c-'0')
	}
	return draw, true
}

// Keys reads the sequences of a request's draws from the dynamic metadata that Envoy's access log
// carries for it.
func Keys(m *corev3.Metadata) map[string]string {
	fields := m.GetFilterMetadata()[Name].GetFields()
	if len(fields) == 0 {
		return nil
	}
	out := make(map[string]string, len(fields))
	for k, v := range fields {
		out[k] = v.GetStringValue()
	}
	return out
}
