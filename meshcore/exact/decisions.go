package exact

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Of returns the decisions that a route leaves to chance, in the order of their kinds. Weights that
// a header of their own decides (header_name) are not left to chance.
func Of(r *routev3.Route) []Decision {
	var out []Decision
	add := func(k Kind, shares ...uint64) {
		if d := (Decision{k, shares}); d.random() {
			out = append(out, d)
		}
	}
	if _, f := faultOf(r.GetTypedPerFilterConfig()); f != nil {
		add(Abort, percentage(f.GetAbort().GetPercentage())...)
		add(Delay, percentage(f.GetDelay().GetPercentage())...)
	}
	if w := r.GetRoute().GetWeightedClusters(); w != nil && w.GetHeaderName() == "" {
		var shares []uint64
		for _, c := range w.GetClusters() {
			shares = append(shares, uint64(c.GetWeight().GetValue()))
		}
		add(Split, shares...)
	}
	add(Mirror, mirrorShares(r.GetRoute().GetRequestMirrorPolicies())...)
	return out
}

// ID names a route of a proxy: its place and all that it says, so that a route that is changed
// begins to count anew, and one that is not goes on.
func ID(config, vhost string, r *routev3.Route) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		b = []byte(r.GetName()) // what can not be marshalled did not come over the wire
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(config), []byte(vhost), b} {
		h.Write(part)
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// faultOf finds the one fault among a route's settings of filters. With several fault filters there
// are several, and none of them is enumerated.
func faultOf(m map[string]*anypb.Any) (filter string, _ *faultv3.HTTPFault) {
	var found *faultv3.HTTPFault
	for _, name := range slices.Sorted(maps.Keys(m)) {
		f := &faultv3.HTTPFault{}
		if !m[name].MessageIs(f) || m[name].UnmarshalTo(f) != nil {
			continue
		}
		if found != nil {
			return "", nil
		}
		filter, found = name, f
	}
	return filter, found
}

// percentage returns how many draws hit and how many miss.
func percentage(p *typev3.FractionalPercent) []uint64 {
	if p == nil {
		return nil
	}
	n, of := uint64(p.GetNumerator()), denominator(p)
	return []uint64{min(n, of), of - min(n, of)}
}

func denominator(p *typev3.FractionalPercent) uint64 {
	switch p.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		return 10_000
	case typev3.FractionalPercent_MILLION:
		return 1_000_000
	}
	return 100
}

// MirrorLimit returns the draw below which copy i of a route is made.
func MirrorLimit(list []*routev3.RouteAction_RequestMirrorPolicy, i int) uint64 {
	return mirrorLimit(list[i], mirrorTotal(list))
}

// mirrorShares divides the draws of a route's mirrors: one draw decides about all of them, as one
// random value does in Envoy (source/common/router/router.cc shouldShadow takes the stream's id).
// Of two mirrors of 10 % and 30 % the first never comes without the second.
func mirrorShares(list []*routev3.RouteAction_RequestMirrorPolicy) []uint64 {
	total, limits := mirrorTotal(list), mirrorLimits(list)
	if len(limits) == 0 {
		return nil
	}
	var shares []uint64
	last := uint64(0)
	for _, l := range append(limits, total) {
		shares = append(shares, l-last)
		last = l
	}
	return shares
}

// mirrorLimits are the draws at which some mirror ends, ascending, without those of 0 % and 100 %.
func mirrorLimits(list []*routev3.RouteAction_RequestMirrorPolicy) []uint64 {
	total := mirrorTotal(list)
	var limits []uint64
	for _, m := range list {
		if l := mirrorLimit(m, total); l > 0 && l < total {
			limits = append(limits, l)
		}
	}
	slices.Sort(limits)
	return slices.Compact(limits)
}

func mirrorTotal(list []*routev3.RouteAction_RequestMirrorPolicy) uint64 {
	total := uint64(1)
	for _, m := range list {
		if f := m.GetRuntimeFraction(); f != nil {
			total = max(total, denominator(f.GetDefaultValue()))
		}
	}
	return total
}

func mirrorLimit(m *routev3.RouteAction_RequestMirrorPolicy, total uint64) uint64 {
	if m.GetRuntimeFraction() == nil {
		return total
	}
	p := m.GetRuntimeFraction().GetDefaultValue()
	of := denominator(p)
	return min(uint64(p.GetNumerator()), of) * (total / of)
}
