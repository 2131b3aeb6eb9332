package als

import (
	"net/netip"
	"strings"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// connection takes the entry of a TCP connection. Caller must hold mu.
func (n *node) connection(e *datav3.TCPAccessLogEntry) {
	c := e.GetCommonProperties()
	tag, ok := tagOf(c)
	if !ok {
		n.dropped++
		return
	}
	r := &observe.Request{Protocol: "TCP"}
	n.common(r, c, &tag)
	r.BytesReceived = int64(e.GetConnectionProperties().GetReceivedBytes())
	r.BytesSent = int64(e.GetConnectionProperties().GetSentBytes())
	r.Policy = n.name(policy(tag.text(tagTermination)))
	if has(r.Flags, "UAEX") { // of which the details are in no report
		r.Policy = "ext_authz"
	}
	n.connects(r, tag[tagRest])
	if has(r.Flags, "NR") && r.Cluster == "" {
		// Entries of connections carry no details; this is the only one without a cluster.
		r.Details = "filter_chain_not_found"
	}
	n.opt.Sink.Record(r)
}

// connects makes the attempts to connect from the hosts that were tried, in order. Nothing tells
// when each began; only the last one can have succeeded.
func (n *node) connects(r *observe.Request, hosts string) {
	if hosts == "" || hosts == "-" {
		return
	}
	for h := range strings.SplitSeq(hosts, ",") {
		a := observe.Attempt{Cluster: r.Cluster, Start: r.Start, Flags: "UF"}
		if at, err := netip.ParseAddrPort(h); err == nil {
			at = n.logical(at)
			a.Upstream = n.name(at.String())
			if a.Upstream == r.Upstream {
				a.Pod, a.Version = r.Dest.Pod, r.Dest.Version
			} else if n.opt.Workload != nil {
				w := n.opt.Workload(at)
				a.Pod, a.Version = w.Pod, w.Version
			}
		}
		r.Attempts = append(r.Attempts, a)
	}
	last := &r.Attempts[len(r.Attempts)-1]
	last.Duration = r.Duration
	if !has(r.Flags, "UF") {
		last.Flags = ""
	}
}
