package topology

import (
	"context"
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// FaultKind names what a fault breaks. The words are those of scenarios and of `mesh-lab chaos`.
type FaultKind string

// The faults. Each means the same in every topology; one that a topology can not do, it refuses
// with the reason (Breaker.Able).
const (
	// FaultKill ends the Part of Pods at once, as kill -9 does. Healing starts it again, with an
	// empty memory.
	FaultKill FaultKind = "kill"
	// FaultPause stops the Part of Pods, as SIGSTOP does: connections stay open, nothing answers.
	FaultPause FaultKind = "pause"
	// FaultPartition drops what From sends to To: connections that are open fall silent, new ones
	// find nobody. Both also drops what To sends to From.
	FaultPartition FaultKind = "partition"
	// FaultLink has connections from From to To suffer what Link says, in the direction of the
	// data: Both says also that of the answers.
	FaultLink FaultKind = "link"
	// FaultRefuse has new connections to Ports of the apps of Pods refused.
	FaultRefuse FaultKind = "refuse"
	// FaultUnready has the readiness probes of Pods fail, or take Delay to notice the truth.
	FaultUnready FaultKind = "unready"
	// FaultStarve leaves Pods CPU of one core.
	FaultStarve FaultKind = "starve"
	// FaultDNS has look-ups of Names by Pods go as DNS says.
	FaultDNS FaultKind = "dns"
	// FaultControl has the control plane behave as Control says.
	FaultControl FaultKind = "control plane"
)

// Part is which of a pod's parts a fault is about.
type Part string

// The parts of a pod.
const (
	PartPod   Part = "pod"   // all of it; also when empty
	PartApp   Part = "app"   // its app only
	PartProxy Part = "proxy" // its sidecar only, or what a gateway is
)

// Fault is one thing to break, by pods (POD.NAMESPACE; Outside where From or To may name it). What
// does not belong to its Kind is empty.
type Fault struct {
	Kind FaultKind `json:"kind"`
	Name string    `json:"name"` // what it is called in records, and by who heals it

	Pods  []string `json:"pods,omitempty"`
	Part  Part     `json:"part,omitempty"`  // kill, pause
	From  []string `json:"from,omitempty"`  // partition, link; empty: every pod, and outside
	To    []string `json:"to,omitempty"`    // partition, link; empty: every pod
	Both  bool     `json:"both,omitempty"`  // partition, link
	Ports []int    `json:"ports,omitempty"` // partition, link, refuse; of To; empty: all

	Link    Link          `json:"link,omitzero"`
	Delay   time.Duration `json:"delay,omitempty"` // unready; 0: the probe fails
	CPU     float64       `json:"cpu,omitempty"`   // starve; in (0, 1]
	Names   []string      `json:"names,omitempty"` // dns; empty: all
	DNS     DNSFault      `json:"dns,omitzero"`
	Control ControlFault  `json:"control,omitzero"`

	Seed uint64 `json:"seed,omitempty"` // of what is drawn: jitter, loss
}

// Link is what a connection suffers, as Toxiproxy's toxics do.
type Link struct {
	Delay  time.Duration `json:"delay,omitempty"`  // of every byte, one way
	Jitter time.Duration `json:"jitter,omitempty"` // Delay ± Jitter, even
	// Bandwidth bounds how much passes, in bytes a second, of each connection.
	Bandwidth int64 `json:"bandwidth,omitempty"`
	// Loss is the share of packets that are dropped, in [0, 1]. Connections of one process on
	// loopback have no packets: topologies without a network of their own can not.
	Loss float64 `json:"loss,omitempty"`
	// ResetAfter resets a connection when so many bytes have passed; 0 bytes: at once.
	ResetAfter *int64 `json:"reset_after,omitempty"`
	// HalfOpen accepts connections and passes nothing on, in neither direction; those that are open
	// fall silent.
	HalfOpen bool `json:"half_open,omitempty"`
}

// DNSFault is how look-ups go; exactly one of the first three, or Delay alone.
type DNSFault struct {
	Silent bool          `json:"silent,omitempty"` // no answer
	Fail   bool          `json:"fail,omitempty"`   // SERVFAIL
	Wrong  string        `json:"wrong,omitempty"`  // this address, wherever the name leads
	Delay  time.Duration `json:"delay,omitempty"`  // before any answer
}

// ControlFault is how the control plane behaves.
type ControlFault struct {
	// Down takes it away; healing brings it back, with an empty memory.
	Down     bool          `json:"down,omitempty"`
	Slow     time.Duration `json:"slow,omitempty"`     // each push leaves so much later
	Withhold []string      `json:"withhold,omitempty"` // these proxies get no push
}

// Receipt says how often and when a fault took effect, from the place where it acts.
type Receipt struct {
	Fired int64         `json:"fired"`           // in Unit; 0: it did nothing
	Unit  string        `json:"unit"`            // such as "connections reset"
	Bytes int64         `json:"bytes,omitempty"` // held, delayed or dropped, where known
	First clock.Instant `json:"first_ns,omitempty"`
	Last  clock.Instant `json:"last_ns,omitempty"`
	// Evidence is what the place itself said, such as a container's exit event.
	Evidence []string `json:"evidence,omitempty"`
}

// Plus adds another receipt of the same fault up.
func (r Receipt) Plus(o Receipt) Receipt {
	r.Fired, r.Bytes = r.Fired+o.Fired, r.Bytes+o.Bytes
	if o.First != 0 && (r.First == 0 || o.First < r.First) {
		r.First = o.First
	}
	r.Last = max(r.Last, o.Last)
	r.Evidence = slices.Concat(r.Evidence, o.Evidence)
	return r
}

// Breaker breaks things in a mesh.
type Breaker interface {
	// Able says why this topology can not do a fault; nil: it can. It looks at the kind and the
	// strength, not at whether the pods exist.
	Able(f Fault) error
	// Break has a fault begin. When it returns, the fault is in effect; on an error nothing is.
	Break(ctx context.Context, f Fault) (Broken, error)
	// Whole says what is still broken, from the places where faults act: nil when nothing is.
	Whole(ctx context.Context) error
}

// Broken is a fault in effect.
type Broken interface {
	Receipt(ctx context.Context) (Receipt, error)
	// Change gives the fault another strength while it lasts (Link, CPU, Delay); kind and targets
	// stay.
	Change(ctx context.Context, f Fault) error
	// Heal ends it, and returns when what it broke is as before: pods run, are ready and
	// configured, links pass. It may be called again. The Receipt is as it was at the end.
	Heal(ctx context.Context) error
}
