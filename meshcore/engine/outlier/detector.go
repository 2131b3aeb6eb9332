package outlier

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// Detector watches the hosts of one cluster at one proxy, of all priorities together. It is safe
// for concurrent use; reporting a success takes no lock.
type Detector struct {
	cfg Config

	mu       sync.Mutex
	monitors []*Monitor
	ejected  int
}

// New returns a detector without hosts, or an error that names the field which Envoy would refuse.
// The first sweep is due one interval later.
func New(cfg Config) (*Detector, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	return &Detector{cfg: cfg}, nil
}

// String says in words when it ejects.
func (d *Detector) String() string { return d.cfg.String() }

// Interval returns the time between sweeps.
func (d *Detector) Interval() time.Duration { return d.cfg.Interval }

// Add begins to watch a host.
func (d *Detector) Add(value any) *Monitor {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &Monitor{Value: value, unejectedAt: clock.Never}
	d.monitors = append(d.monitors, m)
	return m
}

// Remove forgets a host that left the cluster; its ejection no longer counts.
func (d *Detector) Remove(m *Monitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.removed {
		return
	}
	m.removed = true
	if m.ejected.Load() {
		d.ejected--
	}
	d.monitors = slices.DeleteFunc(d.monitors, func(o *Monitor) bool { return o == m })
}

// Put is what PutResult takes beside the host.
type Put struct {
	Result Result
	Code   int // the status that the proxy makes of it, 0 without one
	Now    clock.Instant
	Rnd    uint64
}

// PutCode takes a response's status code when its head arrives (putHttpResponseCode); a gRPC
// answer's is the HTTP equivalent of its grpc-status.
func (d *Detector) PutCode(m *Monitor, code int, now clock.Instant, rnd uint64) []Event {
	return d.code(m, code, &turn{now: now, rnd: rnd})
}

// PutResult takes what the proxy itself saw of an attempt (putResult).
func (d *Detector) PutResult(m *Monitor, p Put) []Event {
	t := &turn{now: p.Now, rnd: p.Rnd}
	if d.cfg.SplitLocalOriginErrors {
		return d.split(m, p.Result, t)
	}
	code := p.Code
	if code == 0 {
		switch p.Result {
		case ExtOriginRequestSuccess, LocalOriginConnectSuccessFinal:
			code = 200
		case ExtOriginRequestFailed:
			code = 500
		case LocalOriginConnectFailed:
			code = 503
		case LocalOriginTimeout:
			code = 504
		case LocalOriginConnectSuccess:
			return nil // the request on the connection is yet to tell
		}
	}
	return d.code(m, code, t)
}

// split keeps what went wrong on the way apart from what the host answered
// (putResultWithLocalExternalSplit).
func (d *Detector) split(m *Monitor, r Result, t *turn) []Event {
	switch r {
	case LocalOriginTimeout, LocalOriginConnectFailed:
		m.local.put(false)
		if m.consecutiveLocal.Add(1) == d.cfg.ConsecutiveLocalOriginFailure {
			return d.consecutive(m, ConsecutiveLocalOriginFailure, t)
		}
		return nil
	case ExtOriginRequestFailed:
		return d.code(m, 503, t)
	case ExtOriginRequestSuccess:
		events := d.code(m, 200, t)
		m.local.put(true)
		zero(&m.consecutiveLocal)
		return events
	}
	m.local.put(true)
	zero(&m.consecutiveLocal)
	return nil
}

// code counts a status. A gateway error counts as such and as a 5xx; any other 5xx ends a run of
// gateway errors.
func (d *Detector) code(m *Monitor, code int, t *turn) (events []Event) {
	if code < 500 || code > 599 {
		m.external.put(true)
		zero(&m.consecutive5xx)
		zero(&m.consecutiveGateway)
		return nil
	}
	m.external.put(false)
	if code >= 502 && code <= 504 {
		if m.consecutiveGateway.Add(1) == d.cfg.ConsecutiveGatewayFailure {
			events = append(events, d.consecutive(m, ConsecutiveGatewayFailure, t)...)
		}
	} else {
		zero(&m.consecutiveGateway)
	}
	if m.consecutive5xx.Add(1) == d.cfg.Consecutive5xx {
		events = append(events, d.consecutive(m, Consecutive5xx, t)...)
	}
	return events
}

// consecutive handles a run of errors that reached its threshold (onConsecutiveErrorWorker). The
// run begins anew whether or not the host was ejected.
func (d *Detector) consecutive(m *Monitor, cause Cause, t *turn) []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.removed || m.ejected.Load() {
		return nil
	}
	e := d.eject(m, Event{Cause: cause}, t)
	switch cause {
	case Consecutive5xx:
		m.consecutive5xx.Store(0)
	case ConsecutiveGatewayFailure:
		m.consecutiveGateway.Store(0)
	case ConsecutiveLocalOriginFailure:
		m.consecutiveLocal.Store(0)
	}
	return []Event{e}
}

// turn is the time and the draws of one call.
type turn struct {
	now clock.Instant
	rnd uint64
	k   uint8
}

func (t *turn) draw() uint64 {
	v := clock.Draw(t.rnd, t.k)
	if t.k++; t.k == 0 {
		t.rnd = clock.Mix(t.rnd)
	}
	return v
}

