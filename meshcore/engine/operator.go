package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/formatter"
)

// eval is what an operator does.
type eval = formatter.Eval[*Exchange]

// operator is one command operator of Envoy's substitution formatter.
type operator struct {
	syntax formatter.Syntax
	make   func(c formatter.Command) (eval, error)
	// end says that the value is known only when the exchange has ended: access logs alone may ask
	// for it. Envoy would put what it has counted until then into a header.
	end bool
}

// operators is what is carried out (source/common/formatter/stream_info_formatter.cc,
// http_specific_formatter.cc, at 1.40).
var operators = gather(httpOperators, streamOperators, upstreamOperators, timeOperators,
	byteOperators, metadataOperators, tlsOperators, absentOperators())

func gather(tables ...map[string]operator) map[string]operator {
	out := map[string]operator{}
	for _, t := range tables {
		for name, o := range t {
			if _, twice := out[name]; twice {
				panic("engine: two operators " + name)
			}
			out[name] = o
		}
	}
	return out
}

// notYetOperators are Envoy's others, and why they are refused.
var notYetOperators = map[string]string{
	"CEL":                                          "expressions are not evaluated",
	"TYPED_CEL":                                    "expressions are not evaluated",
	"DOWNSTREAM_CX_RTT":                            "the kernel is not asked",
	"DOWNSTREAM_DETECTED_CLOSE_TYPE":               "how connections were closed is not noted",
	"UPSTREAM_DETECTED_CLOSE_TYPE":                 "how connections were closed is not noted",
	"DOWNSTREAM_LOCAL_CLOSE_REASON":                "how connections were closed is not noted",
	"UPSTREAM_LOCAL_CLOSE_REASON":                  "how connections were closed is not noted",
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS":              "the socket's own address is not kept",
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT": "the socket's own address is not kept",
	"DOWNSTREAM_DIRECT_LOCAL_PORT":                 "the socket's own address is not kept",
	"ROUTE_RESOLUTION_COUNT":                       "route look-ups are not counted",
	"ROUTE_RESOLUTION_TIME_US":                     "route look-ups are not timed",
	"DOWNSTREAM_TLS_SESSION_ID":                    "crypto/tls does not tell it",
	"UPSTREAM_TLS_SESSION_ID":                      "crypto/tls does not tell it",
	"DOWNSTREAM_PEER_OTHERNAME_SAN":                "names of other kinds are not read",
	"DOWNSTREAM_LOCAL_OTHERNAME_SAN":               "names of other kinds are not read",
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256":       "of a chain the first certificate is kept",
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1":         "of a chain the first certificate is kept",
	"DOWNSTREAM_PEER_CHAIN_SERIALS":                "of a chain the first certificate is kept",
	"DOWNSTREAM_PEER_ISSUER_SERIAL":                "of a chain the first certificate is kept",
}

// perRequestState is what header values once called FILTER_STATE, and still may
// (source/common/router/header_parser.cc).
const perRequestState = "PER_REQUEST_STATE"

// findOperator returns the table's look-up. end: the exchange will have ended; withoutQuery: the
// formatter extension of %REQ_WITHOUT_QUERY% is configured.
func findOperator(end, withoutQuery bool) formatter.Lookup[*Exchange] {
	return func(c formatter.Command) (eval, error) {
		if why, ok := notYetOperators[c.Name]; ok {
			return nil, fmt.Errorf("command operator %%%s%% %s: %s", c.Name, notCarried, why)
		}
		if c.Name == perRequestState && !end {
			return nil, fmt.Errorf("command operator %%%s%% %s: %%FILTER_STATE%% is its new name",
				c.Name, notCarried)
		}
		o, ok := operators[c.Name]
		if !ok || c.Name == "REQ_WITHOUT_QUERY" && !withoutQuery {
			return nil, formatter.Refusal("Not supported field in StreamInfo: " + c.Name)
		}
		if err := o.syntax.Check(c); err != nil {
			return nil, err
		}
		if o.end && !end {
			return nil, fmt.Errorf("command operator %%%s%% in a header value %s", c.Name,
				notCarried)
		}
		return o.make(c)
	}
}

// alone is an operator without parameters.
func alone(e eval) operator {
	return operator{make: func(formatter.Command) (eval, error) { return e, nil }}
}

// atEnd restricts operators to access logs.
func atEnd(o operator) operator {
	o.end = true
	return o
}

// text is an operator that gives a string; the empty one is no value.
func text(of func(x *Exchange) string) operator {
	return alone(func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		s := of(x)
		if s == "" {
			return out, formatter.None
		}
		return append(out, s...), formatter.Text
	})
}

