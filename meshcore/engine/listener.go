package engine

import "time"

// Listener is a compiled listener. It stays valid (and unchanged) after an Update for the connections
// that hold it.
type Listener struct {
	Name string
	// Outbound is the traffic direction; gateways are outbound as istiod marks them.
	Outbound bool
	// InspectTimeout bounds the reading of Inspect (listener_filters_timeout; 0 is none), and
	// ContinueOnTimeout says that the connection goes on, its protocol undetected.
	InspectTimeout    time.Duration
	ContinueOnTimeout bool
}

// Inspect says what must be found out before Chain is asked.
type Inspect struct {
	HTTP bool // http_inspector: ConnInfo.ALPN "http/1.0", "http/1.1" or "h2c"
	TLS  bool // tls_inspector: Transport, SNI, ALPN
}

// Inspect returns the inspectors that this connection needs (filter_disabled is heeded).
func (l *Listener) Inspect(ci *ConnInfo) Inspect { return Inspect{} }

// Chain returns the filter chain of a connection; nil means that none matches and the connection is
// closed (Envoy: NR, filter_chain_not_found).
func (l *Listener) Chain(ci *ConnInfo) *Chain { return nil }
