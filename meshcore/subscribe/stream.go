package subscribe

import (
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// world is a stream in the state of the world.
type world struct {
	client *Client
	stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	node   *corev3.Node // sent with the first request only
}

func (w *world) recv() (*response, bool, error) {
	p, err := w.stream.Recv()
	if err != nil {
		return nil, false, err
	}
	k, ok := kindOf(p.GetTypeUrl())
	r := &response{kind: k, version: p.GetVersionInfo(), nonce: p.GetNonce()}
	for _, body := range p.GetResources() {
		r.resources = append(r.resources, versioned{body: body})
	}
	return r, ok, nil
}

func (w *world) ask(k kind, _, _ []string) error { return w.request(k, nil) }

func (w *world) answer(r *response, refusal error) error { return w.request(r.kind, refusal) }

// request says all there is to say of a kind: names, the version in force, the last nonce.
func (w *world) request(k kind, refusal error) error {
	sub := &w.client.sub[k]
	q := &discoveryv3.DiscoveryRequest{
		Node:          w.node,
		TypeUrl:       k.typeURL(),
		ResourceNames: slices.Sorted(maps.Keys(sub.names)),
		VersionInfo:   sub.version,
		ResponseNonce: sub.nonce,
		ErrorDetail:   detail(refusal),
	}
	w.node = nil
	return w.stream.Send(q)
}

// delta is a stream of changes.
type delta struct {
	client *Client
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	node   *corev3.Node
}

func (d *delta) recv() (*response, bool, error) {
	p, err := d.stream.Recv()
	if err != nil {
		return nil, false, err
	}
	k, ok := kindOf(p.GetTypeUrl())
	r := &response{
		kind: k, version: p.GetSystemVersionInfo(), nonce: p.GetNonce(),
		removed: p.GetRemovedResources(),
	}
	for _, x := range p.GetResources() {
		r.resources = append(r.resources, versioned{x.GetVersion(), x.GetResource()})
	}
	return r, ok, nil
}

func (d *delta) ask(k kind, add, remove []string) error {
	q := &discoveryv3.DeltaDiscoveryRequest{
		Node:                     d.node,
		TypeUrl:                  k.typeURL(),
		ResourceNamesSubscribe:   add,
		ResourceNamesUnsubscribe: remove,
	}
	if !d.client.sub[k].asked {
		q.InitialResourceVersions = d.client.versions(k)
	}
	d.node = nil
	return d.stream.Send(q)
}

func (d *delta) answer(r *response, refusal error) error {
	return d.stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl:       r.kind.typeURL(),
		ResponseNonce: r.nonce,
		ErrorDetail:   detail(refusal),
	})
}

// versions says what the client has of a kind, so that it is sent only what differs.
func (c *Client) versions(k kind) map[string]string {
	out := make(map[string]string, len(c.accepted[k]))
	for name, h := range c.accepted[k] {
		if h.version != "" {
			out[name] = h.version
		}
	}
	return out
}

// missing returns what is in a but not in b, sorted.
func missing(a, b map[string]bool) []string {
	var out []string
	for n := range a {
		if !b[n] {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}
