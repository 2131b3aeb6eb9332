package h1

import "github.com/mesh-lab/mesh-lab/meshcore/wire"

// statusLine parses HTTP/1.1 200 reason; the reason is dropped. Other versions count as 1.0, as
// in Envoy.
func statusLine(h *wire.Head, line []byte) *Error {
	if len(line) < 12 || !isVersion(line[:8]) || line[8] != ' ' {
		return errStatus
	}
	if string(line[:8]) == "HTTP/1.1" {
		h.Minor = 1
	}
	n := digits(line[9:12])
	if n < 100 || len(line) > 12 && line[12] != ' ' {
		return errStatus
	}
	h.Status = int(n)
	if !all(line[12:], &valueOK) {
		return errStatus
	}
	return nil
}

// asked is what a response's framing depends on.
type asked struct{ head, connect, upgrade, old bool }

// finishResponse completes a response head. Envoy: ClientConnectionImpl::onHeadersCompleteBase.
func (p *parser) finishResponse(h *wire.Head, q asked) *Error {
	if p.te > 0 && (h.Status < 200 || h.Status == 204) {
		return errNoContentT
	}
	if err := p.finish(h); err != nil {
		return err
	}
	if h.Status < 200 || h.Status == 204 {
		if p.length > 0 {
			return errNoContent
		}
		h.Del("content-length")
		h.ContentLength = -1
	}
	if h.Status == 101 {
		if !q.upgrade {
			return errSwitch
		}
		h.Upgrade = p.upgrade
		if h.Upgrade == nil {
			h.Upgrade = []byte{}
		}
		return nil
	}
	h.Close = lists(p.conn, "close") || h.Minor == 0 && !lists(p.conn, "keep-alive")
	h.NoBody = q.head || h.Status < 200 || h.Status == 204 || h.Status == 304 ||
		h.ContentLength == 0
	if !h.NoBody && !h.Chunked && h.ContentLength < 0 {
		h.Close = true // the end of the connection is the end of the body
	}
	return nil
}
