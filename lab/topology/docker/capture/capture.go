// Package capture tells the kernel of a pod's network namespace what Istio's init container tells
// it: which connections the sidecar takes (intercept.Rules). It also does there what kube-proxy
// does on a node, for Services, and drops, loses and refuses packets where a fault says so.
//
//	app ─▶ OUTPUT ─┬─ capture ─▶ 127.0.0.1:15001   others ─▶ PREROUTING ─ capture ─▶ :15006
//	               └─ VIPs ────▶ a ready pod
//
// Everything is in nftables tables of our own, whose names begin with "mesh-lab": what else is in
// the namespace, such as the rules of Docker's DNS, stays. All functions act in the namespace of
// the calling thread and need CAP_NET_ADMIN.
package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Mark is on the packets of the lab's own agent: they are never taken.
const Mark = 0x6d6c

// AgentPort is where the lab's agent listens in a pod: never taken, never broken.
const AgentPort = 15301

// Infra is where the lab's own parts are: no fault without peers of its own touches them.
var Infra = netip.MustParsePrefix("10.245.0.0/24")

// VIP is one port of a Service and the ready pods behind it.
type VIP struct {
	Addr netip.Addr       `json:"addr"`
	Port uint16           `json:"port"`
	Ends []netip.AddrPort `json:"ends,omitempty"` // none: connections are refused
}

// Fault is what packets suffer while it is there.
type Fault struct {
	ID    string      `json:"id"` // its name, by which it is removed
	Rules []FaultRule `json:"rules"`
}

// Action is what happens to a packet.
type Action string

// The actions.
const (
	Drop   Action = "drop"   // it is gone
	Lose   Action = "lose"   // a Share of them is gone, at random
	Refuse Action = "refuse" // new connections to Ports get a reset, those of the own sidecar, too
)

// FaultRule is about packets that leave the pod or arrive there.
type FaultRule struct {
	Out bool `json:"out,omitempty"`
	// Peers are the other ends; empty: every one but the lab's own parts and the pod itself.
	Peers []netip.Addr `json:"peers,omitempty"`
	// Ports are where connections were opened to, before anything was redirected; of Refuse, where
	// the app listens. Empty: all.
	Ports  []uint16 `json:"ports,omitempty"`
	Action Action   `json:"action"`
	Share  float64  `json:"share,omitempty"` // Lose; in (0, 1]
}

// Held says which packets of TCP a process decides about.
type Held struct {
	ID    string       // its name, by which it is removed
	Local netip.Addr   // where they come to
	Peers []netip.Addr // who they are from; empty: every one but the lab's own parts and the pod
	Ports []uint16     // where their connections are opened to; empty: all
	Back  bool         // of connections that were opened here, what is answered; else what is asked
	Queue uint16       // the number of the process' queue
}

// Count is how many packets and bytes a fault has hit.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Add sums up.
func (c Count) Add(o Count) Count { return Count{c.Packets + o.Packets, c.Bytes + o.Bytes} }

// Check says what is wrong with a fault.
func (f Fault) Check() error {
	var errs []error
	if f.ID == "" || len(tableOf(f.ID)) > longestName {
		errs = append(errs, fmt.Errorf("fault %q: want a name of 1 to %d bytes", f.ID,
			longestName-len(faultPrefix)))
	}
	if len(f.Rules) == 0 {
		errs = append(errs, fmt.Errorf("fault %q: has no rules", f.ID))
	}
	for i, r := range f.Rules {
		switch {
		case !slices.Contains([]Action{Drop, Lose, Refuse}, r.Action):
			errs = append(errs, fmt.Errorf("fault %q: rule %d: action %q: one of drop, lose, "+
				"refuse", f.ID, i, r.Action))
		case r.Action == Lose && (r.Share <= 0 || r.Share > 1):
			errs = append(errs, fmt.Errorf("fault %q: rule %d: share %g: want more than 0 and at "+
				"most 1", f.ID, i, r.Share))
		case r.Action == Refuse && r.Out:
			errs = append(errs, fmt.Errorf("fault %q: rule %d: refuse is about what arrives", f.ID,
				i))
		}
		for _, p := range r.Peers {
			if !p.Is4() {
				errs = append(errs, fmt.Errorf("fault %q: rule %d: peer %s: only IPv4", f.ID, i, p))
			}
		}
	}
	return errors.Join(errs...)
}

// The names of our tables. longestName is NFT_NAME_MAXLEN of linux/netfilter/nf_tables.h without
// its final NUL.
const (
	captureTable = "mesh-lab-capture"
	vipTable     = "mesh-lab-vips"
	faultPrefix  = "mesh-lab-fault/"
	anyPrefix    = "mesh-lab"
	longestName  = 255
)

func tableOf(id string) string { return faultPrefix + id }
