// Package outlier is Envoy's outlier detection as arithmetic: results of attempts in, ejections and
// un-ejections out.
//
//	attempt ends ─▶ PutCode / PutResult ─▶ counters ─▶ threshold reached ─▶ Eject
//	interval     ─▶ Sweep ─▶ ejection time over ─▶ Uneject
//	                      ─▶ success rates of the interval ─▶ Eject
//
// It has no timer: the engine calls Sweep at each interval. It does not choose hosts: the engine
// copies the events into the balancer. Extension monitors are not done.
package outlier

import (
	"sync/atomic"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Result is how an attempt ended, in Envoy's words (Outlier::Result).
type Result uint8

// The results. Envoy's router reports LocalOriginConnectSuccess when a connection was assigned,
// LocalOriginTimeout with the code 504 when an attempt timed out before its response head, and
// LocalOriginConnectFailed without a code for every other reset of an attempt but overflow.
const (
	ExtOriginRequestFailed Result = iota
	ExtOriginRequestSuccess
	LocalOriginTimeout
	LocalOriginConnectFailed
	LocalOriginConnectSuccess
	LocalOriginConnectSuccessFinal
)

// Cause is an OutlierEjectionType.
type Cause uint8

// The causes, in the order of OutlierEjectionType.
const (
	Consecutive5xx Cause = iota
	ConsecutiveGatewayFailure
	SuccessRate
	ConsecutiveLocalOriginFailure
	SuccessRateLocalOrigin
	FailurePercentage
	FailurePercentageLocalOrigin
)

// String returns the name in Envoy's outlier event log.
func (c Cause) String() string {
	return [...]string{
		"CONSECUTIVE_5XX", "CONSECUTIVE_GATEWAY_FAILURE", "SUCCESS_RATE",
		"CONSECUTIVE_LOCAL_ORIGIN_FAILURE", "SUCCESS_RATE_LOCAL_ORIGIN", "FAILURE_PERCENTAGE",
		"FAILURE_PERCENTAGE_LOCAL_ORIGIN",
	}[c]
}

// EventKind says what happened to a host.
type EventKind uint8

// The kinds of event.
const (
	Eject      EventKind = iota + 1 // the host is out
	Uneject                         // the host is back
	Unenforced                      // detected, but the enforcing draw let it be
	Overflow                        // detected, but max_ejection_percent is reached
)

// String returns a lower-case word.
func (k EventKind) String() string {
	return [...]string{"none", "eject", "uneject", "unenforced", "overflow"}[k]
}

// Event is something that the detector did: what Envoy's outlier event log and statistics tell.
type Event struct {
	At      clock.Instant
	Monitor *Monitor
	Kind    EventKind
	Cause   Cause // but of Uneject
	// Ejections is how often the host has been ejected so far (num_ejections).
	Ejections uint32
	// For is how long the host is out at least; the first sweep after that brings it back (Eject).
	For time.Duration
	// SuccessRate is the host's in percent, for causes that judge rates; SuccessRate and
	// SuccessRateLocalOrigin also have the cluster's average and the threshold derived from it.
	SuccessRate, Average, Threshold float64
}

// Monitor counts one host's results (DetectorHostMonitorImpl). It is made by Detector.Add.
type Monitor struct {
	// Value is the caller's own.
	Value any

	ejected atomic.Bool

	consecutive5xx, consecutiveGateway, consecutiveLocal atomic.Uint32
	external, local                                      rate

	// What follows is the Detector's, under its mutex.
	removed     bool
	ejections   uint32
	multiplier  int64 // Envoy's ejectTimeBackoff
	jitter      time.Duration
	ejectedAt   clock.Instant
	unejectedAt clock.Instant // never before the first un-ejection
}

// Ejected says whether the host is out.
func (m *Monitor) Ejected() bool { return m.ejected.Load() }

// rate counts successes over an interval (SuccessRateAccumulator); the past interval is what is
// judged.
type rate struct {
	total, success         atomic.Uint64
	pastTotal, pastSuccess uint64
}

func (r *rate) put(success bool) {
	r.total.Add(1)
	if success {
		r.success.Add(1)
	}
}

// turn ends the interval.
func (r *rate) turn() {
	r.pastTotal, r.pastSuccess = r.total.Swap(0), r.success.Swap(0)
}

// zero resets a counter without writing to shared memory when there is nothing to do.
func zero(c *atomic.Uint32) {
	if c.Load() != 0 {
		c.Store(0)
	}
}
