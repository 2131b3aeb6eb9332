package tui

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Hops tells what proxies recorded of a request, hop by hop.
func Hops(all []observe.Request) []string {
	var out []string
	for i := range all {
		r := &all[i]
		out = append(out, fmt.Sprintf("%s at %s (%s):", r.Proxy, r.Reporter, r.Protocol))
		add := func(name, value string) {
			if value != "" {
				out = append(out, fmt.Sprintf("    %-11s %s", name, value))
			}
		}
		add("listener", strings.TrimSpace(r.Listener+"  "+r.Chain))
		add("request", strings.TrimSpace(r.Method+" "+r.Authority+r.Path))
		add("route", strings.TrimSpace(r.Route+"  "+r.Config))
		add("cluster", r.Cluster)
		add("host", strings.TrimSpace(r.Upstream+"  "+r.Dest.Workload+" "+r.Dest.Version))
		if len(r.Attempts) > 1 {
			for n, a := range r.Attempts {
				add(fmt.Sprintf("try %d", n+1), fmt.Sprintf("%s %s  %d %s  %s", a.Upstream,
					a.Version, a.Status, a.Flags, ms(a.Duration)))
			}
		}
		for _, a := range r.Mirrors {
			add("mirror", a.Cluster+"  "+a.Upstream)
		}
		if r.FaultDelay > 0 {
			add("delayed", ms(r.FaultDelay)+" by a fault")
		}
		add("policy", r.Policy)
		peer := cmp.Or(r.UpstreamPeer, r.Peer)
		add("TLS", strings.TrimSpace(cmp.Or(r.UpstreamTLS, r.TLS)+"  "+peer))
		add("failure", r.UpstreamFailure)
		add("answer", fmt.Sprintf("%d %s  %s  in %s", r.Status, r.Flags, r.Details,
			ms(r.Duration)))
		out = append(out, "")
	}
	return out
}

func ms(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
