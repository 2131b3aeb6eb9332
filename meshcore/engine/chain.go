package engine

import "time"

// Chain is a compiled filter chain. RDS updates reach it without its replacement.
type Chain struct {
	Name string
	// HTTP holds what the driver needs of the HTTP connection manager; nil for a TCP chain.
	HTTP *HTTPOptions
	// TCPIdle is tcp_proxy's idle_timeout: 1 h unless set, 0 for none.
	TCPIdle time.Duration
}

// HTTPOptions are the settings of an HTTP connection manager that the driver carries out.
type HTTPOptions struct {
	IdleTimeout           time.Duration // downstream connection without request: 1 h unless set, 0 none
	StreamIdleTimeout     time.Duration // 5 min unless set, 0 none
	RequestTimeout        time.Duration // whole request received, 0 none
	RequestHeadersTimeout time.Duration // request head received, 0 none
	DelayedCloseTimeout   time.Duration // 1 s unless set
	MaxConnectionDuration time.Duration // 0 none
	MaxRequests           int           // max_requests_per_connection, 0 none
	MaxHeadersKB          int           // 60 unless set
	MaxHeaders            int           // 100 unless set
	Proxy100Continue      bool
	AcceptHTTP10          bool
	HTTP2                 bool // codec_type HTTP2: prior knowledge only
	ServerName            string
}
