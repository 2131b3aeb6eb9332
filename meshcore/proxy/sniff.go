package proxy

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
)

// proxyV2 begins a PROXY protocol version 2 header (haproxy.org, proxy-protocol.txt, section 2.2).
const proxyV2 = "\r\n\r\n\x00\r\nQUIT\n"

// need reads until n bytes are there.
func (d *downstream) need(n int) bool {
	for len(d.srv.Preread()) < n {
		if d.srv.More() != nil {
			return false
		}
	}
	return true
}

// maxProxyV1 is the longest header of version 1 (proxy-protocol.txt, section 2.1).
const maxProxyV1 = 107

// readProxyHeader restores the addresses of a captured connection.
func (d *downstream) readProxyHeader() bool {
	if !d.need(len("PROXY ")) {
		return false
	}
	if bytes.HasPrefix(d.srv.Preread(), []byte("PROXY ")) {
		return d.readProxyV1()
	}
	if !d.need(16) {
		return false
	}
	b := d.srv.Preread()
	size := 16 + int(binary.BigEndian.Uint16(b[14:16]))
	if string(b[:12]) != proxyV2 || b[12]>>4 != 2 || size > 4<<10 || !d.need(size) {
		return false
	}
	b = d.srv.Preread()
	local := b[12]&0xf == 0
	switch family := b[13] >> 4; {
	case local:
	case family == 1 && size >= 28:
		d.info.Remote = pair(b[16:20], b[24:26])
		d.info.Local = pair(b[20:24], b[26:28])
	case family == 2 && size >= 52:
		d.info.Remote = pair(b[16:32], b[48:50])
		d.info.Local = pair(b[32:48], b[50:52])
	default:
		return false
	}
	d.srv.Skip(size)
	return true
}

// readProxyV1 reads a header of version 1: PROXY TCP4 192.0.2.1 198.51.100.1 40000 80\r\n
func (d *downstream) readProxyV1() bool {
	for {
		b := d.srv.Preread()
		line, _, whole := bytes.Cut(b, []byte("\r\n"))
		if whole && len(line)+2 <= maxProxyV1 {
			size := len(line) + 2
			if !d.proxyV1(strings.Split(string(line), " ")) {
				return false
			}
			d.srv.Skip(size)
			return true
		}
		if whole || len(b) >= maxProxyV1 || d.srv.More() != nil {
			return false
		}
	}
}

// proxyV1 takes the addresses of a version 1 header.
func (d *downstream) proxyV1(word []string) bool {
	if len(word) > 1 && word[1] == "UNKNOWN" {
		return true // the addresses of the connection stay
	}
	if len(word) != 6 || word[1] != "TCP4" && word[1] != "TCP6" {
		return false
	}
	from, err := netip.ParseAddrPort(net.JoinHostPort(word[2], word[4]))
	to, err2 := netip.ParseAddrPort(net.JoinHostPort(word[3], word[5]))
	v6 := word[1] == "TCP6"
	if err != nil || err2 != nil || from.Addr().Is6() != v6 || to.Addr().Is6() != v6 {
		return false
	}
	d.info.Remote, d.info.Local = from, to
	return true
}

func pair(ip, port []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}

// inspect runs the listener filters that look into the first bytes.
func (d *downstream) inspect(in engine.Inspect) bool {
	if !in.HTTP && !in.TLS {
		return true
	}
	if t := d.listener.InspectTimeout; t > 0 {
		d.conn.SetReadDeadline(time.Now().Add(t))
		defer d.conn.SetReadDeadline(time.Time{})
	}
	tls, http := in.TLS, in.HTTP
	for tls || http {
		b := d.srv.Preread()
		if tls {
			hello, more := readClientHello(b)
			if tls = more; !more && hello.found {
				d.info.Transport, d.info.SNI = "tls", hello.sni
				d.info.ALPN, http = hello.alpn, false
			}
		}
		if http && !tls {
			proto, more := detectHTTP(b)
			if http = more; proto != "" {
				d.info.ALPN = []string{proto}
				d.info.HTTP2 = proto == "h2c"
			}
		}
		if !tls && !http {
			break
		}
		if err := d.srv.More(); err != nil {
			if isTimeout(err) && d.listener.ContinueOnTimeout {
				return true
			}
			if len(b) > 0 {
				d.leaveUnread()
			}
			return false
		}
	}
	return true
}

