package control_test

import (
	"context"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// These tests speak the protocol by hand. That something is not sent shows in what comes next: a
// server handles the requests of a stream in turn, so the answer to a later request comes after it.

// serve makes a snapshot the configuration, while the test goes on; the serve before has ended.
func (l *lab) serve(s *xds.Snapshot) {
	if l.endServe == nil {
		l.t.Cleanup(func() { l.endServe() })
	} else {
		l.endServe()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = l.Set(ctx, snapshots{"a.default": s}, control.OneStep())
	}()
	l.endServe = func() { cancel(); <-done }
}

// answered waits until the server has taken one more answer, so that what is served next finds it.
func (l *lab) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.answers++; len(l.pushes) < l.answers; {
		l.pushed.Wait()
	}
}

type worldStream struct {
	t *testing.T
	discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	l    *lab
	last map[string]*discoveryv3.DiscoveryResponse
	open map[string]bool // not answered yet
	node *corev3.Node
}

func (l *lab) worldStream(t *testing.T) *worldStream {
	g, err := discoveryv3.NewAggregatedDiscoveryServiceClient(l.local.Conn).
		StreamAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &worldStream{
		t, g, l, map[string]*discoveryv3.DiscoveryResponse{}, map[string]bool{}, nodeID("a"),
	}
}

// ask sends a request that carries the last response's version and nonce.
func (w *worldStream) ask(typeURL string, names ...string) {
	w.t.Helper()
	w.request(&discoveryv3.DiscoveryRequest{TypeUrl: typeURL, ResourceNames: names,
		ResponseNonce: w.last[typeURL].GetNonce(), VersionInfo: w.last[typeURL].GetVersionInfo()})
}

func (w *worldStream) request(q *discoveryv3.DiscoveryRequest) {
	w.t.Helper()
	q.Node, w.node = w.node, nil
	if err := w.Send(q); err != nil {
		w.t.Fatal(err)
	}
	if w.open[q.TypeUrl] && q.ResponseNonce == w.last[q.TypeUrl].Nonce {
		w.open[q.TypeUrl] = false
		w.l.answered()
	}
}

func (w *worldStream) refuse(typeURL string, names ...string) {
	w.t.Helper()
	w.request(&discoveryv3.DiscoveryRequest{TypeUrl: typeURL, ResourceNames: names,
		ResponseNonce: w.last[typeURL].GetNonce(),
		ErrorDetail:   &statuspb.Status{Code: int32(codes.InvalidArgument), Message: "no"}})
}

// expect receives a response and checks which resources are in it.
func (w *worldStream) expect(typeURL string, names ...string) {
	w.t.Helper()
	p, err := w.Recv()
	if err != nil {
		w.t.Fatal(err)
	}
	w.last[p.TypeUrl], w.open[p.TypeUrl] = p, true
	var got []string
	for _, a := range p.Resources {
		m, err := a.UnmarshalNew()
		if err != nil {
			w.t.Fatal(err)
		}
		got = append(got, xds.Name(m))
	}
	if p.TypeUrl != typeURL || !slices.Equal(got, names) || p.VersionInfo == "" || p.Nonce == "" {
		w.t.Fatalf("got %s %v, want %s %v", p.TypeUrl, got, typeURL, names)
	}
}

const (
	clusters  = xds.ClusterType
	endpoint  = xds.EndpointType
	listeners = xds.ListenerType
	route     = xds.RouteType
)

