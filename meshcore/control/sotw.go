package control

import (
	"cmp"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
)

// StreamAggregatedResources serves the state of the world.
func (s *Server) StreamAggregatedResources(
	g discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer,
) error {
	st := newStream(false)
	return s.run(st, func() error {
		q, err := g.Recv()
		if err != nil {
			return err
		}
		return s.worldRequest(st, q)
	}, func(r *reply) error {
		p := &discoveryv3.DiscoveryResponse{
			VersionInfo: r.version,
			TypeUrl:     r.kind.typeURL(),
			Nonce:       r.nonce,
			Resources:   make([]*anypb.Any, len(r.resources)),
		}
		for i, x := range r.resources {
			p.Resources[i] = x.body
		}
		return g.Send(p)
	})
}

func (s *Server) worldRequest(st *stream, q *discoveryv3.DiscoveryRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.connect(st, q.GetNode(), q.GetVersionInfo() != ""); err != nil {
		return err
	}
	k, ok := kindOf(q.GetTypeUrl())
	if !ok {
		return nil // not served: whoever asks for it waits
	}
	if !st.live() {
		return errReplaced
	}
	sub := &st.subs[k]
	first := !sub.active
	sub.active = true
	if !first {
		switch nonce := q.GetResponseNonce(); {
		case nonce != sub.nonce:
			return nil // stale: overtaken; what it says comes again with the next answer
		case sub.inFlight != nil:
			s.answer(st, k, refusal(q.GetErrorDetail()))
		}
	}
	sub.subscribe(k, q.GetResourceNames(), first)
	s.handled(st)
	return nil
}

// refusal returns why a proxy refused; empty for an ACK.
func refusal(d *statuspb.Status) string {
	if d == nil {
		return ""
	}
	return cmp.Or(d.GetMessage(), "no reason given: "+codes.Code(d.GetCode()).String())
}

// subscribe replaces the names of a subscription, as a request in the state of the world does.
func (s *subscription) subscribe(k kind, names []string, first bool) {
	all := false
	wanted := make(map[string]bool, len(names))
	for _, n := range names {
		if n == "*" {
			all = true
			continue
		}
		wanted[n] = true
	}
	// A kind that was never subscribed by name is wanted whole ("legacy wildcard").
	if len(names) == 0 && k.legacyWildcard() && (first || s.wildcard) {
		all = true
	}
	for n := range s.known {
		if !all && !wanted[n] {
			delete(s.known, n)
		}
	}
	s.force = s.force || first && all
	s.wildcard, s.names, s.dirty = all, wanted, true
}
