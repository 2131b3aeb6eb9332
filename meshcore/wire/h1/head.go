package h1

import (
	"bytes"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// parser takes a head line by line, as the lines come in; it never looks at a byte twice.
type parser struct {
	lim     Limits
	pos     int // start of the line that is not yet complete
	scan    int // no line end before this
	first   bool
	framing bool // the last field was one that framing or routing depends on

	length  int64 // content-length; -1 none
	coding  []byte
	conn    []byte // Connection, joined
	te      int    // number of Transfer-Encoding fields
	fields  int
	upgrade []byte
	hosts   int
	host    []byte
	bytes   int // of header lines, as Envoy counts them
}

func (p *parser) reset(lim Limits) { *p = parser{lim: lim, first: true, length: -1} }

// parse takes the complete lines of buf. done says that the empty line was among them; p.pos is
// then the length of the head.
func (p *parser) parse(buf []byte, h *wire.Head, first func(*wire.Head, []byte) *Error) (done bool,
	err *Error) {
	for {
		i := bytes.IndexByte(buf[p.scan:], '\n')
		if i < 0 {
			p.scan = len(buf)
			if len(buf) > p.lim.HeadBytes {
				return false, errTooLarge
			}
			return false, nil
		}
		start, end := p.pos, p.scan+i
		p.pos, p.scan = end+1, end+1
		if p.pos > p.lim.HeadBytes {
			return false, errTooLarge
		}
		if end == start || buf[end-1] != '\r' {
			return false, errBareLF
		}
		line := buf[start : end-1 : end-1]
		switch {
		case p.first && len(line) == 0: // CRLF before the first line: accepted, as Envoy does
		case p.first:
			p.first = false
			err = first(h, line)
		case len(line) == 0:
			return true, nil
		default:
			err = p.field(h, line)
		}
		if err != nil {
			return false, err
		}
	}
}

// field takes one field line.
func (p *parser) field(h *wire.Head, line []byte) *Error {
	if line[0] == ' ' || line[0] == '\t' {
		return p.fold(h, line)
	}
	i := 0
	for i < len(line) && tokens[line[i]] != 0 {
		line[i] = tokens[line[i]]
		i++
	}
	if i == 0 || i == len(line) || line[i] != ':' {
		return errName
	}
	name, value := line[:i:i], trim(line[i+1:])
	if !all(value, &valueOK) {
		return errValue
	}
	if p.fields++; p.fields > p.lim.Fields {
		return errTooMany
	}
	// Envoy source/common/http/http1/codec_impl.cc onHeaderField, onHeaderValue: the name, the
	// trimmed value, and CRLF_SIZE + 1.
	p.bytes += len(name) + len(value) + 3
	p.framing = true
	switch string(name) {
	case "host":
		p.hosts++
		p.host = value
	case "content-length":
		n := digits(value)
		if n < 0 || p.length >= 0 {
			return errLength // Envoy refuses a second one even when it is the same
		}
		p.length = n
		h.Fields = append(h.Fields, wire.Field{Name: name, Value: value})
	case "transfer-encoding":
		p.te++
		p.coding = value
	case "connection":
		p.conn = join(h, p.conn, value)
	case "upgrade":
		p.upgrade = join(h, p.upgrade, value)
	case "keep-alive", "proxy-connection": // hop by hop
	default:
		p.framing = false
		h.Fields = append(h.Fields, wire.Field{Name: name, Value: value})
	}
	return nil
}

// join makes one list of two fields of a name.
func join(h *wire.Head, a, b []byte) []byte {
	if a == nil {
		return b
	}
	return h.Bytes(string(a) + "," + string(b))
}

// fold takes a continuation line (obs-fold): CR and LF vanish from the value, the blanks stay, as
// in Envoy. Framing fields must not be folded, where parsers differ the most.
func (p *parser) fold(h *wire.Head, line []byte) *Error {
	if p.fields == 0 || p.framing {
		return errFold
	}
	if !all(line, &valueOK) {
		return errValue
	}
	f := &h.Fields[len(h.Fields)-1]
	f.Value = trim(h.Bytes(string(f.Value) + string(line)))
	return nil
}

// finish judges transfer-encoding against content-length. Envoy: codec_impl.cc,
// onHeadersCompleteBase.
func (p *parser) finish(h *wire.Head) *Error {
	h.ContentLength = p.length
	if p.te == 0 {
		return nil
	}
	if p.length >= 0 {
		return errBothLength
	}
	if p.te > 1 || !equalFold(p.coding, "chunked") {
		return errEncoding
	}
	h.Chunked = true
	return nil
}

// lists says whether a comma-separated list has an element (lower-case).
func lists(list []byte, token string) bool {
	for len(list) > 0 {
		var item []byte
		if item, list = next(list); equalFold(item, token) {
			return true
		}
	}
	return false
}