func TestWorldProtocol(t *testing.T) {
	l := newLab(t, true)
	l.serve(mesh(t, "one", "two"))
	w := l.worldStream(t)
	w.ask(clusters)
	w.expect(clusters, "one", "two")
	w.ask(endpoint, "one", "two")
	w.expect(endpoint, "one", "two")
	w.ask(clusters) // ACK: nothing comes
	w.ask(endpoint, "one", "two")
	w.ask(listeners)
	w.expect(listeners, "0.0.0.0_8080")
	w.ask(listeners)
	w.ask(route, "8080", "not there")
	w.expect(route, "8080")
	w.ask(route, "8080", "not there")

	// Names: one more brings the set, one less nothing; one again brings the set again.
	w.ask(endpoint, "one")
	w.ask(endpoint, "one", "two")
	w.expect(endpoint, "one", "two")
	// A request with an overtaken nonce is stale: neither a subscription nor an answer.
	w.request(&discoveryv3.DiscoveryRequest{TypeUrl: endpoint, ResourceNames: []string{"two"}, ResponseNonce: "1"})
	w.ask(endpoint, "one", "two")

	// Order, and endpoints after a cluster that changes, although they do not.
	next := mesh(t, "one", "two")
	next.Clusters["one"].AltStatName = "changed"
	next.Routes["8080"].VirtualHosts[0].Name = "changed"
	l.serve(next)
	w.expect(clusters, "one", "two")
	w.expect(endpoint, "one", "two")
	w.expect(route, "8080")
	// A refusal is not answered ...
	w.refuse(clusters)
	w.refuse(endpoint, "one", "two")
	w.ask(route, "8080")
	w.ask(xds.SecretType, "none")
	w.ask(endpoint, "one") // a change of names is
	w.expect(endpoint, "one")
	w.ask(endpoint, "one", "two")
	w.expect(endpoint, "one", "two")
	w.ask(endpoint, "one", "two")
	// ... until there is something else.
	l.serve(mesh(t, "one"))
	w.expect(clusters, "one")
	w.expect(endpoint, "one")
	w.expect(route, "8080")
	w.ask(clusters)
	w.ask(endpoint, "one")
	w.ask(route) // no names any more: nothing, and never everything
	l.serve(mesh(t, "four"))
	w.expect(clusters, "four")
	w.ask(clusters)
	for _, n := range l.Status() {
		want := control.TypeStatus{Sent: w.last[clusters].VersionInfo, Acked: w.last[clusters].VersionInfo}
		if got := n.Types["CDS"]; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestWorldAfterReconnect(t *testing.T) {
	l := newLab(t, true)
	l.serve(mesh(t, "one"))
	w := l.worldStream(t)
	w.request(&discoveryv3.DiscoveryRequest{TypeUrl: clusters, VersionInfo: "of another stream", ResponseNonce: "7"})
	w.expect(clusters, "one")
	newer := l.worldStream(t)
	newer.ask(clusters)
	newer.expect(clusters, "one")
	if _, err := w.Recv(); status.Code(err) != codes.Aborted {
		t.Errorf("the older stream: %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	l := newLab(t, true)
	for _, id := range []string{"", "plain", "sidecar~10.0.0.1~pod~ns.svc.cluster.local", "a~b~.ns~c", "a~b~pod.~c"} {
		w := l.worldStream(t)
		w.node = &corev3.Node{Id: id}
		w.ask(clusters)
		if _, err := w.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("node id %q: %v", id, err)
		}
	}
	l.serve(mesh(t))
	w := l.worldStream(t)
	w.ask("type.googleapis.com/envoy.service.runtime.v3.Runtime") // stays without an answer
	w.ask(clusters)
	w.expect(clusters) // an empty set is said
}

type deltaStream struct {
	t *testing.T
	discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	l    *lab
	node *corev3.Node
	last *discoveryv3.DeltaDiscoveryResponse
}

func (l *lab) deltaStream(t *testing.T) *deltaStream {
	g, err := discoveryv3.NewAggregatedDiscoveryServiceClient(l.local.Conn).
		DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &deltaStream{t, g, l, nodeID("a"), nil}
}

func (d *deltaStream) request(q *discoveryv3.DeltaDiscoveryRequest) {
	d.t.Helper()
	q.Node, d.node = d.node, nil
	if err := d.Send(q); err != nil {
		d.t.Fatal(err)
	}
}

func (d *deltaStream) subscribe(typeURL string, names ...string) {
	d.t.Helper()
	d.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

func (d *deltaStream) unsubscribe(typeURL string, names ...string) {
	d.t.Helper()
	d.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesUnsubscribe: names})
	d.subscribe(route, "no such routes") // to know that the server has taken it
	d.expectAck(route, "-no such routes")
}

// answer ACKs the last response, or refuses it.
func (d *deltaStream) answer(reason string) {
	d.t.Helper()
	q := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: d.last.TypeUrl, ResponseNonce: d.last.Nonce}
	if reason != "" {
		q.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: reason}
	}
	d.request(q)
	d.l.answered()
}

// expect receives a response and checks what is in it: names, and "-name" for removals.
func (d *deltaStream) expect(typeURL string, names ...string) {
	d.t.Helper()
	p, err := d.Recv()
	if err != nil {
		d.t.Fatal(err)
	}
	d.last = p
	var got []string
	for _, r := range p.Resources {
		got = append(got, r.Name)
	}
	for _, n := range p.RemovedResources {
		got = append(got, "-"+n)
	}
	if p.TypeUrl != typeURL || !slices.Equal(got, names) || p.Nonce == "" {
		d.t.Fatalf("got %s %v, want %s %v", p.TypeUrl, got, typeURL, names)
	}
}

// expectAck is expect, and ACKs.
func (d *deltaStream) expectAck(typeURL string, names ...string) {
	d.t.Helper()
	d.expect(typeURL, names...)
	d.answer("")
}

