// Package subscribe is the ADS client of our own data plane: it asks for resources in Envoy's
// order, warms them, hands the engine snapshots in which every reference is met, and answers ACK or
// NACK.
//
//	CDS ─▶ EDS, SDS of its clusters ─▶ LDS ─▶ RDS, SDS of its listeners      each response:
//	decode ─▶ Target.Check each ─▶ accept ─▶ warm ─▶ Target.Update ─▶ ask for what is new ─▶ ACK
//	              │ error                                 │ error
//	              └────────── nothing changes, NACK ◀─────┘
//
// An ACK is sent only when what it accepts is in effect, or waits for resources that the server has
// been asked for and whose own ACK is still to come. So after the last ACK all of it is in effect.
package subscribe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Target is the data plane behind a client. Its methods are called by one goroutine.
type Target interface {
	// Check says whether one resource (Cluster, ClusterLoadAssignment, Secret, Listener,
	// RouteConfiguration) can be carried out; the error names the field path. An error with a
	// method Whole that says true refuses the whole response, others only the resource.
	Check(proto.Message) error
	// Update puts a snapshot into effect, or returns an error and leaves everything as it was.
	Update(*xds.Snapshot) error
}

// Client subscribes one proxy. Node, Conn and Target must be set.
type Client struct {
	Node   *corev3.Node
	Conn   grpc.ClientConnInterface
	Target Target
	Delta  bool // be sent changes; otherwise the state of the world

	// NoClusters and NoListeners leave a kind, and what it refers to, unasked for.
	NoClusters, NoListeners bool

	// Connected is told when a stream has begun to be answered, and when it has ended; Answered, of
	// each response: its type, its version, and why it was refused. Nil: nobody is told.
	Connected func(on bool)
	Answered  func(typeURL, version string, refusal error)

	Pool    *Pool           // shared by the clients of a process; nil: its own
	Backoff backoff.BackOff // between streams; nil: exponential, 50 ms to 5 s
	Log     *slog.Logger    // nil: silent

	accepted tables
	active   *active
	waiting  [kinds]bool // clusters, listeners: some are not warm
	moved    [kinds]bool // clusters, listeners: names of references have to be asked for anew
	sub      [kinds]subscription
	began    bool                 // the first snapshot has been handed over
	since    map[string]time.Time // since when each secret that has not come is waited for
}

// subscription is what the client asks for of one kind.
type subscription struct {
	asked   bool // on this stream
	wanted  bool // ever
	names   map[string]bool
	version string // state of the world: of the last accepted response
	nonce   string // state of the world: of the last response of this stream
}

// response is a response of either variant.
type response struct {
	kind      kind
	version   string
	nonce     string
	resources []versioned
	removed   []string
}

type versioned struct {
	version string
	body    *anypb.Any
}

// transport is one stream of either variant.
type transport interface {
	recv() (*response, bool, error) // false: of a type that was not asked for
	// ask sends a subscription: names are the additions and removals since the last one.
	ask(k kind, add, remove []string) error
	answer(r *response, refusal error) error
}

