package h1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// script is a connection that delivers given pieces, then the end, and keeps what is written.
type script struct {
	net.Conn
	in  [][]byte
	out bytes.Buffer
	end error
}

func (s *script) Read(b []byte) (int, error) {
	for len(s.in) > 0 && len(s.in[0]) == 0 {
		s.in = s.in[1:]
	}
	if len(s.in) == 0 {
		if s.end != nil {
			return 0, s.end
		}
		return 0, io.EOF
	}
	n := copy(b, s.in[0])
	s.in[0] = s.in[0][n:]
	return n, nil
}

func (s *script) Write(b []byte) (int, error)      { return s.out.Write(b) }
func (s *script) Close() error                     { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// pieces splits text every n bytes; 0: not at all.
func pieces(text string, n int) *script {
	s := &script{}
	if n == 0 {
		n = max(1, len(text))
	}
	for len(text) > 0 {
		k := min(n, len(text))
		s.in = append(s.in, []byte(text[:k]))
		text = text[k:]
	}
	return s
}

// show prints a head in one line.
func show(h *wire.Head) string {
	var b strings.Builder
	if h.Method != nil {
		fmt.Fprintf(&b, "%s %s host=%s", h.Method, h.Target, h.Authority)
		if h.Authority == nil {
			b.WriteString("(none)")
		}
		if h.Scheme != nil {
			fmt.Fprintf(&b, " scheme=%s", h.Scheme)
		}
	} else {
		fmt.Fprint(&b, h.Status)
	}
	if h.Minor != 1 {
		fmt.Fprintf(&b, " 1.%d", h.Minor)
	}
	for _, f := range h.Fields {
		fmt.Fprintf(&b, " %s=%q", f.Name, f.Value)
	}
	if h.ContentLength >= 0 {
		fmt.Fprintf(&b, " cl=%d", h.ContentLength)
	}
	for _, f := range []struct {
		name string
		on   bool
	}{{"chunked", h.Chunked}, {"nobody", h.NoBody}, {"close", h.Close}, {"expect", h.Expect100}} {
		if f.on {
			b.WriteString(" " + f.name)
		}
	}
	if h.Upgrade != nil {
		fmt.Fprintf(&b, " upgrade=%s", h.Upgrade)
	}
	return b.String()
}

func readRequest(text string, split int) string {
	s := NewServer(pieces(text, split), RequestLimits)
	var h wire.Head
	if err := s.ReadHead(&h); err != nil {
		return failed(err)
	}
	return show(&h)
}

func readResponse(text, method string, split int) string {
	c := NewClient(pieces(text, split))
	var h wire.Head
	req := &wire.Head{Method: []byte(method), Target: []byte("/"), ContentLength: -1}
	if method == "UPGRADE" {
		req.Method, req.Upgrade = []byte("GET"), []byte("websocket")
	}
	c.WriteHead(req, true)
	if err := c.ReadHead(&h); err != nil {
		return failed(err)
	}
	return show(&h)
}

func failed(err error) string {
	var bad *Error
	if errors.As(err, &bad) {
		return fmt.Sprintf("%d %s", bad.Status, bad.Details)
	}
	return err.Error()
}

// get is a GET with more fields.
func get(fields string) string { return "GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n" }

const (
	codec400 = "400 http1.codec_error"
	ok       = "GET / host=a"
)

// requests is what Envoy 1.40 answers, or stricter where the name says so.
var requests = []struct{ name, in, want string }{
	{"plain", get("X-Foo: Bar\r\nx-a: 1\r\nX-A: 2\r\n"), ok + ` x-foo="Bar" x-a="1" x-a="2" nobody`},
	{"crlf first", "\r\n\r\n" + get(""), ok + " nobody"},
	{"two spaces", "GET  /  HTTP/1.1\r\nHost: a\r\n\r\n", ok + " nobody"},
	{"tabs", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", ok + " nobody"},
	{"no target", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", codec400},
	{"no version", "GET /\r\nHost: a\r\n\r\n", "GET / host=a 1.0 nobody close"},
	{"space before", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", codec400},
	{"space behind", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", ok + " nobody"},
	{"space in target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", codec400},
	{"lower version", "GET / http/1.1\r\nHost: a\r\n\r\n", codec400},
	{"1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / host=a 1.0 nobody close"},
	{"0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", "GET / host=a 1.0 nobody close"},
	{"1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "GET / host=a 1.0 nobody close"},
	{"2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "GET / host=a 1.0 nobody close"},
	{"lower method", "get / HTTP/1.1\r\nHost: a\r\n\r\n", codec400},
	{"unknown method", "FOO / HTTP/1.1\r\nHost: a\r\n\r\n", codec400},
	{"bad method", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", codec400},
	{"purge", "PURGE / HTTP/1.1\r\nHost: a\r\n\r\n", "PURGE / host=a nobody"},
	{"connect", "CONNECT b:80 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT  host=b:80"},
	{"connect path", "CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", codec400},
	{"connect with body", "CONNECT b:80 HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
		"400 http1.body_disallowed"},
	{"options star", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * host=a nobody"},
	{"get star", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400 http1.invalid_url"},
	{"relative", "GET foo HTTP/1.1\r\nHost: a\r\n\r\n", codec400},
	{"fragment is the engine's", "GET /a#f HTTP/1.1\r\nHost: a\r\n\r\n", "GET /a#f host=a nobody"},
	{"utf-8", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", codec400},
	{"control", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", codec400},
	{"bytes exact", "GET //a//%zz/../\\{?x=%zz HTTP/1.1\r\nHost: a\r\n\r\n",
		`GET //a//%zz/../\{?x=%zz host=a nobody`},
	{"absolute", "GET http://b/abs?q HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /abs?q host=b scheme=http nobody"},
	{"absolute without path", "GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET ?q host=b scheme=http nobody"},
	{"absolute without path or query", "GET HTTPS://b HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / host=b scheme=HTTPS nobody"},
	{"absolute without host", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", "400 http1.invalid_url"},
	{"absolute with user", "GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / host=b scheme=http nobody"},
	{"ftp", "GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 http1.invalid_url"},
	{"scheme with digit", "GET h2://b/ HTTP/1.1\r\nHost: a\r\n\r\n", codec400},

	{"stricter: bare LF", "GET / HTTP/1.1\nHost: a\n\n", codec400},
	{"stricter: one bare LF", "GET / HTTP/1.1\r\nHost: a\n\r\n", codec400},
	{"stricter: LF first", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", codec400},
	{"stricter: bare CR", get("X: 1\rY: 2\r\n"), "400 http1.invalid_characters"},
	{"stricter: CR before CRLF", get("X: 1\r\r\n"), "400 http1.invalid_characters"},
	{"stricter: two hosts", get("Host: b\r\n"), codec400},
	{"stricter: two equal hosts", get("Host: a\r\n"), codec400},
	{"stricter: folded length", get("Content-Length:\r\n 5\r\n"), codec400},
	{"stricter: folded coding", get("Transfer-Encoding:\r\n chunked\r\n"), codec400},
	{"stricter: folded host", "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n", codec400},

	{"fold", get("X-A: 1\r\n  2\r\n\t3\r\nB: c\r\n"), ok + ` x-a="1  2\t3" b="c" nobody`},
	{"fold first", "GET / HTTP/1.1\r\n X: 1\r\nHost: a\r\n\r\n", codec400},
	{"space before colon", get("X : 1\r\n"), codec400},
	{"space in name", get("X Y: 1\r\n"), codec400},
	{"paren in name", get("X(: 1\r\n"), codec400},
	{"NUL in name", get("X\x00: 1\r\n"), codec400},
	{"0x80 in name", get("X\x80: 1\r\n"), codec400},
	{"no colon", get("X\r\n"), codec400},
	{"empty name", get(": 1\r\n"), codec400},
	{"NUL in value", get("X: \x00\r\n"), "400 http1.invalid_characters"},
	{"0x01 in value", get("X: a\x01\r\n"), "400 http1.invalid_characters"},
	{"0x7f in value", get("X: a\x7f\r\n"), "400 http1.invalid_characters"},
	{"0x80 and tab in value", get("X: a\x80\t\xffb \t\r\n"), ok + ` x="a\x80\t\xffb" nobody`},
	{"empty value", get("X:\r\n"), ok + ` x="" nobody`},

	{"length", get("Content-Length: 5\r\n"), ok + ` content-length="5" cl=5`},
	{"length 0", get("Content-Length: 0\r\n"), ok + ` content-length="0" cl=0 nobody`},
	{"length twice", get("Content-Length: 5\r\nContent-Length: 5\r\n"), codec400},
	{"lengths differ", get("Content-Length: 5\r\nContent-Length: 6\r\n"), codec400},
	{"length list", get("Content-Length: 2, 2\r\n"), codec400},
	{"length +2", get("Content-Length: +2\r\n"), codec400},
	{"length -1", get("Content-Length: -1\r\n"), codec400},
	{"length empty", get("Content-Length:\r\n"), codec400},
	{"length huge", get("Content-Length: 99999999999999999999\r\n"), codec400},
	{"length and chunked", get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
		"400 http1.content_length_not_allowed"},
	{"chunked", get("Transfer-Encoding: CHUNKED\r\nTrailer: x\r\n"), ok + ` trailer="x" chunked`},
	{"gzip, chunked", get("Transfer-Encoding: gzip, chunked\r\n"),
		"501 http1.invalid_transfer_encoding"},
	{"chunked, identity", get("Transfer-Encoding: chunked, identity\r\n"),
		"501 http1.invalid_transfer_encoding"},
	{"xchunked", get("Transfer-Encoding: xchunked\r\n"), "501 http1.invalid_transfer_encoding"},
	{"coding twice", get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
		"501 http1.invalid_transfer_encoding"},

	{"no host", "GET / HTTP/1.1\r\n\r\n", "GET / host=(none) nobody"},
	{"empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / host= nobody"},
	{"host as it is", "GET / HTTP/1.1\r\nHost: SVC3\r\n\r\n", "GET / host=SVC3 nobody"},
	{"host with slash", "GET / HTTP/1.1\r\nHost: a/b c\r\n\r\n", "400 http.invalid_authority"},
	{"connection", get("Connection: X-Foo, keep-alive\r\nX-Foo: 1\r\nx-b: 2\r\n"),
		ok + ` x-b="2" nobody`},
	{"connection before and behind", get("X-Foo: 1\r\nConnection: x-foo\r\nX-FOO: 2\r\n"),
		ok + " nobody"},
	{"connection close", get("Connection: close\r\n"), ok + " nobody close"},
	{"connection twice", get("Connection: x-a\r\nX-A: 1\r\nConnection: close\r\n"), ok + " nobody close"},
	{"connection names x-forwarded-for", get("Connection: X-Forwarded-For\r\n"),
		"400 http1.connection_header_rejected"},
	{"connection names host", get("Connection: Host\r\n"), "GET / host=(none) nobody"},
	{"connection names many", get("Connection: a,b,c,d,e,f,g,h,i,j\r\n"),
		"400 http1.connection_header_rejected"},
	{"connection names length", get("Connection: content-length\r\nContent-Length: 3\r\n"), ok},
	{"hop by hop", get("Keep-Alive: 1\r\nProxy-Connection: close\r\nTE: gzip, trailers\r\n"),
		ok + ` te="trailers" nobody`},
	{"te gzip", get("TE: gzip\r\n"), ok + " nobody"},
	{"expect", get("Expect: 100-Continue\r\nContent-Length: 1\r\n"),
		ok + ` expect="100-Continue" content-length="1" cl=1 expect`},
	{"websocket", get("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"),
		ok + " upgrade=websocket"},
	{"h2c", get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"),
		ok + " nobody"},
	{"upgrade alone", get("Upgrade: websocket\r\n"), ok + " nobody"},

	{"59 KiB", get("X: " + strings.Repeat("a", 59<<10) + "\r\n"),
		ok + ` x="` + strings.Repeat("a", 59<<10) + `" nobody`},
	{"70 KiB", get("X: " + strings.Repeat("a", 70<<10) + "\r\n"), "431 http1.headers_too_large"},
	{"target 70 KiB", "GET /" + strings.Repeat("a", 70<<10), "431 http1.headers_too_large"},
	{"100 fields", get(strings.Repeat("a: b\r\n", 99)),
		ok + strings.Repeat(` a="b"`, 99) + " nobody"},
	{"101 fields", get(strings.Repeat("a: b\r\n", 100)), "431 http1.too_many_headers"},

	{"cut in the line", "GET / HT", "unexpected EOF"},
	{"cut in the head", "GET / HTTP/1.1\r\nHost: a\r\n", "unexpected EOF"},
	{"nothing", "", "EOF"},
}

func TestRequestHead(t *testing.T) {
	for _, c := range requests {
		for _, split := range []int{0, 1, 7} {
			if split == 1 && len(c.in) > 10_000 {
				continue
			}
			if got := readRequest(c.in, split); got != c.want {
				t.Errorf("%s, split %d:\n got %.300s\nwant %.300s", c.name, split, got, c.want)
			}
		}
	}
}

var responses = []struct{ name, method, in, want string }{
	{"plain", "GET", "HTTP/1.1 200 Fine\r\nX-A: 1\r\nContent-Length: 3\r\n\r\n",
		`200 x-a="1" content-length="3" cl=3`},
	{"no reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
		`200 content-length="0" cl=0 nobody`},
	{"999", "GET", "HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", `999 content-length="0" cl=0 nobody`},
	{"99", "GET", "HTTP/1.1 99 x\r\n\r\n", codec400},
	{"099", "GET", "HTTP/1.1 099 x\r\n\r\n", codec400},
	{"garbage", "GET", "garbage\r\n\r\n", codec400},
	{"2.0", "GET", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", `200 1.0 content-length="0" cl=0 nobody close`},
	{"four digits", "GET", "HTTP/1.1 1000 x\r\n\r\n", codec400},
	{"1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", `200 1.0 content-length="3" cl=3 close`},
	{"1.0 keep-alive", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n",
		`200 1.0 content-length="3" cl=3`},
	{"close-delimited", "GET", "HTTP/1.1 200 OK\r\n\r\n", "200 close"},
	{"connection close", "GET", "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n",
		`200 content-length="0" cl=0 nobody close`},
	{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n", `200 content-length="77" cl=77 nobody`},
	{"304", "GET", "HTTP/1.1 304 x\r\nContent-Length: 10\r\n\r\n", `304 content-length="10" cl=10 nobody`},
	{"204 length 0", "GET", "HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n", "204 nobody"},
	{"204 with body", "GET", "HTTP/1.1 204 x\r\nContent-Length: 3\r\n\r\nabc",
		"400 http1.content_length_not_allowed"},
	{"204 chunked", "GET", "HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"400 http1.transfer_encoding_not_allowed"},
	{"103", "GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", `103 link="x" nobody`},
	{"101 asked", "UPGRADE", "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"101 upgrade=websocket"},
	{"101 not asked", "GET", "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		codec400},
	{"length twice", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", codec400},
	{"length and chunked", "GET",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
		"400 http1.content_length_not_allowed"},
	{"bad name", "GET", "HTTP/1.1 200 OK\r\nX Y: 3\r\n\r\n", codec400},
	{"NUL", "GET", "HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", "400 http1.invalid_characters"},
	{"fold", "GET", "HTTP/1.1 200 OK\r\nX: 1\r\n  2\r\nContent-Length: 0\r\n\r\n",
		`200 x="1  2" content-length="0" cl=0 nobody`},
	{"bare LF", "GET", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", codec400},
	{"70 KiB", "HEAD", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 70<<10) + "\r\n\r\n",
		`200 x="` + strings.Repeat("a", 70<<10) + `" nobody`},
	{"cut", "GET", "HTTP/1.1 200 OK\r\nX: 1\r\n", "unexpected EOF"},
}

func TestResponseHead(t *testing.T) {
	for _, c := range responses {
		for _, split := range []int{0, 1, 7} {
			if split == 1 && len(c.in) > 10_000 {
				continue
			}
			if got := readResponse(c.in, c.method, split); got != c.want {
				t.Errorf("%s, split %d:\n got %.300s\nwant %.300s", c.name, split, got, c.want)
			}
		}
	}
}