func TestDeltaProtocol(t *testing.T) {
	l := newLab(t, false)
	l.serve(mesh(t, "one", "two"))
	d := l.deltaStream(t)
	d.subscribe(clusters)
	d.expectAck(clusters, "one", "two")
	d.subscribe(endpoint, "one", "not there")
	d.expectAck(endpoint, "one", "-not there")
	d.subscribe(endpoint, "two")
	d.expectAck(endpoint, "two")
	d.subscribe(listeners)
	d.expectAck(listeners, "0.0.0.0_8080")
	d.subscribe(route, "8080")
	d.expectAck(route, "8080")
	// Who subscribes to a name again is sent it again.
	d.subscribe(endpoint, "two")
	d.expectAck(endpoint, "two")

	// Only what changes is sent; endpoints follow their cluster.
	next := mesh(t, "one", "two", "three")
	next.Clusters["one"].AltStatName = "changed"
	l.serve(next)
	d.expectAck(clusters, "one", "three")
	d.expectAck(endpoint, "one")
	d.expectAck(route, "8080")
	// What is missed comes when it is there.
	next = mesh(t, "one", "two", "not there")
	l.serve(next)
	d.expectAck(clusters, "not there", "one", "-three")
	d.expectAck(endpoint, "not there", "one")
	d.expectAck(route, "8080")

	// After a refusal nothing comes until something changes, and then what was refused with it.
	bad := mesh(t, "one", "two", "bad", "new")
	l.serve(bad)
	d.expect(clusters, "bad", "new", "-not there")
	d.answer("no bad")
	d.expectAck(endpoint, "-not there")
	d.expectAck(route, "8080")
	d.subscribe(endpoint, "one")
	d.expectAck(endpoint, "one")
	l.serve(mesh(t, "one", "two", "new"))
	d.expectAck(clusters, "new", "-bad", "-not there")
	d.expectAck(route, "8080")

	// What is no longer subscribed is not sent.
	d.unsubscribe(endpoint, "one", "two")
	last := mesh(t, "two", "one")
	last.Routes["8080"] = routes("8080", "one")
	l.serve(last)
	d.expectAck(clusters, "-new")
	d.expectAck(route, "8080")
	d.unsubscribe(clusters, "*")
	l.serve(mesh(t, "other"))
	d.expectAck(route, "8080")
}

func TestDeltaNamesAndWildcard(t *testing.T) {
	l := newLab(t, false)
	l.serve(mesh(t, "one", "two"))
	d := l.deltaStream(t)
	d.subscribe(clusters, "one") // by name, not everything
	d.expectAck(clusters, "one")
	d.subscribe(clusters, "*")
	d.expectAck(clusters, "two")
	d.unsubscribe(clusters, "*") // "one" stays
	l.serve(mesh(t, "two", "three"))
	d.expectAck(clusters, "-one")
	d.subscribe(endpoint, "*")
	d.expectAck(endpoint, "three", "two")
}

func TestDeltaAfterReconnect(t *testing.T) {
	l := newLab(t, false)
	l.serve(mesh(t, "one", "two"))
	d := l.deltaStream(t)
	d.subscribe(clusters)
	d.expectAck(clusters, "one", "two")
	have := map[string]string{"gone": "x"}
	for _, r := range d.last.Resources {
		have[r.Name] = r.Version
	}
	same, differs, empty := l.deltaStream(t), map[string]string{"one": "old"}, l.deltaStream(t)
	same.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: clusters, InitialResourceVersions: have})
	same.expectAck(clusters, "-gone")
	delete(have, "gone")
	same = l.deltaStream(t)
	same.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: clusters, InitialResourceVersions: have})
	same.subscribe(listeners)
	same.expectAck(listeners, "0.0.0.0_8080") // and no clusters
	if s := l.Status()[0].Types["CDS"]; s.Acked == "" || s.Acked != s.Sent {
		t.Errorf("who comes back with everything: %+v", s)
	}
	empty.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: clusters, InitialResourceVersions: differs})
	empty.expectAck(clusters, "one", "two")
}

// A proxy that comes back is sent a changed cluster before it has said which endpoints it has. They
// come again all the same: Envoy warms the cluster until they do, and does not answer before.
func TestDeltaOwedEndpoints(t *testing.T) {
	l := newLab(t, false)
	l.serve(mesh(t, "one", "two"))
	d := l.deltaStream(t)
	d.subscribe(clusters)
	d.expectAck(clusters, "one", "two")
	had := map[string]string{"one": d.last.Resources[0].Version, "two": "old"}
	d.subscribe(endpoint, "one", "two")
	d.expectAck(endpoint, "one", "two")
	have := map[string]string{}
	for _, r := range d.last.Resources {
		have[r.Name] = r.Version
	}
	back := l.deltaStream(t)
	back.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: clusters, InitialResourceVersions: had})
	back.expect(clusters, "two")
	back.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: endpoint,
		ResourceNamesSubscribe: []string{"one", "two"}, InitialResourceVersions: have})
	back.expectAck(endpoint, "two")
}

func TestPushRecords(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		l.connect("a", &target{})
		l.set(snapshots{"a.default": mesh(t, "one")})
		l.mu.Lock()
		defer l.mu.Unlock()
		var kinds []string
		for _, p := range l.pushes {
			kinds = append(kinds, p.Type)
			if p.Proxy != "a.default" || p.Version == "" || p.Acked < p.At || p.Acked == 0 || p.Nack != "" {
				t.Errorf("%+v", p)
			}
		}
		if d := cmp.Diff([]string{"CDS", "EDS", "LDS", "RDS"}, kinds); d != "" && !slices.Contains(kinds, "EDS") {
			t.Error(d)
		}
	})
}
