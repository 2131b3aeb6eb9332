// Package lb holds Envoy's load-balancing policies over the hosts of one cluster: ROUND_ROBIN,
// LEAST_REQUEST, RANDOM, RING_HASH and MAGLEV, with priorities and locality weights.
//
//	Assignment ──Update──▶ priority loads, locality schedules, rings (rebuilt, swapped)
//	ejections ──Refresh─▶        │
//	Context ─────Pick────▶ priority ▶ locality ▶ policy ▶ host predicates ▶ Host
//
// It never asks for the time or for randomness: a draw is a function of Context.Rnd. It does not do
// zone-aware routing, slow start, degraded hosts or bounded loads.
package lb

import (
	"cmp"
	"fmt"
	"sync/atomic"
	"time"
)

// Policy is a cluster's lb_policy.
type Policy uint8

// The policies.
const (
	RoundRobin Policy = iota
	LeastRequest
	Random
	RingHash
	Maglev
)

// String returns Envoy's name of the policy.
func (p Policy) String() string {
	switch p {
	case RoundRobin:
		return "ROUND_ROBIN"
	case LeastRequest:
		return "LEAST_REQUEST"
	case Random:
		return "RANDOM"
	case RingHash:
		return "RING_HASH"
	case Maglev:
		return "MAGLEV"
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// hashes says whether the policy goes by the request's hash.
func (p Policy) hashes() bool { return p == RingHash || p == Maglev }

// Config is what a Cluster says about load balancing. The zero value is Envoy's default, except
// that HealthyPanicThreshold is 50 in Envoy when common_lb_config does not give it.
type Config struct {
	Policy Policy
	// HealthyPanicThreshold is common_lb_config.healthy_panic_threshold in percent. 0: no panic
	// (what Istio sets).
	HealthyPanicThreshold uint32
	// LocalityWeighted says that common_lb_config.locality_weighted_lb_config is present.
	LocalityWeighted bool
	// ChoiceCount is least_request_lb_config.choice_count; 0 means 2.
	ChoiceCount uint32
	// ActiveRequestBias is least_request_lb_config.active_request_bias; nil means 1.0. It acts only
	// when host weights differ.
	ActiveRequestBias *float64
	// MinRingSize and MaxRingSize are ring_hash_lb_config's; 0 means 1024 and 8388608.
	MinRingSize, MaxRingSize uint64
	// TableSize is maglev_lb_config.table_size, a prime; 0 means 65537.
	TableSize uint64
	// UpdateMergeWindow is common_lb_config.update_merge_window; nil means 1s, 0 none.
	UpdateMergeWindow *time.Duration
	// Seed stands for the random start of rotations (load_balancer_impl.cc seed_).
	Seed uint64
	// Local is the proxy's own locality: its hosts come first among the localities.
	Local Locality
}

// Locality is where hosts are.
type Locality struct{ Region, Zone, SubZone string }

// compare orders localities as Envoy does (LocalityLess).
func (l Locality) compare(o Locality) int {
	return cmp.Or(cmp.Compare(l.Region, o.Region), cmp.Compare(l.Zone, o.Zone),
		cmp.Compare(l.SubZone, o.SubZone))
}

// Host is one upstream host. The engine makes one for each address of a cluster and keeps it across
// updates. Its exported plain fields are set before first use and never after.
type Host struct {
	// Address is IP:port as Envoy prints it ("10.244.0.7:8080"); hash policies hash it.
	Address string
	// HashKey replaces Address in hash policies: the endpoint metadata's envoy.lb hash_key, or the
	// host name with use_hostname_for_hashing. Empty: Address.
	HashKey string
	// Value is the caller's own.
	Value any
	// Active counts the requests in flight (rq_active): the caller adds and subtracts,
	// LEAST_REQUEST reads.
	Active atomic.Int64
	// Ejected is the outlier detector's flag (FAILED_OUTLIER_CHECK); it takes effect with a
	// Refresh of the balancer.
	Ejected atomic.Bool

	priority atomic.Uint32
	out      bool // Ejected as it took effect; guarded by the balancer's mu
}

// hashKey is what hash policies know the host by (ThreadAwareLoadBalancerBase hashKey).
func (h *Host) hashKey() string { return cmp.Or(h.HashKey, h.Address) }

// Priority returns the priority that the latest Update gave to the host.
func (h *Host) Priority() uint32 { return h.priority.Load() }

// Endpoint is one lb_endpoint of an assignment.
type Endpoint struct {
	Host *Host
	// Weight is load_balancing_weight; 0 means 1.
	Weight uint32
	// Unhealthy says that health_status is UNHEALTHY, DRAINING or TIMEOUT.
	Unhealthy bool
}

// LocalityEndpoints is one element of ClusterLoadAssignment.endpoints.
type LocalityEndpoints struct {
	Locality Locality
	Priority uint32
	// Weight is the locality's load_balancing_weight; 0 also when absent, and then a
	// locality-weighted cluster sends it nothing.
	Weight    uint32
	Endpoints []Endpoint
}

// Assignment is a ClusterLoadAssignment.
type Assignment struct {
	Localities []LocalityEndpoints
	// OverprovisioningFactor is policy.overprovisioning_factor; 0 means 140.
	OverprovisioningFactor uint32
	// WeightedPriorityHealth is policy.weighted_priority_health.
	WeightedPriorityHealth bool
}

// Context is what one choice of a host depends on (LoadBalancerContext).
type Context struct {
	// Hash is the hash policy's value, meaningful with HasHash.
	Hash    uint64
	HasHash bool
	// Rnd is this choice's random value; the balancer derives all its draws from it with
	// clock.Draw. Another attempt of the same request needs another value.
	Rnd uint64
	// Skip is the retry host predicate (shouldSelectAnotherHost): true asks for another host. Nil
	// accepts every host.
	Skip func(*Host) bool
	// MaxTries is host_selection_retry_max_attempts: how many further choices a Skip may cause.
	// After the last one its host is taken, skipped or not.
	MaxTries uint32
	// Retry is the exchange's retry priority; nil without that plugin. RING_HASH and MAGLEV ignore
	// it, as in Envoy (thread_aware_lb_impl.cc chooses the priority without the context).
	Retry *PreviousPriorities
	// Told, when not nil, is told how the host was chosen.
	Told *Choice
}