// Run subscribes until ctx ends and returns its error. A stream that breaks is opened again; the
// data plane keeps what it has meanwhile.
func (c *Client) Run(ctx context.Context) error {
	c.defaults()
	c.active = &active{}
	c.Backoff.Reset()
	for {
		err := c.stream(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause := c.Backoff.NextBackOff()
		if pause == backoff.Stop {
			return err
		}
		c.Log.Debug("stream ended", "node", c.Node.GetId(), "err", err, "again in", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (c *Client) defaults() {
	if c.Pool == nil {
		c.Pool = &Pool{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Backoff == nil {
		b := backoff.NewExponentialBackOff()
		b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 5*time.Second
		c.Backoff = b
	}
	if c.NoClusters && c.accepted[cds] == nil {
		c.accepted[cds] = map[string]held{}
	}
}

// stream opens one stream and follows it to its end.
func (c *Client) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t, err := c.open(ctx)
	if err != nil {
		return err
	}
	for k := range kinds {
		c.sub[k].asked, c.sub[k].nonce = false, ""
	}
	c.sub[cds].wanted = !c.NoClusters
	for k := range kinds { // a client that comes back asks for all at once, as Envoy does
		if c.sub[k].wanted {
			if err := c.ask(t, k, c.sub[k].names); err != nil {
				return err
			}
		}
	}
	if err := c.follow(t); err != nil { // the stream before may have ended in between
		return err
	}
	arrivals, end := receive(t)
	defer func() { cancel(); end() }()
	connected := false
	defer func() {
		if connected && c.Connected != nil {
			c.Connected(false)
		}
	}()
	for {
		late, stop := c.late()
		select {
		case a := <-arrivals:
			stop()
			if a.err != nil {
				return a.err
			}
			if !connected && c.Connected != nil {
				c.Connected(true)
			}
			connected = true
			if a.response == nil {
				continue
			}
			c.Backoff.Reset()
			if err := c.handle(t, a.response); err != nil {
				return err
			}
		case now := <-late:
			if err := c.giveUp(t, now); err != nil {
				return err
			}
		}
	}
}

func (c *Client) open(ctx context.Context) (transport, error) {
	ads := discoveryv3.NewAggregatedDiscoveryServiceClient(c.Conn)
	if c.Delta {
		g, err := ads.DeltaAggregatedResources(ctx, grpc.WaitForReady(true))
		return &delta{client: c, stream: g, node: c.Node}, err
	}
	g, err := ads.StreamAggregatedResources(ctx, grpc.WaitForReady(true))
	return &world{client: c, stream: g, node: c.Node}, err
}

// handle takes one response to its answer.
func (c *Client) handle(t transport, r *response) error {
	c.sub[r.kind].nonce = r.nonce
	accepted, refusal := c.take(r)
	if c.Answered != nil {
		c.Answered(r.kind.typeURL(), r.version, refusal)
	}
	if refusal != nil {
		c.Log.Info("refused", "node", c.Node.GetId(), "type", r.kind.typeURL(), "err", refusal)
	}
	if !accepted {
		return t.answer(r, refusal)
	}
	// Subscriptions before the ACK, as Envoy sends them: the server sees what is still to come.
	if err := c.follow(t); err != nil {
		return err
	}
	return t.answer(r, refusal)
}

// follow asks for what the accepted resources need: endpoints of clusters, secrets, listeners once
// all clusters are warm, routes of listeners.
func (c *Client) follow(t transport) error {
	if c.accepted[cds] == nil {
		return nil
	}
	if c.moved[cds] {
		if err := c.ask(t, eds, wanted(&c.accepted, c.active, eds)); err != nil {
			return err
		}
	}
	if c.moved[cds] || c.moved[lds] {
		if err := c.ask(t, sds, wanted(&c.accepted, c.active, sds)); err != nil {
			return err
		}
	}
	if c.NoListeners {
		c.moved = [kinds]bool{}
		return nil
	}
	if !c.sub[lds].wanted && c.waiting[cds] {
		return nil
	}
	if err := c.ask(t, lds, nil); err != nil {
		return err
	}
	if c.moved[lds] {
		if err := c.ask(t, rds, wanted(&c.accepted, c.active, rds)); err != nil {
			return err
		}
	}
	c.moved = [kinds]bool{}
	return nil
}

// ask subscribes to exactly these names, or to a whole kind.
func (c *Client) ask(t transport, k kind, names map[string]bool) error {
	sub := &c.sub[k]
	add, remove := missing(names, sub.names), missing(sub.names, names)
	if !sub.asked {
		add = missing(names, nil)
	}
	if k.byName() && len(add)+len(remove) == 0 || !k.byName() && sub.asked {
		return nil
	}
	sub.names, sub.wanted = names, true
	err := t.ask(k, add, remove)
	sub.asked = true
	// What is no longer asked for is not kept up to date.
	if len(remove) > 0 {
		rest := maps.Clone(c.accepted[k])
		for _, n := range remove {
			delete(rest, n)
		}
		c.accepted[k] = rest
	}
	return err
}

// take accepts a response and puts it into effect, or returns why not and changes nothing. A
// response that is accepted but for some of its resources is refused, too.
func (c *Client) take(r *response) (accepted bool, refusal error) {
	table, refusal, err := c.decode(r)
	if err != nil {
		return false, err
	}
	if err := c.become(r.kind, table); err != nil {
		return false, err
	}
	if refusal == nil {
		c.sub[r.kind].version = r.version
	}
	return true, refusal
}

// become makes a table what is accepted of a kind, and puts into effect what is warm with it.
func (c *Client) become(k kind, table map[string]held) error {
	next := c.accepted
	next[k] = table
	in, now := warm(k, &next, c.active)
	waiting, moved := c.waiting, c.moved
	for above, waits := range now {
		// With the accepted resources, or with those in effect, what they refer to has changed.
		moved[above] = moved[above] || k == above || waiting[above]
		waiting[above] = waits
	}
	// Until its first listeners are warm a proxy does not serve: Envoy starts its workers then.
	began := c.began || next[lds] != nil && !waiting[lds] || c.NoListeners && !waiting[cds]
	if began && (!c.began || !in.equal(c.active)) {
		if err := c.Target.Update(in.snapshot()); err != nil {
			return err
		}
	}
	c.accepted, c.active, c.began, c.waiting, c.moved = next, in, began, waiting, moved
	return nil
}

// decode returns the table of the response's kind as it will be with it. Of clusters and listeners
// those that are refused stay as they are, and the others change (source/common/upstream/
// cds_api_helper.cc, source/common/listener_manager/lds_api.cc); the refusal names them. What is
// wrong with the response as a whole is an error.
func (c *Client) decode(r *response) (table map[string]held, refusal, err error) {
	old := c.accepted[r.kind]
	table = maps.Clone(old)
	if table == nil || !c.Delta && !r.kind.byName() {
		table = map[string]held{}
	}
	var errs, some []error
	seen := map[string]bool{}
	for _, v := range r.resources {
		res, err := c.Pool.decode(r.kind, v.body)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", cmp.Or(nameOf(res), "?"), err))
			continue
		}
		if seen[res.name] {
			errs = append(errs, fmt.Errorf("%s: duplicate resource", res.name))
		}
		seen[res.name] = true
		if r.kind.byName() && !c.sub[r.kind].names[res.name] {
			continue // the answer to a subscription that has been taken back
		}
		if old[res.name].resource != res {
			if err := c.Target.Check(res.msg); err != nil {
				err = fmt.Errorf("%s: %w", res.name, err)
				if r.kind.byName() || whole(err) {
					errs = append(errs, err)
					continue
				}
				some = append(some, err)
				if before, ok := old[res.name]; ok {
					table[res.name] = before
				}
				continue
			}
		}
		table[res.name] = held{res, v.version}
	}
	for _, name := range r.removed {
		c.removed(r.kind, name, table)
	}
	if len(errs) > 0 {
		return nil, nil, all(append(errs, some...))
	}
	return table, all(some), nil
}

// whole says whether an error refuses more than its resource.
func whole(err error) bool {
	var w interface{ Whole() bool }
	return errors.As(err, &w) && w.Whole()
}

// all joins the reasons of a refusal in one line.
func all(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	reasons := make([]string, len(errs))
	for i, err := range errs {
		reasons[i] = err.Error()
	}
	return errors.New(strings.Join(reasons, "; "))
}

// removed takes a name out, as far as Envoy does: a cluster without endpoints is one that has none,
// routes, endpoints and secrets that are in use stay, and who waits for a secret waits no longer
// (source/extensions/clusters/eds/eds.cc onConfigUpdate,
// source/common/rds/rds_route_config_subscription.cc, source/common/secret/sds_api.cc).
func (c *Client) removed(k kind, name string, table map[string]held) {
	switch k {
	case cds, lds:
		delete(table, name)
	case eds:
		if _, ok := table[name]; !ok && c.sub[eds].names[name] {
			table[name] = held{resource: &resource{
				name: name, msg: &endpointv3.ClusterLoadAssignment{ClusterName: name},
			}}
		}
	case sds:
		if _, ok := table[name]; !ok && c.sub[sds].names[name] {
			table[name] = held{resource: &resource{name: name}}
		}
	}
}

func nameOf(r *resource) string {
	if r == nil {
		return ""
	}
	return r.name
}

// detail is what a NACK says.
func detail(refusal error) *statuspb.Status {
	if refusal == nil {
		return nil
	}
	return &statuspb.Status{Code: int32(codes.InvalidArgument), Message: refusal.Error()}
}