// constant is an operator that always gives the same string, which may be empty.
func constant(s string) operator {
	return alone(func(_ *Exchange, out []byte) ([]byte, formatter.Kind) {
		return append(out, s...), formatter.Text
	})
}

// count is an operator that gives a number.
func count(of func(x *Exchange) int64) operator {
	return alone(func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		return strconv.AppendInt(out, of(x), 10), formatter.Number
	})
}

func nothing(_ *Exchange, out []byte) ([]byte, formatter.Kind) { return out, formatter.None }

// absentOperators have no value in any configuration that is carried out: there is no tracer, no
// virtual cluster, no HTTP/3, and nothing ends connections for reasons of its own.
func absentOperators() map[string]operator {
	out := map[string]operator{}
	for _, n := range strings.Fields(`TRACE_ID SPAN_ID VIRTUAL_CLUSTER_NAME ROUNDTRIP_DURATION
		TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT`) {
		out[n] = operator{syntax: formatter.Alone,
			make: func(formatter.Command) (eval, error) { return nothing, nil }}
	}
	return out
}

// streamOperators tell of the stream, its connection and its proxy.
var streamOperators = map[string]operator{
	"PROTOCOL": text(func(x *Exchange) string {
		if x.hcm == nil {
			return ""
		}
		return x.Record.Protocol
	}),
	"RESPONSE_CODE": count(func(x *Exchange) int64 {
		if x.log.ended {
			return int64(x.Record.Status)
		}
		return int64(x.upstreamStatus)
	}),
	"RESPONSE_CODE_DETAILS": {syntax: formatter.Optional, make: responseCodeDetails},
	"RESPONSE_FLAGS": alone(func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		if x.flagCount == 0 {
			return append(out, '-'), formatter.Text
		}
		return x.appendFlags(out), formatter.Text
	}),
	"RESPONSE_FLAGS_LONG": alone(func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		for i, f := range x.flags[:x.flagCount] {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, longFlags[f]...)
		}
		if x.flagCount == 0 {
			out = append(out, '-')
		}
		return out, formatter.Text
	}),
	"CUSTOM_FLAGS":          constant(""),
	"ROUTE_NAME":            text(func(x *Exchange) string { return x.Record.Route }),
	"FILTER_CHAIN_NAME":     text(func(x *Exchange) string { return x.Record.Chain }),
	"REQUESTED_SERVER_NAME": text(serverName),
	"HOSTNAME":              text(func(x *Exchange) string { return x.e.opt.Workload.Pod }),
	"CONNECTION_ID":         count(func(x *Exchange) int64 { return int64(x.log.connection) }),
	"ACCESS_LOG_TYPE":       atEnd(text(func(x *Exchange) string { return x.log.kind })),
	"UNIQUE_ID": alone(func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		n := x.log.unique
		x.log.unique += 2
		return appendUUID(out, draw(x.rnd, drawUnique+n, 0), draw(x.rnd, drawUnique+n+1, 0)),
			formatter.Text
	}),
	"CONNECTION_TERMINATION_DETAILS": text(
		func(x *Exchange) string { return x.termination }),

	"STREAM_ID":   alone(streamID),
	"ENVIRONMENT": {syntax: formatter.Requires | formatter.Length, make: environment},

	"DOWNSTREAM_REMOTE_ADDRESS":                     address(remote),
	"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":        host(remote),
	"DOWNSTREAM_REMOTE_PORT":                        port(remote),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":              address(directRemote),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": host(directRemote),
	"DOWNSTREAM_DIRECT_REMOTE_PORT":                 port(directRemote),
	"DOWNSTREAM_LOCAL_ADDRESS":                      address(local),
	"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":         host(local),
	"DOWNSTREAM_LOCAL_PORT":                         port(local),
	// Only internal addresses have an endpoint id.
	"DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID":        constant(""),
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID": constant(""),
}

// responseCodeDetails has no blanks; the parameter that asks for them is not carried out.
func responseCodeDetails(c formatter.Command) (eval, error) {
	if c.Arg == "ALLOW_WHITESPACES" {
		return nil, fmt.Errorf("command operator %%%s(%s)%% %s", c.Name, c.Arg, notCarried)
	}
	return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		switch {
		case x.chain == nil:
			return append(out, filterChainNotFound...), formatter.Text
		case x.hcm == nil && x.authz.closed != "":
			return append(out, x.authz.closed...), formatter.Text
		case x.Record.Details == "" || x.hcm == nil:
			return out, formatter.None
		}
		return append(out, x.Record.Details...), formatter.Text
	}, nil
}