// leaveUnread has the connection be reset when it is closed: Envoy has only peeked at what it then
// leaves in the socket (source/common/network/listener_filter_buffer_impl.cc).
func (d *downstream) leaveUnread() {
	if c, ok := d.conn.(interface{ SetLinger(sec int) error }); ok {
		c.SetLinger(0)
	}
}

const h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// maxFirstLine bounds how much http_inspector looks at.
const maxFirstLine = 12 << 10

// detectHTTP says which protocol the first bytes are; more: not yet to be told.
func detectHTTP(b []byte) (proto string, more bool) {
	if len(b) < len(h2Preface) && h2Preface[:len(b)] == string(b) {
		return "", true
	}
	if bytes.HasPrefix(b, []byte(h2Preface)) {
		return "h2c", false
	}
	if len(b) > 0 && (b[0] == '\r' || b[0] == '\n') {
		return "", false
	}
	line, _, whole := bytes.Cut(b, []byte("\n"))
	method, _, spaced := bytes.Cut(line, []byte(" "))
	if bytes.ContainsFunc(method, notToken) || spaced && len(method) == 0 {
		return "", false
	}
	if !whole {
		return "", len(b) < maxFirstLine
	}
	line = bytes.TrimRight(line, "\r ")
	switch {
	case bytes.HasSuffix(line, []byte(" HTTP/1.1")):
		return "http/1.1", false
	case bytes.HasSuffix(line, []byte(" HTTP/1.0")):
		return "http/1.0", false
	}
	return "", false
}

// notToken says which characters no method has: any token will do, for the inspector's parser takes
// methods that the codec then refuses (http_inspector.cc: allow_custom_methods).
func notToken(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// clientHello is what tls_inspector finds.
type clientHello struct {
	found bool
	sni   string
	alpn  []string
}

// maxHello is tls_inspector's limit.
const maxHello = 16 << 10

// readClientHello reads a TLS client hello; more: not yet to be told. Like Envoy's, it waits for
// five bytes before it knows plain text.
func readClientHello(b []byte) (h clientHello, more bool) {
	if len(b) > 0 && b[0] != 0x16 && len(b) >= 5 {
		return h, false
	}
	if len(b) < 5 {
		return h, true
	}
	var msg []byte
	for rest := b; ; {
		if len(rest) < 5 {
			return h, len(b) < maxHello
		}
		n := int(binary.BigEndian.Uint16(rest[3:5]))
		if rest[0] != 0x16 || rest[1] != 3 || n == 0 || n > maxHello {
			return h, false
		}
		if len(rest) < 5+n {
			return h, len(b) < maxHello
		}
		msg = append(msg, rest[5:5+n]...)
		rest = rest[5+n:]
		if len(msg) < 4 {
			continue
		}
		if msg[0] != 1 {
			return h, false
		}
		if size := 4 + int(msg[1])<<16 + int(msg[2])<<8 + int(msg[3]); len(msg) >= size {
			return parseHello(msg[4:size]), false
		}
	}
}

// vector takes a length-prefixed vector off b.
func vector(b []byte, prefix int) (v, rest []byte, ok bool) {
	if len(b) < prefix {
		return nil, nil, false
	}
	n := 0
	for _, c := range b[:prefix] {
		n = n<<8 | int(c)
	}
	if b = b[prefix:]; len(b) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// parseHello reads the extensions of a client hello (RFC 8446, 4.1.2).
func parseHello(b []byte) (h clientHello) {
	h.found = true
	if len(b) < 34 {
		return h
	}
	_, b, ok := vector(b[34:], 1) // session id
	if ok {
		_, b, ok = vector(b, 2) // cipher suites
	}
	if ok {
		_, b, ok = vector(b, 1) // compression
	}
	if ok {
		b, _, ok = vector(b, 2)
	}
	for ok && len(b) >= 4 {
		kind := binary.BigEndian.Uint16(b)
		var ext []byte
		if ext, b, ok = vector(b[2:], 2); !ok {
			break
		}
		switch list, _, good := vector(ext, 2); {
		case !good:
		case kind == 0 && len(list) > 3 && list[0] == 0:
			name, _, _ := vector(list[1:], 2)
			h.sni = string(bytes.ToLower(name))
		case kind == 16:
			for good && len(list) > 0 {
				var p []byte
				if p, list, good = vector(list, 1); good {
					h.alpn = append(h.alpn, string(p))
				}
			}
		}
	}
	return h
}
