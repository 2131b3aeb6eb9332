package control

import (
	"maps"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// DeltaAggregatedResources serves changes.
func (s *Server) DeltaAggregatedResources(
	g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
) error {
	st := newStream(true)
	return s.run(st, func() error {
		q, err := g.Recv()
		if err != nil {
			return err
		}
		return s.deltaRequest(st, q)
	}, func(r *reply) error {
		p := &discoveryv3.DeltaDiscoveryResponse{
			SystemVersionInfo: r.version,
			TypeUrl:           r.kind.typeURL(),
			Nonce:             r.nonce,
			Resources:         make([]*discoveryv3.Resource, len(r.resources)),
			RemovedResources:  r.removed,
		}
		for i, x := range r.resources {
			p.Resources[i] = x.delta
		}
		return g.Send(p)
	})
}

func (s *Server) deltaRequest(st *stream, q *discoveryv3.DeltaDiscoveryRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	back := len(q.GetInitialResourceVersions()) > 0
	if err := s.connect(st, q.GetNode(), back); err != nil {
		return err
	}
	k, ok := kindOf(q.GetTypeUrl())
	if !ok {
		return nil // as in the state of the world
	}
	if !st.live() {
		return errReplaced
	}
	sub := &st.subs[k]
	if n := q.GetResponseNonce(); n != "" && sub.inFlight != nil && n == sub.inFlight.nonce {
		s.answer(st, k, refusal(q.GetErrorDetail()))
	}
	// Changes of the subscription count whatever the nonce is.
	if !sub.active {
		sub.active = true
		sub.known = maps.Clone(q.GetInitialResourceVersions())
		if sub.known == nil {
			sub.known = map[string]string{}
		}
		if k == eds {
			maps.DeleteFunc(sub.known, func(name, _ string) bool { return st.owed[name] })
			st.owed = nil
		}
		sub.names = map[string]bool{}
		sub.wildcard = k.legacyWildcard() && len(q.GetResourceNamesSubscribe()) == 0
		// A fresh proxy waits for an answer even if there is nothing; one that comes back does not.
		sub.force = len(sub.known) == 0 && sub.wildcard
		sub.dirty = true
		sub.add(q.GetResourceNamesSubscribe(), false)
		st.resume(k)
	} else {
		sub.add(q.GetResourceNamesSubscribe(), true)
	}
	sub.remove(q.GetResourceNamesUnsubscribe())
	s.handled(st)
	return nil
}

// add subscribes to names. A name that is subscribed again is to be sent again.
func (s *subscription) add(names []string, again bool) {
	for _, n := range names {
		s.dirty = true
		if n == "*" {
			s.force = s.force || !s.wildcard && len(s.known) == 0
			s.wildcard = true
			continue
		}
		s.names[n] = true
		if again {
			delete(s.known, n)
		}
	}
}

func (s *subscription) remove(names []string) {
	for _, n := range names {
		s.dirty = true
		if n == "*" {
			s.wildcard = false
			maps.DeleteFunc(s.known, func(name, _ string) bool { return !s.names[name] })
			continue
		}
		delete(s.names, n)
		if !s.wildcard {
			delete(s.known, n)
		}
	}
}

// resume takes a proxy that comes back with everything as having ACKed it.
func (st *stream) resume(k kind) {
	sub, of := &st.subs[k], st.node.served[k]
	if of == nil || len(sub.known) == 0 || st.differs(k) {
		return
	}
	sub.sent, sub.acked = of.version(), of.version()
}
