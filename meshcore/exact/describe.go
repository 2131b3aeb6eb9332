package exact

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Description says what of a snapshot is enumerated and what stays random, a line for each.
type Description struct {
	Enumerated []string // "route 8080 reviews... default: weights 70/30 by x-mesh-lab-draw-split"
	Random     []string
}

// Describe looks through a snapshot that has not been lowered.
func Describe(s *xds.Snapshot) (Description, error) {
	var d Description
	for _, name := range slices.Sorted(maps.Keys(s.Listeners)) {
		for _, chain := range xds.Chains(s.Listeners[name]) {
			for _, f := range chain.GetFilters() {
				if err := d.filter("listener "+name, f.GetTypedConfig()); err != nil {
					return d, fmt.Errorf("listener %s: %s: %w", name, f.GetName(), err)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Routes)) {
		d.config(s.Routes[name])
	}
	d.Enumerated, d.Random = distinct(d.Enumerated), distinct(d.Random)
	return d, nil
}

// Add takes what another snapshot's description says.
func (d *Description) Add(o Description) {
	d.Enumerated = distinct(append(d.Enumerated, o.Enumerated...))
	d.Random = distinct(append(d.Random, o.Random...))
}

func distinct(lines []string) []string {
	slices.Sort(lines)
	return slices.Compact(lines)
}

func (d *Description) random(where, format string, args ...any) {
	d.Random = append(d.Random, where+": "+fmt.Sprintf(format, args...))
}

// filter looks at a network filter: TCP has no header that could carry a draw.
func (d *Description) filter(where string, a *anypb.Any) error {
	m, t := &hcmv3.HttpConnectionManager{}, &tcpproxyv3.TcpProxy{}
	switch {
	case a.MessageIs(m):
		if err := a.UnmarshalTo(m); err != nil {
			return err
		}
		for _, f := range m.GetHttpFilters() {
			d.fault(where, map[string]*anypb.Any{f.GetName(): f.GetTypedConfig()})
		}
		if rc := m.GetRouteConfig(); rc != nil {
			d.config(rc)
		}
	case a.MessageIs(t):
		if err := a.UnmarshalTo(t); err != nil {
			return err
		}
		shares := Decision{}
		for _, c := range t.GetWeightedClusters().GetClusters() {
			shares.Shares = append(shares.Shares, uint64(c.GetWeight()))
		}
		if shares.random() {
			d.random(where, "weights %s of TCP connections", slashed(shares.Shares))
		}
	}
	return nil
}

func (d *Description) config(rc *routev3.RouteConfiguration) {
	for _, v := range rc.GetVirtualHosts() {
		at := "route " + rc.GetName() + ", " + v.GetName()
		d.fault(at, v.GetTypedPerFilterConfig())
		for _, r := range v.GetRoutes() {
			d.route(at+", "+named(r), r)
		}
	}
}

// named is how a route is told from its neighbours: its name, which several have, and its path.
func named(r *routev3.Route) string {
	m := r.GetMatch()
	path := m.GetPrefix() + m.GetPath() + m.GetPathSeparatedPrefix() + m.GetSafeRegex().GetRegex()
	return strings.TrimSpace(r.GetName() + " " + path)
}

func (d *Description) route(where string, r *routev3.Route) {
	for _, dec := range Of(r) {
		d.Enumerated = append(d.Enumerated,
			where+": "+dec.what(r)+" by "+dec.Kind.Header())
	}
	if _, f := faultOf(r.GetTypedPerFilterConfig()); f == nil {
		d.fault(where, r.GetTypedPerFilterConfig())
	}
	if f := r.GetMatch().GetRuntimeFraction(); f != nil {
		d.fraction(where, "it matches %s of requests", f.GetDefaultValue())
	}
	for _, c := range r.GetRoute().GetWeightedClusters().GetClusters() {
		d.fault(where+" to "+c.GetName(), c.GetTypedPerFilterConfig())
	}
	for _, name := range slices.Sorted(maps.Keys(r.GetTypedPerFilterConfig())) {
		c := &corsv3.CorsPolicy{}
		if a := r.GetTypedPerFilterConfig()[name]; a.MessageIs(c) && a.UnmarshalTo(c) == nil {
			d.fraction(where, "CORS for %s of requests", c.GetFilterEnabled().GetDefaultValue())
		}
	}
}

// fraction notes a percentage that stays random.
func (d *Description) fraction(where, format string, p *typev3.FractionalPercent) {
	if dec := (Decision{Shares: percentage(p)}); dec.random() {
		d.random(where, format, percent(dec.Shares))
	}
}

// fault notes the faults of what is no route: they are drawn.
func (d *Description) fault(where string, m map[string]*anypb.Any) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		f := &faultv3.HTTPFault{}
		if m[name].MessageIs(f) && m[name].UnmarshalTo(f) == nil {
			d.fraction(where, "abort of %s", f.GetAbort().GetPercentage())
			d.fraction(where, "delay of %s", f.GetDelay().GetPercentage())
		}
	}
}

// what says what a decision of a route is about.
func (d *Decision) what(r *routev3.Route) string {
	switch d.Kind {
	case Split:
		return "weights " + slashed(d.Shares)
	case Mirror:
		list := r.GetRoute().GetRequestMirrorPolicies()
		total := mirrorTotal(list)
		var parts []string
		for _, m := range list {
			l := mirrorLimit(m, total)
			parts = append(parts, percent([]uint64{l, total - l})+" to "+m.GetCluster())
		}
		return "mirror " + strings.Join(parts, ", ")
	}
	return d.Kind.String() + " " + percent(d.Shares)
}

func slashed(shares []uint64) string {
	var parts []string
	for _, s := range shares {
		parts = append(parts, strconv.FormatUint(s, 10))
	}
	return strings.Join(parts, "/")
}

func percent(shares []uint64) string {
	d := Decision{Shares: shares}
	return strconv.FormatFloat(100*float64(shares[0])/float64(d.Total()), 'g', 8, 64) + " %"
}

// Altered says what Lower changes in the configuration of a proxy.
func Altered(d Description) []string {
	out := []string{"connection managers with routes from RDS: the Lua filter " + Name +
		" before the fault filter and the router"}
	for _, line := range d.Enumerated {
		how := "more routes, by range_match on the draw"
		if strings.HasSuffix(line, " by "+Split.Header()) {
			how = "header_name"
		}
		out = append(out, line+" ("+how+")")
	}
	return out
}
