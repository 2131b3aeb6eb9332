package exact

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// variant is one outcome of a decision as a route: what must match, and what the route then does.
type variant struct {
	limit  uint64 // draws below it; 0: whatever is left
	change func(*routev3.Route) error
}

// lowerRoute returns the routes that stand for r: one for each combination of the outcomes of its
// faults and mirrors, told apart by the draws. The first that matches is taken, so that the last
// needs no draw: it is the one that a request meets before it has any.
func lowerRoute(id string, r *routev3.Route, decisions []Decision) ([]*routev3.Route, error) {
	first := proto.CloneOf(r)
	if err := mark(first, id, decisions); err != nil {
		return nil, err
	}
	routes := []*routev3.Route{first}
	for i := range decisions {
		d := &decisions[i]
		if d.Kind == Split {
			for _, v := range routes {
				v.GetRoute().GetWeightedClusters().RandomValueSpecifier =
					&routev3.WeightedCluster_HeaderName{HeaderName: d.Kind.Header()}
			}
			continue
		}
		var next []*routev3.Route
		for _, base := range routes {
			for _, v := range variants(r, d) {
				one := proto.CloneOf(base)
				if v.limit > 0 {
					one.Match.Headers = append(one.Match.Headers, below(d.Kind.Header(), v.limit))
				}
				if err := v.change(one); err != nil {
					return nil, fmt.Errorf("route %s: %w", r.GetName(), err)
				}
				next = append(next, one)
			}
		}
		routes = next
	}
	return routes, nil
}

// mark tells the script the route's decisions, and keeps the draws from going upstream: the router
// removes headers when the route is chosen for good (source/common/router/config_impl.cc
// finalizeRequestHeaders).
func mark(r *routev3.Route, id string, decisions []Decision) error {
	var list []any
	for _, d := range decisions {
		shares := make([]any, len(d.Shares))
		for i, s := range d.Shares {
			shares[i] = float64(s)
		}
		list = append(list, map[string]any{
			"kind": d.Kind.String(), "header": d.Kind.Header(), "shares": shares})
		r.RequestHeadersToRemove = append(r.RequestHeadersToRemove, d.Kind.Header())
	}
	s, err := structpb.NewStruct(map[string]any{"id": id, "decisions": list})
	if err != nil {
		return err
	}
	if r.Metadata == nil {
		r.Metadata = &corev3.Metadata{}
	}
	if r.Metadata.FilterMetadata == nil {
		r.Metadata.FilterMetadata = map[string]*structpb.Struct{}
	}
	r.Metadata.FilterMetadata[Name] = s
	return nil
}

func below(header string, limit uint64) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: header,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_RangeMatch{
			RangeMatch: &typev3.Int64Range{Start: 0, End: int64(limit)}}}
}

// variants are the outcomes of a decision about faults or mirrors, the smallest limit first.
func variants(r *routev3.Route, d *Decision) []variant {
	switch d.Kind {
	case Abort:
		return []variant{{d.Shares[0], abort(true)}, {0, abort(false)}}
	case Delay:
		return []variant{{d.Shares[0], delay(true)}, {0, delay(false)}}
	}
	list := r.GetRoute().GetRequestMirrorPolicies()
	var out []variant
	for _, l := range mirrorLimits(list) {
		out = append(out, variant{l, mirrors(l)})
	}
	return append(out, variant{0, mirrors(mirrorTotal(list))})
}

// certain is the percentage of what happens always.
func certain() *typev3.FractionalPercent { return &typev3.FractionalPercent{Numerator: 100} }

// abort makes a route's abort certain, or takes it away. The fault filter's settings stay, so that
// those of the virtual host do not come to hold instead.
func abort(on bool) func(*routev3.Route) error {
	return func(r *routev3.Route) error {
		filter, f := faultOf(r.GetTypedPerFilterConfig())
		if f.Abort.Percentage = certain(); !on {
			f.Abort = nil
		}
		return put(r, filter, f)
	}
}

// delay makes a route's delay certain, or takes it away.
func delay(on bool) func(*routev3.Route) error {
	return func(r *routev3.Route) error {
		filter, f := faultOf(r.GetTypedPerFilterConfig())
		if f.Delay.Percentage = certain(); !on {
			f.Delay = nil
		}
		return put(r, filter, f)
	}
}

func put(r *routev3.Route, filter string, m proto.Message) error {
	a, err := anypb.New(m)
	if err != nil {
		return err
	}
	r.TypedPerFilterConfig[filter] = a
	return nil
}

// mirrors keeps the copies that are made of draws just below a limit.
func mirrors(limit uint64) func(*routev3.Route) error {
	return func(r *routev3.Route) error {
		list := r.GetRoute().GetRequestMirrorPolicies()
		total := mirrorTotal(list)
		var keep []*routev3.RouteAction_RequestMirrorPolicy
		for _, m := range list {
			if mirrorLimit(m, total) >= limit {
				if m.RuntimeFraction != nil {
					m.RuntimeFraction.DefaultValue = certain()
				}
				keep = append(keep, m)
			}
		}
		r.GetRoute().RequestMirrorPolicies = keep
		return nil
	}
}
