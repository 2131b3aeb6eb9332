package als

import (
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
)

// connection takes the entry of a TCP connection. Caller must hold mu.
func (n *node) connection(e *datav3.TCPAccessLogEntry) {
	c := e.GetCommonProperties()
	tag, ok := tagOf(c)
	if !ok {
		n.dropped++
		return
	}
	x := exchange{}
	n.common(&x.record, c, &tag)
	x.record.Protocol = "TCP"
	x.record.BytesReceived = int64(e.GetConnectionProperties().GetReceivedBytes())
	x.record.BytesSent = int64(e.GetConnectionProperties().GetSentBytes())
	n.give(&x)
}
