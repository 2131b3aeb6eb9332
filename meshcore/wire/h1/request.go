package h1

import (
	"bytes"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// requestLine parses METHOD target HTTP/1.1. Runs of blanks separate, and may follow, as in Envoy.
func requestLine(h *wire.Head, line []byte) *Error {
	var rest, version []byte
	h.Method, rest = word(line)
	if !knownMethod(h.Method) {
		return errMethod
	}
	h.Target, rest = word(rest)
	version, rest = word(rest)
	if len(h.Target) == 0 || len(rest) > 0 {
		return errFirstLine
	}
	for _, c := range h.Target {
		if c <= ' ' || c >= 0x7f {
			return errURL
		}
	}
	switch {
	case len(version) == 0: // HTTP/0.9
	case !isVersion(version):
		return errVersion
	case string(version) == "HTTP/1.1":
		h.Minor = 1
	}
	// Envoy takes every version but 1.1 for 1.0, which it then answers with 426.
	return nil
}

// word splits off what comes before the next blanks.
func word(b []byte) (w, rest []byte) {
	i := 0
	for i < len(b) && b[i] != ' ' && b[i] != '\t' {
		i++
	}
	j := i
	for j < len(b) && (b[j] == ' ' || b[j] == '\t') {
		j++
	}
	return b[:i:i], b[j:]
}

// isVersion says whether v is HTTP/ and two digits.
func isVersion(v []byte) bool {
	return len(v) == 8 && string(v[:5]) == "HTTP/" && v[6] == '.' && isDigit(v[5]) && isDigit(v[7])
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// finishRequest completes a request head: target, host, connection, framing.
func (p *parser) finishRequest(h *wire.Head) *Error {
	if p.hosts > 1 {
		return errTwoHosts
	}
	connect := string(h.Method) == "CONNECT"
	if p.upgrade != nil && !connect && lists(p.conn, "upgrade") && !equalFold(p.upgrade, "h2c") {
		h.Upgrade = p.upgrade
	}
	if connect {
		if p.length > 0 {
			return errConnBody
		}
		if p.te > 0 {
			return errEncoding
		}
	}
	if err := p.finish(h); err != nil {
		return err
	}
	if p.hosts > 0 {
		h.Authority = p.host[:len(p.host):len(p.host)]
	}
	if err := p.connection(h); err != nil {
		return err
	}
	if h.Minor == 0 {
		h.Close = !lists(p.conn, "keep-alive")
	}
	if err := target(h, connect); err != nil {
		return err
	}
	if !all(h.Authority, &authorityOK) {
		return errHost
	}
	finishExpect(h)
	// The length as received: Connection may have taken the field out of the head, not the body
	// off the wire.
	h.NoBody = !h.Chunked && p.length <= 0 && h.Upgrade == nil && !connect
	return nil
}

// finishExpect notes Expect: 100-continue and cleans TE, of which only trailers goes on
// (conn_manager_utility.cc sanitizeTEHeader).
func finishExpect(h *wire.Head) {
	for i := 0; i < len(h.Fields); i++ {
		f := &h.Fields[i]
		switch string(f.Name) {
		case "expect":
			h.Expect100 = equalFold(f.Value, "100-continue")
		case "te":
			if !lists(f.Value, "trailers") {
				h.Fields = append(h.Fields[:i], h.Fields[i+1:]...)
				i--
			} else if len(f.Value) != len("trailers") {
				f.Value = h.Bytes("trailers")
			}
		case "http2-settings":
			if h.Upgrade == nil && h.Minor == 1 {
				h.Fields = append(h.Fields[:i], h.Fields[i+1:]...)
				i--
			}
		}
	}
}

// maxNominated is how many fields Connection may name (utility.cc sanitizeConnectionHeader).
const maxNominated = 10

// connection removes what Connection names.
func (p *parser) connection(h *wire.Head) *Error {
	n := 0
	for list := p.conn; len(list) > 0; {
		var item []byte
		if item, list = next(list); len(item) == 0 {
			continue
		}
		if n++; n >= maxNominated {
			return errConnection
		}
		if item[0] == ':' {
			return errConnection
		}
		if err := p.nominated(h, item); err != nil {
			return err
		}
	}
	return nil
}

// nominated handles one element of Connection. Fields that say where a request came from, and those
// that framing or routing needs, must not be named.
func (p *parser) nominated(h *wire.Head, item []byte) *Error {
	switch {
	case equalFold(item, "close"):
		h.Close = true
	case equalFold(item, "keep-alive"), equalFold(item, "upgrade"), equalFold(item, "te"),
		equalFold(item, "http2-settings"), equalFold(item, "connection"),
		equalFold(item, "transfer-encoding"), equalFold(item, "proxy-connection"):
	case equalFold(item, "x-forwarded-for"), equalFold(item, "x-forwarded-host"),
		equalFold(item, "x-forwarded-proto"):
		return errConnection
	case equalFold(item, "host"):
		h.Authority = nil // and so the request has none
	case h.Upgrade != nil: // Envoy leaves the other fields of an upgrade request alone
	default:
		name := h.Bytes(string(item))
		for i, c := range name {
			if tokens[c] != 0 {
				name[i] = tokens[c]
			}
		}
		if string(name) == "content-length" {
			h.ContentLength = -1
		}
		h.Del(string(name))
	}
	return nil
}

// target splits an absolute-form target and checks the others (codec_impl.cc handlePath).
func target(h *wire.Head, connect bool) *Error {
	t := h.Target
	switch {
	case connect:
		if !all(t, &urlHostOK) {
			return errURL
		}
		h.Authority, h.Target = t, nil
		return nil
	case t[0] == '/':
		return nil
	case t[0] == '*':
		if string(h.Method) != "OPTIONS" {
			return errTarget
		}
		return nil
	}
	scheme, rest, ok := bytes.Cut(t, []byte("://"))
	if !ok || len(scheme) == 0 || !all(scheme, &letters) {
		return errURL
	}
	end := bytes.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, path := rest[:end:end], rest[end:]
	if !all(host, &urlHostOK) || bytes.Contains(host, []byte("@@")) {
		return errURL
	}
	host = host[bytes.LastIndexByte(host, '@')+1:]
	if len(host) == 0 || !equalFold(scheme, "http") && !equalFold(scheme, "https") {
		return errTarget
	}
	h.Scheme, h.Authority, h.Target = scheme, host, path
	if len(path) == 0 {
		h.Target = h.Bytes("/")
	}
	return nil
}