// eject ejects a detected host if max_ejection_percent and the enforcing draw allow (ejectHost).
// The host itself counts in the percentage, so that 10 % of fewer than ten hosts is nobody; before
// 1.28 Envoy always let one go. e comes with its cause. Caller must hold mu.
func (d *Detector) eject(m *Monitor, e Event, t *turn) Event {
	e.At, e.Monitor, e.Ejections = t.now, m, m.ejections
	percent := 100 * float64(d.ejected+1) / float64(len(d.monitors))
	allowed := percent <= float64(d.cfg.MaxEjectionPercent) ||
		d.cfg.AlwaysEjectOneHost && d.ejected == 0
	switch {
	case !allowed:
		e.Kind = Overflow
		return e
	case t.draw()%100 >= uint64(d.cfg.enforcing(e.Cause)):
		e.Kind = Unenforced
		return e
	}
	d.ejected++
	m.ejected.Store(true)
	m.ejections++
	m.ejectedAt = t.now
	jitter := t.draw() % uint64(d.cfg.MaxEjectionTimeJitter/time.Millisecond+1)
	m.jitter = time.Duration(jitter) * time.Millisecond
	if d.cfg.BaseEjectionTime*time.Duration(m.multiplier) <
		d.cfg.MaxEjectionTime+d.cfg.BaseEjectionTime {
		m.multiplier++
	}
	e.Kind, e.Ejections, e.For = Eject, m.ejections, d.ejectionTime(m)
	return e
}

// ejectionTime is how long a host is out: base times its multiplier, at most max, plus the jitter.
func (d *Detector) ejectionTime(m *Monitor) time.Duration {
	return min(d.cfg.BaseEjectionTime*time.Duration(m.multiplier), d.cfg.MaxEjectionTime) + m.jitter
}

// Sweep is the interval timer (onIntervalTimer): it brings hosts back, judges the success rates of
// the interval and lets multipliers decay. The next sweep is due at next.
func (d *Detector) Sweep(now clock.Instant, rnd uint64) (events []Event, next clock.Instant) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &turn{now: now, rnd: rnd}
	for _, m := range d.monitors {
		if m.ejected.Load() && now.Sub(m.ejectedAt) >= d.ejectionTime(m) {
			events = append(events, d.uneject(m, now))
		}
		m.external.turn()
		m.local.turn()
	}
	events = append(events, d.judge(SuccessRate, FailurePercentage, t)...)
	events = append(events, d.judge(SuccessRateLocalOrigin, FailurePercentageLocalOrigin, t)...)
	for _, m := range d.monitors {
		back := !m.ejected.Load() && m.unejectedAt != clock.Never
		if back && now.Sub(m.unejectedAt) >= d.cfg.Interval && m.multiplier > 0 {
			m.multiplier--
		}
	}
	return events, now.Add(d.cfg.Interval)
}

// uneject brings a host back with clean counters (unejectHost). Caller must hold mu.
func (d *Detector) uneject(m *Monitor, now clock.Instant) Event {
	d.ejected--
	m.ejected.Store(false)
	m.consecutive5xx.Store(0)
	m.consecutiveGateway.Store(0)
	m.consecutiveLocal.Store(0)
	m.unejectedAt = now
	return Event{At: now, Monitor: m, Kind: Uneject, Ejections: m.ejections}
}

// judged is a host with its success rate in percent.
type judged struct {
	m    *Monitor
	rate float64
}

// judge ejects by the success rates of the past interval (processSuccessRateEjections): hosts that
// are too far below the mean, then hosts that fail too often. A host that the first ejects is not
// ejected again by the second, where Envoy would count it twice and never let go of the second
// count. Caller must hold mu.
func (d *Detector) judge(bySuccess, byFailure Cause, t *turn) (events []Event) {
	n := len(d.monitors)
	if n < int(d.cfg.SuccessRateMinimumHosts) && n < int(d.cfg.FailurePercentageMinimumHosts) {
		return nil
	}
	var success, failure []judged
	for _, m := range d.monitors {
		r := &m.external
		if bySuccess == SuccessRateLocalOrigin {
			r = &m.local
		}
		if m.ejected.Load() || r.pastTotal == 0 {
			continue
		}
		j := judged{m, float64(r.pastSuccess) * 100 / float64(r.pastTotal)}
		if r.pastTotal >= uint64(d.cfg.SuccessRateRequestVolume) {
			success = append(success, j)
		}
		if r.pastTotal >= uint64(d.cfg.FailurePercentageRequestVolume) {
			failure = append(failure, j)
		}
	}
	if len(success) > 0 && len(success) >= int(d.cfg.SuccessRateMinimumHosts) {
		average, threshold := successThreshold(success, float64(d.cfg.SuccessRateStdevFactor)/1000)
		for _, j := range success {
			if j.rate < threshold {
				events = append(events, d.eject(j.m, Event{Cause: bySuccess, SuccessRate: j.rate,
					Average: average, Threshold: threshold}, t))
			}
		}
	}
	if len(failure) > 0 && len(failure) >= int(d.cfg.FailurePercentageMinimumHosts) {
		for _, j := range failure {
			if !j.m.ejected.Load() && 100-j.rate >= float64(d.cfg.FailurePercentageThreshold) {
				events = append(events, d.eject(j.m,
					Event{Cause: byFailure, SuccessRate: j.rate}, t))
			}
		}
	}
	return events
}

// successThreshold is the mean less factor standard deviations (successRateEjectionThreshold).
func successThreshold(hosts []judged, factor float64) (mean, threshold float64) {
	for _, h := range hosts {
		mean += h.rate
	}
	mean /= float64(len(hosts))
	variance := 0.0
	for _, h := range hosts {
		variance += float64((h.rate - mean) * (h.rate - mean))
	}
	variance /= float64(len(hosts))
	return mean, mean - float64(factor*math.Sqrt(variance))
}
