package engine

import (
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/breaker"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// Breaker returns the circuit breaker under which the Attempt that stands takes its connection: the
// cluster's, at the route's priority. nil: no limits.
func (x *Exchange) Breaker() *breaker.Breaker { return nil }

// Breaker returns the circuit breaker of a copy. nil: no limits.
func (m *Mirror) Breaker() *breaker.Breaker { return nil }

// Malformed is a request head that the codec refused. Envoy answers it through the connection manager,
// so that it has a record (flag DPE) with what is known of it.
type Malformed struct {
	Status  int        // 400, 426, 431, 501
	Details string     // response_code_details: http1.codec_error, ...
	Head    *wire.Head // as far as it was understood
}

// StartMalformed begins an exchange that has no readable request: the answer is Reply (the body is the
// status' phrase, "Bad Request"), then Handle as ever.
func (e *Engine) StartMalformed(x *Exchange, c *Chain, ci *ConnInfo, m Malformed,
	now clock.Instant) Directive {
	return Directive{Kind: Done}
}
