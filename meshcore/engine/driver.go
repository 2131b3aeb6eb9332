package engine

import (
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// Malformed is a request head that never comes to routing: the codec refused it, or the connection
// manager does at first sight. Envoy has a record of it, with what is known.
type Malformed struct {
	Status  int
	Details string     // response_code_details: http1.codec_error, low_version, ...
	Body    string     // "Bad Request" when the codec refused; the connection manager says nothing
	Flag    string     // DPE when the codec refused
	Head    *wire.Head // as far as it was understood
}

// StartMalformed begins an exchange that has no readable request: the answer is Reply, then
// Handle as ever.
func (e *Engine) StartMalformed(x *Exchange, c *Chain, ci *ConnInfo, m Malformed,
	now clock.Instant) Directive {
	x.reset(e, c, ci, now, 0)
	x.head, x.hcm = m.Head, c.hcm
	x.complete = true
	x.Record.Protocol = protocolOf(ci, m.Head)
	x.log.unread = m.Flag != "" || m.Details == "request_header_timeout"
	if x.log.unread {
		x.Record.Protocol = "HTTP/1.1" // the codec's
	} else {
		x.log.at.requested = now
	}
	if m.Flag != "" {
		x.flag(m.Flag)
	} else {
		x.note()
	}
	return x.stand(x.reply(localReply{status: m.Status, body: m.Body, details: m.Details,
		grpc: -1}))
}
