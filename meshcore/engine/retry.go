package engine

import (
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// conditions are what a retry policy retries on.
type conditions uint32

const (
	on5xx conditions = 1 << iota
	onGatewayError
	onReset
	onResetBeforeRequest
	onConnectFailure
	onRetriable4xx
	onRefusedStream
	onRetriableStatusCodes
	onRetriableHeaders
	onRateLimited
	onHTTP3
	onCancelled
	onDeadlineExceeded
	onResourceExhausted
	onUnavailable
	onInternal

	onGRPC = onCancelled | onDeadlineExceeded | onResourceExhausted | onUnavailable | onInternal
)

var conditionNames = map[string]conditions{
	"5xx": on5xx, "gateway-error": onGatewayError, "reset": onReset,
	"reset-before-request": onResetBeforeRequest, "connect-failure": onConnectFailure,
	"retriable-4xx": onRetriable4xx, "refused-stream": onRefusedStream,
	"retriable-status-codes": onRetriableStatusCodes, "retriable-headers": onRetriableHeaders,
	"envoy-ratelimited": onRateLimited, "http3-post-connect-failure": onHTTP3,
	"cancelled": onCancelled, "deadline-exceeded": onDeadlineExceeded,
	"resource-exhausted": onResourceExhausted, "unavailable": onUnavailable, "internal": onInternal,
}

// retryPolicy is a compiled RetryPolicy.
type retryPolicy struct {
	on          conditions
	retries     int
	perTry      time.Duration
	codes       []int
	headers     []match.Header // of responses
	requests    []match.Header // retriable_request_headers
	base, limit time.Duration
	otherHosts  bool // previous_hosts
	maxTries    uint32
	priorities  uint32 // previous_priorities' update_frequency, 0 without it
}

func (c *compiler) retryPolicy(m *routev3.RetryPolicy) *retryPolicy {
	p := &retryPolicy{retries: 1, perTry: c.duration("per_try_timeout", m.GetPerTryTimeout()),
		base: 25 * time.Millisecond, maxTries: 1,
		headers:  c.headers("retriable_headers", m.GetRetriableHeaders()),
		requests: c.headers("retriable_request_headers", m.GetRetriableRequestHeaders())}
	if n := m.GetNumRetries(); n != nil {
		p.retries = int(n.GetValue())
	}
	// Envoy ignores words that it does not know (retry_state_impl.cc parseRetryOn).
	for _, name := range strings.Split(m.GetRetryOn(), ",") {
		p.on |= conditionNames[strings.TrimSpace(name)]
	}
	for _, code := range m.GetRetriableStatusCodes() {
		p.codes = append(p.codes, int(code))
	}
	if n := m.GetHostSelectionRetryMaxAttempts(); n > 0 {
		p.maxTries = uint32(n)
	}
	for i, h := range m.GetRetryHostPredicate() {
		leave := c.at("retry_host_predicate", i)
		p.otherHosts = c.any(h.GetTypedConfig(), &previoushostsv3.PreviousHostsPredicate{})
		if !p.otherHosts {
			c.fail("typed_config", "%s %s", h.GetName(), notCarried)
		}
		leave()
	}
	if r := m.GetRetryPriority(); r != nil {
		prev := &prioritiesv3.PreviousPrioritiesConfig{}
		if !c.any(r.GetTypedConfig(), prev) {
			c.fail("retry_priority", "%s %s", r.GetName(), notCarried)
		}
		if p.priorities = uint32(prev.GetUpdateFrequency()); p.priorities == 0 {
			c.notCarried("retry_priority", "update_frequency 0")
		}
	}
	c.backOff(p, m.GetRetryBackOff())
	return p
}

func (c *compiler) backOff(p *retryPolicy, m *routev3.RetryPolicy_RetryBackOff) {
	if m != nil {
		p.base = c.duration("retry_back_off.base_interval", m.GetBaseInterval())
		if m.GetBaseInterval() == nil || p.base <= 0 {
			c.fail("retry_back_off.base_interval", "value must be greater than 0s")
		}
		// Back-off counts in milliseconds; less than one is one.
		p.base = max(p.base, time.Millisecond)
	}
	p.limit = 10 * p.base
	if d := m.GetMaxInterval(); d != nil {
		p.limit = max(c.duration("retry_back_off.max_interval", d), time.Millisecond)
		if p.limit < p.base {
			c.fail("retry_back_off.max_interval",
				"retry_policy.max_interval must greater than or equal to the base_interval")
		}
	}
}

// retryState is what is left of a retry policy during one exchange (RetryStateImpl).
type retryState struct {
	policy    *retryPolicy // nil: nothing is retried
	on        conditions
	remaining int
	interval  time.Duration // the next back-off is below it
	counted   *Cluster      // whose breaker counts the retry under way
}

// verdict is what RetryStateImpl::shouldRetry says.
type verdict uint8

const (
	noRetry verdict = iota
	yesRetry
	retryOverflow
	retryLimit
)

func (r *retryState) begin(p *retryPolicy, h *wire.Head) {
	*r = retryState{}
	if p == nil || p.on == 0 {
		return
	}
	r.policy, r.on, r.remaining, r.interval = p, p.on, p.retries, p.base
	if len(p.requests) > 0 {
		matched := false
		for i := range p.requests {
			matched = matched || p.requests[i].Match(h)
		}
		if !matched {
			r.on = 0
		}
	}
}

// end gives a counted retry back (RetryStateImpl::resetRetry).
func (r *retryState) end() {
	if r.counted != nil {
		r.counted.Breaker.RetryDone()
		r.counted = nil
	}
}

// drop ends all retrying.
func (r *retryState) drop() {
	r.end()
	r.policy = nil
}

// should decides about another attempt; full is Options.RetryFull.
func (r *retryState) should(would bool, c *Cluster, full func() bool) verdict {
	r.end()
	switch {
	case !would:
		return noRetry
	case r.remaining == 0:
		return retryLimit
	}
	r.remaining--
	if full != nil && full() || !c.Breaker.Retry() {
		return retryOverflow
	}
	r.counted = c
	return yesRetry
}

// backOff draws how long to wait: fully jittered, in whole milliseconds below an interval that
// doubles (backoff_strategy.cc JitteredExponentialBackOffStrategy).
func (r *retryState) backOff(rnd uint64, attempt int) time.Duration {
	ms := uint64(r.interval / time.Millisecond)
	d := time.Duration(draw(rnd, drawRetry, attempt)%ms) * time.Millisecond
	if r.interval <= r.policy.limit/2 {
		r.interval *= 2
	} else {
		r.interval = r.policy.limit
	}
	return min(d, r.policy.limit)
}

// response says whether a response head asks for a retry (wouldRetryFromHeaders).
func (r *retryState) response(h *wire.Head) bool {
	if _, ok := h.Get("x-envoy-ratelimited"); ok {
		return r.on&onRateLimited != 0
	}
	s := h.Status
	switch {
	case r.on&on5xx != 0 && s >= 500 && s < 600,
		r.on&onGatewayError != 0 && (s == 502 || s == 503 || s == 504),
		r.on&onRetriable4xx != 0 && s == 409:
		return true
	}
	if r.on&onRetriableStatusCodes != 0 {
		for _, code := range r.policy.codes {
			if s == code {
				return true
			}
		}
	}
	if r.on&onRetriableHeaders != 0 {
		for i := range r.policy.headers {
			if r.policy.headers[i].Match(h) {
				return true
			}
		}
	}
	if r.on&onGRPC == 0 {
		return false
	}
	// The request need not be gRPC: any response with a grpc-status is judged.
	v, ok := h.Get("grpc-status")
	code, number := unsigned(v)
	if !ok || !number {
		return false
	}
	switch code {
	case 1:
		return r.on&onCancelled != 0
	case 4:
		return r.on&onDeadlineExceeded != 0
	case 8:
		return r.on&onResourceExhausted != 0
	case 13:
		return r.on&onInternal != 0
	case 14:
		return r.on&onUnavailable != 0
	}
	return false
}

// reset says whether a broken attempt asks for a retry (wouldRetryFromReset).
func (r *retryState) reset(why resetReason, headSent bool) bool {
	switch {
	case why == resetOverflow:
		return false
	case r.on&(onReset|on5xx|onGatewayError) != 0:
		return true
	case r.on&onResetBeforeRequest != 0 && !headSent:
		return true
	case r.on&onRefusedStream != 0 && why == resetRemoteRefused:
		return true
	case r.on&onConnectFailure != 0:
		return why == resetConnectFailure || why == resetLocalConnectFailure ||
			why == resetConnectTimeout
	}
	return false
}
