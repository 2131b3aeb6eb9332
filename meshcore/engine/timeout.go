package engine

import (
	"strconv"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

func (c *compiler) timeouts(a *action, m *routev3.RouteAction) {
	if d := m.GetTimeout(); d != nil {
		a.timeout = c.duration("timeout", d).Truncate(time.Millisecond)
	}
	optional := func(field string, d *durationpb.Duration) *time.Duration {
		if d == nil {
			return nil
		}
		v := c.duration(field, d)
		return &v
	}
	a.idle = optional("idle_timeout", m.GetIdleTimeout())
	//nolint:staticcheck // istiod sets the deprecated field
	a.maxGRPC = optional("max_grpc_timeout", m.GetMaxGrpcTimeout())
	//nolint:staticcheck // as above
	a.grpcOffset = c.duration("grpc_timeout_offset", m.GetGrpcTimeoutOffset())
	if s := m.GetMaxStreamDuration(); s != nil {
		a.maxStream = optional("max_stream_duration.max_stream_duration", s.GetMaxStreamDuration())
		a.grpcMax = optional("max_stream_duration.grpc_timeout_header_max",
			s.GetGrpcTimeoutHeaderMax())
		a.grpcMaxOffset = c.duration("max_stream_duration.grpc_timeout_header_offset",
			s.GetGrpcTimeoutHeaderOffset())
		a.newTimeouts = a.grpcMax != nil
	}
}

// grpcTimeout reads the grpc-timeout header: up to eight digits and a unit (grpc/common.cc
// getGrpcTimeout).
func grpcTimeout(h *wire.Head) time.Duration {
	v, ok := h.Get("grpc-timeout")
	if !ok || len(v) < 2 || len(v) > 9 {
		return 0
	}
	n, ok := unsigned(v[:len(v)-1])
	if !ok {
		return 0
	}
	d := time.Duration(n)
	switch v[len(v)-1] {
	case 'H':
		return d * time.Hour
	case 'M':
		return d * time.Minute
	case 'S':
		return d * time.Second
	case 'm':
		return d * time.Millisecond
	case 'u': // sub-millisecond units are rounded up
		return (d*time.Microsecond + time.Millisecond - 1).Truncate(time.Millisecond)
	case 'n':
		return (d + time.Millisecond - 1).Truncate(time.Millisecond)
	}
	return 0
}

// capped is a gRPC deadline below a maximum, where 0 stands for none.
func capped(d, limit, offset time.Duration) time.Duration {
	if offset < d {
		d -= offset
	}
	if limit != 0 && (d == 0 || d > limit) {
		return limit
	}
	return d
}

// finalTimeout settles the time-outs of the request (router.cc FilterUtility::finalTimeout). The
// x-envoy-upstream-rq-timeout-ms headers were removed on arrival: only requests that are
// internal by internal_address_config may bring them.
func (x *Exchange) finalTimeout(a *action, h *wire.Head) {
	x.global, x.perTry = 0, 0
	if !a.newTimeouts {
		x.global = a.timeout
		if x.grpc && a.maxGRPC != nil {
			x.global = capped(grpcTimeout(h), *a.maxGRPC, a.grpcOffset)
		}
	}
	if a.retry != nil {
		x.perTry = a.retry.perTry.Truncate(time.Millisecond)
	}
	if x.perTry >= x.global && x.global != 0 {
		x.perTry = 0
	}
	x.expected(a, h, 0)
}

// expected tells the upstream how long it has (setTimeoutHeaders).
func (x *Exchange) expected(a *action, h *wire.Head, elapsed time.Duration) {
	d := x.perTry
	if d == 0 {
		d = x.global
	}
	if d == 0 {
		return
	}
	if x.global > 0 {
		if elapsed >= x.global {
			d = time.Millisecond
		} else {
			d = min(d, x.global-elapsed)
		}
	}
	if !x.hcm.suppress {
		set(h, "x-envoy-expected-rq-timeout-ms", number(h, d.Milliseconds()))
	}
	if x.grpc && !a.newTimeouts && a.maxGRPC != nil {
		set(h, "grpc-timeout", h.Bytes(strconv.FormatInt(d.Milliseconds(), 10)+"m"))
	}
}

// startDuration sets the bound of the whole stream (conn_manager_impl.cc refreshDurationTimeout).
func (x *Exchange) startDuration() {
	d := x.hcm.maxStream
	if r := x.route; r != nil && r.action != nil {
		a := r.action
		switch {
		case a.grpcMax != nil && x.grpc:
			if d = grpcTimeout(x.head); *a.grpcMax != 0 && (d == 0 || d > *a.grpcMax) {
				d = *a.grpcMax
			}
			if a.grpcMaxOffset < d {
				d -= a.grpcMaxOffset
			}
		case a.maxStream != nil:
			d = *a.maxStream
		}
	}
	x.duration = noDeadline
	if d > 0 {
		x.duration = x.start.Add(d)
	}
}

const noDeadline = clock.Never

func (x *Exchange) durationDeadline() clock.Instant { return x.duration }

// number writes an integer into the head's buffer.
func number(h *wire.Head, n int64) []byte {
	var b [20]byte
	return h.Bytes(view(strconv.AppendInt(b[:0], n, 10)))
}