// serverName is the SNI; what no host name has in it becomes an underscore
// (source/common/common/utility.cc sanitizeInvalidHostname).
func serverName(x *Exchange) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' ||
			r == '.' {
			return r
		}
		return '_'
	}, x.ci.SNI)
}

// streamID is the request's id; a TCP connection has a random one of its own
// (source/common/tcp_proxy/tcp_proxy.cc).
func streamID(x *Exchange, out []byte) ([]byte, formatter.Kind) {
	switch {
	case x.chain == nil:
		return out, formatter.None
	case x.hcm == nil:
		hi, lo := draw(x.rnd, drawStreamID, 0), draw(x.rnd, drawStreamID+1, 0)
		return appendUUID(out, hi, lo), formatter.Text
	}
	h := x.requestHead()
	if h == nil {
		return out, formatter.None
	}
	v, ok := h.Get("x-request-id")
	if !ok {
		return out, formatter.None
	}
	return append(out, v...), formatter.Text
}

// environment reads a variable once; one that is not set gives "-", also where empty values are
// omitted (stream_info_formatter.cc EnvironmentFormatter).
func environment(c formatter.Command) (eval, error) {
	return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		n := len(out)
		if get := x.e.opt.Getenv; get != nil {
			if v, ok := get(c.Arg); ok {
				return formatter.Truncate(append(out, v...), n, c.Max), formatter.Text
			}
		}
		return append(out, '-'), formatter.Text
	}, nil
}

func remote(x *Exchange) netip.AddrPort       { return x.remote }
func directRemote(x *Exchange) netip.AddrPort { return x.ci.Direct }
func local(x *Exchange) netip.AddrPort        { return x.ci.Local }

func address(of func(*Exchange) netip.AddrPort) operator {
	return alone(func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		if at := of(x); at.IsValid() {
			return at.AppendTo(out), formatter.Text
		}
		return out, formatter.None
	})
}

func port(of func(*Exchange) netip.AddrPort) operator {
	return alone(func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		if at := of(x); at.IsValid() {
			return strconv.AppendUint(out, uint64(at.Port()), 10), formatter.Number
		}
		return out, formatter.None
	})
}

// host is the address alone; a parameter that is a number masks it to that many bits, and any other
// parameter is ignored (measured with 1.40; a length beyond the address's own is cut to it, a
// negative one gives the empty string).
func host(of func(*Exchange) netip.AddrPort) operator {
	return operator{syntax: formatter.Optional, make: func(c formatter.Command) (eval, error) {
		bits, err := strconv.Atoi(c.Arg)
		return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
			at := of(x)
			switch {
			case !at.IsValid():
				return out, formatter.None
			case err != nil:
				return at.Addr().AppendTo(out), formatter.Text
			case bits < 0:
				return out, formatter.Text
			}
			p, _ := at.Addr().Prefix(min(bits, at.Addr().BitLen()))
			return p.AppendTo(out), formatter.Text
		}, nil
	}}
}

// longFlags are the long names of response flags (source/common/stream_info/utility.h
// ResponseFlagStrings).
var longFlags = map[string]string{
	"UH": "NoHealthyUpstream", "UF": "UpstreamConnectionFailure", "UO": "UpstreamOverflow",
	"NR": "NoRouteFound", "URX": "UpstreamRetryLimitExceeded", "NC": "NoClusterFound",
	"DT": "DurationTimeout", "DC": "DownstreamConnectionTermination",
	"LH": "FailedLocalHealthCheck", "UT": "UpstreamRequestTimeout", "LR": "LocalReset",
	"UR": "UpstreamRemoteReset", "UC": "UpstreamConnectionTermination", "DI": "DelayInjected",
	"FI": "FaultInjected", "RL": "RateLimited", "UAEX": "UnauthorizedExternalService",
	"RLSE": "RateLimitServiceError", "IH": "InvalidEnvoyRequestHeaders", "SI": "StreamIdleTimeout",
	"DPE": "DownstreamProtocolError", "UPE": "UpstreamProtocolError",
	"UMSDR": "UpstreamMaxStreamDurationReached", "RFCF": "ResponseFromCacheFilter",
	"NFCF": "NoFilterConfigFound", "OM": "OverloadManagerTerminated", "DF": "DnsResolutionFailed",
	"DO": "DropOverLoad", "DR": "DownstreamRemoteReset", "UDO": "UnconditionalDropOverload",
}

// hasFlag says whether a response flag was set.
func (x *Exchange) hasFlag(f string) bool { return slices.Contains(x.flags[:x.flagCount], f) }
