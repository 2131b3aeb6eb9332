package engine

import (
	"strconv"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/formatter"
)

// moments are when things happened in an exchange; noDeadline: not at all. Those of the upstream
// are the latest attempt's.
type moments struct {
	requested   clock.Instant // the request was received to its end
	tried       clock.Instant // the attempt began
	ready       clock.Instant // it had a connection, or there is none
	sending     clock.Instant // the request began to go upstream
	answered    clock.Instant // the first byte of the response came
	received    clock.Instant // the last byte
	responding  clock.Instant // the response began to go downstream
	responded   clock.Instant // its last byte went
	finished    clock.Instant
	bodyArrived clock.Instant // the first byte of the response's body
}

func newMoments() moments {
	const no = noDeadline
	return moments{no, no, no, no, no, no, no, no, no, no}
}

// attempt forgets what was of the attempt before.
func (m *moments) attempt(now clock.Instant) {
	m.tried = now
	m.ready, m.sending, m.answered = noDeadline, noDeadline, noDeadline
	m.received, m.bodyArrived = noDeadline, noDeadline
}

// timeOperators tell times.
var timeOperators = map[string]operator{
	"START_TIME":       instant(func(x *Exchange) clock.Instant { return x.start }, false),
	"START_TIME_LOCAL": instant(func(x *Exchange) clock.Instant { return x.start }, true),
	"EMIT_TIME":        instant(func(x *Exchange) clock.Instant { return x.now }, false),
	"EMIT_TIME_LOCAL":  instant(func(x *Exchange) clock.Instant { return x.now }, true),

	"DURATION": duration(begun, func(x *Exchange) clock.Instant {
		if x.log.ended {
			return x.log.at.finished
		}
		return x.now
	}),
	"REQUEST_DURATION":    atEnd(duration(begun, point("DS_RX_END"))),
	"REQUEST_TX_DURATION": atEnd(duration(begun, point("US_TX_END"))),
	"RESPONSE_DURATION":   atEnd(duration(begun, point("US_RX_BEG"))),
	"RESPONSE_TX_DURATION": atEnd(duration(point("US_RX_BEG"), func(x *Exchange) clock.Instant {
		return x.log.at.responded
	})),
	"UPSTREAM_CONNECTION_POOL_READY_DURATION": atEnd(duration(
		func(x *Exchange) clock.Instant { return x.log.at.tried },
		func(x *Exchange) clock.Instant { return x.log.at.ready })),
	"COMMON_DURATION": {syntax: formatter.Requires, make: commonDuration, end: true},
}

func begun(x *Exchange) clock.Instant { return x.start }

// instant is a time in a format.
func instant(of func(*Exchange) clock.Instant, local bool) operator {
	return operator{syntax: formatter.Optional, make: func(c formatter.Command) (eval, error) {
		f, err := formatter.ParseTime(c.Arg, local)
		return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
			return f.Append(x.e.opt.Wall(of(x)), out), formatter.Text
		}, err
	}}
}

// duration is the time between two moments in milliseconds.
func duration(from, to func(*Exchange) clock.Instant) operator {
	return alone(elapsed(from, to, time.Millisecond))
}

func elapsed(from, to func(*Exchange) clock.Instant, unit time.Duration) eval {
	return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
		a, b := from(x), to(x)
		if a == noDeadline || b == noDeadline || b < a {
			return out, formatter.None
		}
		return strconv.AppendInt(out, int64(b.Sub(a)/unit), 10), formatter.Number
	}
}

// point is a named moment (stream_info_formatter.cc KnownTimePointGetters); names that nothing sets
// are valid.
func point(name string) func(*Exchange) clock.Instant {
	return func(x *Exchange) clock.Instant {
		at := &x.log.at
		if x.hcm == nil {
			switch name {
			case "DS_RX_BEG", "DS_CX_BEG":
				return x.start
			case "DS_CX_END":
				if x.chain == nil {
					return noDeadline
				}
				return at.finished
			case "US_CX_BEG":
				return x.log.conn.Began
			case "US_CX_END":
				return x.log.conn.Connected
			case "US_HS_END":
				return secured(x.log.conn.TLS, x.log.conn.Secured)
			}
			return noDeadline
		}
		switch name {
		case "DS_CX_BEG":
			return x.ci.Born
		case "DS_CX_END": // requests end before their connection, but for this
			if !x.hasFlag("DC") {
				return noDeadline
			}
			return at.finished
		case "DS_RX_BEG":
			return x.start
		case "DS_RX_END":
			return at.requested
		case "US_CX_BEG":
			return x.log.conn.Began
		case "US_CX_END":
			return x.log.conn.Connected
		case "US_HS_END":
			return secured(x.log.conn.TLS, x.log.conn.Secured)
		case "US_TX_BEG":
			return at.sending
		case "US_TX_END":
			if at.sending == noDeadline || at.requested == noDeadline {
				return noDeadline
			}
			return max(at.sending, at.requested)
		case "US_RX_BEG":
			return at.answered
		case "US_RX_BODY_BEG":
			return at.bodyArrived
		case "US_RX_END":
			return at.received
		case "DS_TX_BEG":
			return at.responding
		case "DS_TX_END":
			return at.responded
		}
		return noDeadline
	}
}

// commonDuration is COMMON_DURATION(START:END:PRECISION).
func commonDuration(c formatter.Command) (eval, error) {
	part := strings.Split(c.Arg, ":")
	if len(part) < 2 || len(part) > 3 {
		return nil, formatter.Refusal("Invalid common duration configuration: " + c.Arg + ".")
	}
	unit := time.Millisecond
	if len(part) == 3 {
		switch part[2] {
		case "ms":
		case "us":
			unit = time.Microsecond
		case "ns":
			unit = time.Nanosecond
		default:
			return nil, formatter.Refusal("Invalid common duration precision: " + part[2] + ".")
		}
	}
	return elapsed(point(part[0]), point(part[1]), unit), nil
}
