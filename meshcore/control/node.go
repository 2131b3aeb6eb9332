package control

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// node is one proxy: what it is to have, and the stream on which it asks. Server.mu guards it.
type node struct {
	key       string
	present   bool // the last Set has it
	served    sets // what it is to have now
	settledAt sets // what it had when it last had ACKed everything
	target    sets // what the last Set would have it have
	stream    *stream
}

// stream is one ADS stream of a proxy, state of the world or delta. Server.mu guards it.
type stream struct {
	node  *node
	delta bool
	wake  chan struct{} // holds a token when something may be due
	gone  chan struct{} // closed when a newer stream of the same node takes its place
	subs  [kinds]subscription
	owed  map[string]bool // endpoints to be sent when they are asked for, had the proxy them or not
	nonce uint64
	leave [kinds]clock.Instant // when a response that is due may leave, in Trouble; 0: not known
}

// subscription is what a stream asked for of one kind, and what it was told.
type subscription struct {
	active   bool            // the proxy asked for this kind
	wildcard bool            // it asked for everything
	names    map[string]bool // it asked for these
	// known holds the versions that the proxy was sent, or said to have; "" where it was told that
	// there is no such resource.
	known    map[string]string
	dirty    bool // something may have changed since the last look
	force    bool // answer even without a change
	inFlight *reply
	nonce    string   // of the last response
	rejected []string // names in the last response, where that was refused

	sent, acked string // versions
	nack        string // reason; empty after an ACK
}

// reply is one response.
type reply struct {
	kind      kind
	nonce     string
	version   string
	of        *set
	resources []named
	removed   []string
	at        clock.Instant
}

type named struct {
	name string
	*resource
}

// live reports whether st is its node's stream.
func (st *stream) live() bool { return st.node != nil && st.node.stream == st }

func (s *subscription) wants(name string) bool { return s.wildcard || s.names[name] }

func (st *stream) signal() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// serve gives the node a new set of a kind; it reports whether that is a change.
func (n *node) serve(k kind, to *set) bool {
	if sameSet(n.served[k], to) {
		return false
	}
	n.served[k] = to
	if n.stream != nil {
		n.stream.subs[k].dirty = true
	}
	return true
}

// due reports whether a response of kind k must be sent, were none in flight.
func (st *stream) due(k kind) bool {
	sub, of := &st.subs[k], st.node.served[k]
	if !sub.active || of == nil || !sub.dirty && !sub.force {
		return false
	}
	if sub.nack != "" && sub.inFlight == nil && !st.refusalStands(k) {
		st.lift(k)
	}
	if sub.force || st.differs(k) {
		return true
	}
	sub.dirty = false
	return false
}

// refusalStands reports whether the proxy is to have still just what it refused.
func (st *stream) refusalStands(k kind) bool {
	sub, of := &st.subs[k], st.node.served[k]
	for _, name := range sub.rejected {
		r := of.byName[name]
		v, told := sub.known[name]
		if r == nil && told && v != "" || r != nil && (!sub.wants(name) || v != r.version) {
			return false
		}
	}
	return true
}

// lift forgets a refusal. Of what was refused, the proxy may have dropped the good as well.
func (st *stream) lift(k kind) {
	sub, of := &st.subs[k], st.node.served[k]
	for _, name := range sub.rejected {
		if of.byName[name] != nil {
			delete(sub.known, name)
		}
	}
	sub.nack = ""
	if !st.differs(k) {
		sub.sent = sub.acked // nothing that it refused is wanted any more
	}
}

// differs reports whether the proxy's resources of kind k are not what they should be.
func (st *stream) differs(k kind) bool {
	sub, of := &st.subs[k], st.node.served[k]
	if sub.wildcard {
		for name, r := range of.byName {
			if v, ok := sub.known[name]; !ok || v != r.version {
				return true
			}
		}
	} else {
		for name := range sub.names {
			r := of.byName[name]
			v, told := sub.known[name]
			switch {
			case r != nil && (!told || v != r.version):
				return true
			case r == nil && !told && st.delta: // it must hear that there is no such resource
				return true
			}
		}
	}
	// A removal can be said in delta, and of everything in the state of the world.
	if !st.delta && !sub.wildcard {
		return false
	}
	for name, v := range sub.known {
		if v != "" && of.byName[name] == nil {
			return true
		}
	}
	return false
}

// next makes the next response that is due, in the order of kinds, or returns nil. One response of
// each kind is in flight at most: a slow proxy skips what has been overtaken. held says which kinds
// have to wait; nil: none.
func (st *stream) next(now clock.Instant, held func(kind) bool) *reply {
	if !st.live() {
		return nil
	}
	for k := range kinds {
		if st.subs[k].inFlight != nil || !st.due(k) || held != nil && held(k) {
			continue
		}
		st.leave[k] = 0
		st.nonce++
		r := &reply{kind: k, of: st.node.served[k], at: now}
		r.nonce = strconv.FormatUint(st.nonce, 10)
		if st.delta {
			st.fillDelta(r)
		} else {
			st.fillWorld(r)
		}
		if k == cds {
			st.repeatEndpoints(r)
		}
		st.note(r)
		return r
	}
	return nil
}

