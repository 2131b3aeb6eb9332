package accept_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/identity"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// script is an ADS server that sends what a test tells it to, response by response.
type script struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	delta bool
	asks  chan ask   // what the proxy says
	out   chan reply // what it is sent
	nonce int
}

// ask is one request of the proxy.
type ask struct {
	typeURL, nonce string
	refusal        string // empty: an ACK, or a subscription
	names          []string
}

// named is a resource as it is sent: delta has a name beside the resource's own.
type named struct {
	name string
	proto.Message
}

// reply is one response.
type reply struct {
	typeURL, nonce string
	resources      []named
	removed        []string
}

func newScript(delta bool) *script {
	return &script{delta: delta, asks: make(chan ask, 1000), out: make(chan reply)}
}

func (s *script) register(g *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
}

// StreamAggregatedResources serves the state of the world.
func (s *script) StreamAggregatedResources(
	g discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer,
) error {
	return s.run(func() (ask, error) {
		q, err := g.Recv()
		return ask{q.GetTypeUrl(), q.GetResponseNonce(), q.GetErrorDetail().GetMessage(),
			q.GetResourceNames()}, err
	}, func(r reply) error {
		p := &discoveryv3.DiscoveryResponse{VersionInfo: r.nonce, Nonce: r.nonce, TypeUrl: r.typeURL}
		for _, m := range r.resources {
			p.Resources = append(p.Resources, body(m.Message))
		}
		return g.Send(p)
	})
}

// DeltaAggregatedResources serves changes.
func (s *script) DeltaAggregatedResources(
	g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
) error {
	return s.run(func() (ask, error) {
		q, err := g.Recv()
		return ask{q.GetTypeUrl(), q.GetResponseNonce(), q.GetErrorDetail().GetMessage(),
			q.GetResourceNamesSubscribe()}, err
	}, func(r reply) error {
		p := &discoveryv3.DeltaDiscoveryResponse{SystemVersionInfo: r.nonce, Nonce: r.nonce,
			TypeUrl: r.typeURL, RemovedResources: r.removed}
		for _, m := range r.resources {
			p.Resources = append(p.Resources, &discoveryv3.Resource{
				Name: m.name, Version: r.nonce, Resource: body(m.Message)})
		}
		return g.Send(p)
	})
}

func body(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(err) // only invalid UTF-8 in a string field
	}
	return a
}

func (s *script) run(recv func() (ask, error), send func(reply) error) error {
	ended := make(chan error, 1)
	go func() {
		for {
			a, err := recv()
			if err != nil {
				ended <- err
				return
			}
			s.asks <- a
		}
	}()
	for {
		select {
		case err := <-ended:
			return err
		case r := <-s.out:
			if err := send(r); err != nil {
				return err
			}
		}
	}
}

// subject is a proxy that answers a script.
type subject struct {
	t     *testing.T
	s     *script
	p     *process
	asked map[string]bool // type URLs, and names behind them
	good  map[string]proto.Message
	port  uint32   // of the last listener
	given []string // the names of the last endpoints
	owed  string   // the nonce of secrets, of which an answer is to come
}

func newSubject(t *testing.T, api string) *subject {
	s := newScript(api == "DELTA_GRPC")
	return &subject{t: t, s: s, p: startEnvoy(t, api, s.register), asked: map[string]bool{}, port: 1000}
}

// next returns the next request.
func (s *subject) next(instead string) ask {
	s.t.Helper()
	timeout := time.NewTimer(10 * time.Second)
	defer timeout.Stop()
	select {
	case a := <-s.s.asks:
		s.asked[a.typeURL] = true
		for _, n := range a.names {
			s.asked[a.typeURL+" "+n] = true
		}
		switch a.typeURL {
		case xds.EndpointType:
			s.endpoints(a.names)
		case xds.SecretType:
			s.secrets(a)
		}
		return a
	case <-s.p.exited:
		s.t.Fatalf("Envoy died, instead of %s", instead)
	case <-timeout.C:
		s.t.Fatalf("Envoy says nothing, instead of %s", instead)
	}
	return ask{}
}

// subscribed waits until the proxy has asked for a type, and for a name if one is given.
func (s *subject) subscribed(typeURL, name string) {
	s.t.Helper()
	what := strings.TrimSpace(typeURL + " " + name)
	for !s.asked[what] {
		s.next("a subscription to " + what)
	}
}

// begin gives the proxy a mesh of one cluster, one listener and one route configuration.
func (s *subject) begin(of map[string]proto.Message) {
	s.t.Helper()
	s.good = of
	for _, typeURL := range []string{xds.ClusterType, xds.ListenerType, xds.RouteType} {
		m := of[typeURL]
		s.subscribed(typeURL, "")
		if typeURL == xds.RouteType {
			s.subscribed(typeURL, xds.Name(m))
		}
		if why := s.send(typeURL, named{xds.Name(m), m}); why != "" {
			s.t.Fatalf("%s: %s", typeURL, why)
		}
	}
}

// send sends a response and returns why it is refused; empty for an ACK.
func (s *subject) send(typeURL string, resources ...named) string {
	s.t.Helper()
	return s.reply(reply{typeURL: typeURL, resources: resources})
}

func (s *subject) reply(r reply) string {
	s.t.Helper()
	nonce := s.put(r)
	for {
		a := s.next("an answer to " + r.typeURL)
		if a.typeURL == r.typeURL && a.nonce == nonce {
			return a.refusal
		}
	}
}

// put sends a response and returns its nonce.
func (s *subject) put(r reply) string {
	s.t.Helper()
	s.s.nonce++
	r.nonce = strconv.Itoa(s.s.nonce)
	select {
	case s.s.out <- r:
	case <-s.p.exited:
		s.t.Fatal("Envoy died")
	}
	return r.nonce
}

// endpoints answers for endpoints. Envoy keeps the ACK of clusters back until they are warm
// (source/common/upstream/cluster_manager_impl.cc, updates of CDS are paused).
func (s *subject) endpoints(names []string) {
	s.t.Helper()
	if len(names) == 0 || !s.s.delta && slices.Equal(names, s.given) {
		return
	}
	s.given = names
	r := reply{typeURL: xds.EndpointType}
	for _, n := range names {
		m := proto.Clone(s.good[xds.EndpointType]).(*endpointv3.ClusterLoadAssignment)
		m.ClusterName = n
		r.resources = append(r.resources, named{n, m})
	}
	s.put(r)
}

// secrets answers for secrets, without which a cluster or listener does not become warm: with a
// workload's own ones, and that there is no other.
func (s *subject) secrets(a ask) {
	s.t.Helper()
	if len(a.names) == 0 || !s.s.delta && a.nonce != "" && a.nonce == s.owed {
		s.owed = ""
		return // an answer, with the names of before
	}
	own, err := authority().Secrets(identity.Workload{Namespace: "a", ServiceAccount: "b"})
	if err != nil {
		s.t.Fatal(err)
	}
	r := reply{typeURL: xds.SecretType}
	for _, n := range a.names {
		if m := own[n]; m != nil {
			r.resources = append(r.resources, named{n, m})
		} else {
			r.removed = append(r.removed, n)
		}
	}
	s.owed = s.put(r)
}
