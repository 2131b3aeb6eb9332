// Package outlier is Envoy's outlier detection as arithmetic: results of requests in, ejections and
// un-ejections out. It has no timer: the engine calls Sweep at each interval.
package outlier

import (
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Config is a Cluster's outlier_detection, every field given. Start from Default.
type Config struct {
	Interval               time.Duration
	BaseEjectionTime       time.Duration
	MaxEjectionTime        time.Duration // 0: max(300s, BaseEjectionTime)
	MaxEjectionTimeJitter  time.Duration
	MaxEjectionPercent     uint32
	AlwaysEjectOneHost     bool
	SplitLocalOriginErrors bool // split_external_local_origin_errors

	Consecutive5xx                uint32 // 0: off
	ConsecutiveGatewayFailure     uint32
	ConsecutiveLocalOriginFailure uint32

	// The enforcing percentages: how likely a detected outlier is ejected.
	EnforcingConsecutive5xx                uint32
	EnforcingConsecutiveGatewayFailure     uint32
	EnforcingConsecutiveLocalOriginFailure uint32
	EnforcingSuccessRate                   uint32
	EnforcingLocalOriginSuccessRate        uint32
	EnforcingFailurePercentage             uint32
	EnforcingFailurePercentageLocalOrigin  uint32

	SuccessRateMinimumHosts        uint32
	SuccessRateRequestVolume       uint32
	SuccessRateStdevFactor         uint32 // divided by 1000
	FailurePercentageThreshold     uint32
	FailurePercentageMinimumHosts  uint32
	FailurePercentageRequestVolume uint32
}

// Default returns Envoy's defaults (outlier_detection.proto).
func Default() Config { return Config{} }

// Result is how an attempt ended, in Envoy's words (Outlier::Result).
type Result uint8

// The results.
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

// Event is something that the detector did: what Envoy's outlier event log and statistics tell.
type Event struct {
	At      clock.Instant
	Monitor *Monitor
	Kind    EventKind
	Cause   Cause // Eject, Unenforced, Overflow
	// Ejections is how often the host has been ejected so far (num_ejections).
	Ejections uint32
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

// Monitor counts one host's results. Its methods are the Detector's.
type Monitor struct {
	// Value is the caller's own.
	Value any
}

// Ejected says whether the host is out.
func (m *Monitor) Ejected() bool { return false }

// Detector watches the hosts of one cluster at one proxy. It is safe for concurrent use.
type Detector struct{ cfg Config }

// New returns a detector without hosts, or an error that names the field which Envoy would refuse.
func New(cfg Config) (*Detector, error) { return &Detector{cfg: cfg}, nil }

// Add begins to watch a host.
func (d *Detector) Add(value any) *Monitor { return &Monitor{Value: value} }

// Remove forgets a host that left the cluster; its ejection no longer counts.
func (d *Detector) Remove(m *Monitor) {}

// PutCode takes a response's status code (the router's putHttpResponseCode).
func (d *Detector) PutCode(m *Monitor, code int, now clock.Instant, rnd uint64) []Event {
	return nil
}

// PutResult takes an attempt's end without a response of the upstream (putResult); code is the status
// that the router makes of it, 0 without one.
func (d *Detector) PutResult(m *Monitor, in Put) []Event { return nil }

// Put is PutResult's argument.
type Put struct {
	Result Result
	Code   int
	Now    clock.Instant
	Rnd    uint64
}

// Sweep is the interval timer: un-ejects, judges success rates, lets multipliers decay. The next sweep
// is due at next.
func (d *Detector) Sweep(now clock.Instant, rnd uint64) (events []Event, next clock.Instant) {
	return nil, now.Add(d.cfg.Interval)
}
