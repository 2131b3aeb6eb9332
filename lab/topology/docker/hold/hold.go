// Package hold has packets that come to a network namespace held, slowed, silenced or cut off, as
// link.Lane decides: what the kernel has no filter for. The kernel queues them for this process
// (NFQUEUE), whose verdict it awaits.
//
//	eth0 ─▶ PREROUTING: is it of the fault? ─▶ queue ─▶ flow: link.Lane ─▶ verdict ─▶ sidecar
//
// Both ends of a connection keep their own sockets, addresses and ports, and notice nothing but
// what a network would have them notice. So it is about connections that are open, too, and about
// the packets that open one. If this process dies, the kernel lets everything pass.
package hold

import (
	"errors"
	"net/netip"

	"github.com/mesh-lab/mesh-lab/lab/link"
)

// Fault is what packets of TCP that come to the namespace suffer.
type Fault struct {
	ID    string       `json:"id"`              // as capture.Fault's
	Local netip.Addr   `json:"local"`           // where they come to
	Peers []netip.Addr `json:"peers,omitempty"` // who they are from; empty: all but the lab's parts
	Ports []uint16     `json:"ports,omitempty"` // where connections are opened to; empty: all
	// Back says that connections are meant that were opened here: what is answered suffers. Else
	// those that were opened to here, and what is asked.
	Back  bool       `json:"back,omitempty"`
	Toxic link.Toxic `json:"toxic"`
}

// Check says what is wrong with a fault.
func (f Fault) Check() error {
	var errs []error
	if f.ID == "" {
		errs = append(errs, errors.New("hold: a fault without a name"))
	}
	for _, a := range append([]netip.Addr{f.Local}, f.Peers...) {
		if !a.Is4() {
			errs = append(errs, errors.New("hold: only IPv4, not "+a.String()))
		}
	}
	return errors.Join(errs...)
}

// Count is what a fault has done. Instants are the kernel's monotonic time in ns; 0: never.
type Count struct {
	Bytes int64 `json:"bytes"`
	First int64 `json:"first,omitempty"`
	Last  int64 `json:"last,omitempty"`
	// Flows name the connections that it has had an effect on, the same at both of their ends.
	Flows []uint64 `json:"flows,omitempty"`
}