// fillWorld puts in everything that the proxy asked for.
func (st *stream) fillWorld(r *reply) {
	sub := &st.subs[r.kind]
	for name, x := range r.of.byName {
		if sub.wants(name) {
			r.resources = append(r.resources, named{name, x})
		}
	}
	slices.SortFunc(r.resources, func(a, b named) int { return cmp.Compare(a.name, b.name) })
	r.version = r.of.version()
	if !sub.wildcard {
		byName := make(map[string]*resource, len(r.resources))
		for _, x := range r.resources {
			byName[x.name] = x.resource
		}
		r.version = newSet(byName).version()
	}
}

// fillDelta puts in what the proxy lacks, and what it was sent and refused together with others:
// Envoy may have dropped the good ones of a refused response too.
func (st *stream) fillDelta(r *reply) {
	sub := &st.subs[r.kind]
	again := make(map[string]bool, len(sub.rejected))
	for _, name := range sub.rejected {
		again[name] = true
	}
	for name, x := range r.of.byName {
		v, told := sub.known[name]
		if sub.wants(name) && (!told || v != x.version || again[name]) {
			r.resources = append(r.resources, named{name, x})
		}
	}
	slices.SortFunc(r.resources, func(a, b named) int { return cmp.Compare(a.name, b.name) })
	for name, v := range sub.known {
		if r.of.byName[name] == nil && v != "" {
			r.removed = append(r.removed, name)
		}
	}
	for name := range sub.names {
		if _, told := sub.known[name]; !told && r.of.byName[name] == nil {
			r.removed = append(r.removed, name)
		}
	}
	for _, name := range sub.rejected {
		if r.of.byName[name] == nil {
			r.removed = append(r.removed, name)
		}
	}
	slices.Sort(r.removed)
	r.removed = slices.Compact(r.removed)
	r.version = r.of.version()
}

// repeatEndpoints has the endpoints of clusters that change sent again after them. An updated
// cluster warms in Envoy until an EDS response comes, and Envoy does not ask for it anew: the name
// is subscribed already (source/common/config/watch_map.cc).
func (st *stream) repeatEndpoints(r *reply) {
	c, e := &st.subs[cds], &st.subs[eds]
	for _, x := range r.resources {
		if v, told := c.known[x.name]; told && v == x.version && c.nack == "" && !st.delta {
			continue // one of the whole set that stays as it is
		}
		for _, ref := range x.refs[eds] {
			if !e.active { // a proxy that comes back will say that it has them
				if st.owed == nil {
					st.owed = map[string]bool{}
				}
				st.owed[ref] = true
			}
			if _, told := e.known[ref]; told {
				delete(e.known, ref)
				e.dirty = true
			}
		}
	}
}

// note records that r is being sent.
func (st *stream) note(r *reply) {
	sub := &st.subs[r.kind]
	if sub.known == nil {
		sub.known = make(map[string]string, len(r.resources))
	}
	if !st.delta && sub.wildcard {
		clear(sub.known)
	}
	for _, x := range r.resources {
		sub.known[x.name] = x.version
	}
	for _, name := range r.removed {
		if sub.names[name] {
			sub.known[name] = ""
		} else {
			delete(sub.known, name)
		}
	}
	sub.inFlight, sub.nonce, sub.sent = r, r.nonce, r.version
	sub.dirty, sub.force = false, false
}

// answered records the proxy's answer to the response in flight: reason is empty for an ACK.
func (st *stream) answered(k kind, reason string) *reply {
	sub := &st.subs[k]
	r := sub.inFlight
	sub.inFlight, sub.nack = nil, reason
	if reason == "" {
		sub.acked = r.version
		sub.rejected = nil
		return r
	}
	sub.rejected = slices.Clone(r.removed)
	for _, x := range r.resources {
		sub.rejected = append(sub.rejected, x.name)
	}
	return r
}

// settled reports whether the proxy has ACKed all that it is to have.
func (n *node) settled() bool {
	st := n.stream
	if st == nil || n.served[cds] == nil {
		return false
	}
	for k := range kinds {
		sub := &st.subs[k]
		if n.served[k] == nil {
			continue // withheld until the next stage
		}
		if (k == cds || k == lds) && !sub.active {
			return false
		}
		if st.due(k) || sub.inFlight != nil || sub.nack != "" { // due may lift a refusal
			return false
		}
	}
	return st.has(cds, eds) && st.has(lds, rds) && st.has(cds, sds) && st.has(lds, sds)
}

// has reports whether the proxy was sent what its resources of kind k refer to.
func (st *stream) has(k, below kind) bool {
	sub, of := &st.subs[below], st.node.served[below]
	if st.node.served[k] == nil {
		return true
	}
	for _, above := range st.node.served[k].byName {
		for _, ref := range above.refs[below] {
			r := of.byName[ref]
			switch {
			case r == nil && below == sds && sub.wants(ref): // it has been told, where it can be
			case r == nil || !sub.wants(ref) || sub.known[ref] != r.version:
				return false
			}
		}
	}
	return true
}

// refused returns the refusal that stands: a kind that was NACKed and has nothing newer to be sent.
func (n *node) refused() *NackError {
	if n.stream == nil {
		return nil
	}
	for k := range kinds {
		sub := &n.stream.subs[k]
		if n.served[k] != nil && !n.stream.due(k) && sub.nack != "" && sub.inFlight == nil {
			return &NackError{Node: n.key, Type: k.String(), Version: sub.sent, Message: sub.nack}
		}
	}
	return nil
}
