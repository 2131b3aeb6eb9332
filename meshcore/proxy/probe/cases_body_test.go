package probe

import (
	"strings"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// chunked is a request with a chunked body.
func chunked(body string) string { return post("Transfer-Encoding: chunked", body) }

func own100(m *hcmv3.HttpConnectionManager) { m.Proxy_100Continue = false }

const expect = "POST / HTTP/1.1\r\nHost: svc3\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"

const tooLarge = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 3\r\n\r\nbig"

// bodyProbes are about request bodies.
var bodyProbes = []probe{
	{name: "body", req: post("Content-Length: 5", "hello")},
	{name: "chunks", req: chunked("3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")},
	{name: "chunks with extension and trailers",
		req: request("POST /", "Trailer: X-T", "Transfer-Encoding: chunked") +
			"3;a=b\r\nhel\r\n2;c\r\nlo\r\n0\r\nX-T: 1\r\n\r\n"},
	{name: "no chunk but the last", req: chunked("0\r\n\r\n")},
	{name: "chunk size with leading zeros", req: chunked("00000002\r\nhi\r\n000\r\n\r\n")},
	{name: "chunk size in capitals", req: chunked("A\r\n0123456789\r\n0\r\n\r\n")},
	{name: "chunk size with a space", req: chunked("2 \r\nhi\r\n0\r\n\r\n")},
	{name: "chunk size with a space before", req: chunked(" 2\r\nhi\r\n0\r\n\r\n")},
	{name: "chunk size 0x2", req: chunked("0x2\r\nhi\r\n0\r\n\r\n")},
	{name: "chunk size empty", req: chunked("\r\nhi\r\n0\r\n\r\n")},
	{name: "chunk size with LF only", req: chunked("2\nhi\r\n0\r\n\r\n")},
	{name: "chunk data with LF only", req: chunked("2\r\nhi\n0\r\n\r\n")},
	{name: "chunk size overflow", req: chunked("fffffffffffffffff\r\nhi\r\n0\r\n\r\n")},
	{name: "chunk data not followed by CRLF", req: chunked("2\r\nhiX\r\n0\r\n\r\n")},
	{name: "chunk extension with bare CR", req: chunked("2;a\rb\r\nhi\r\n0\r\n\r\n")},
	{name: "chunk extension of 5000 bytes",
		req: chunked("2;" + strings.Repeat("a", 5000) + "\r\nhi\r\n0\r\n\r\n")},
	{name: "last chunk with LF only", req: chunked("2\r\nhi\r\n0\n\n")},
	{name: "malformed trailer", req: chunked("2\r\nhi\r\n0\r\nX T: 1\r\n\r\n")},
	{name: "Content-Length as trailer", req: chunked("2\r\nhi\r\n0\r\nContent-Length: 7\r\n\r\n")},
	{name: "malformed chunk after the first was sent", client: []step{
		send(chunked("2\r\nhi\r\n")), await("seen"), send("zz\r\n"), recv, next},
		server: [][]step{{body(2), mark("seen"), gone}}},
	{name: "chunk data not followed by CRLF, later", client: []step{
		send(chunked("2\r\nhi\r\n")), await("seen"), send("2\r\nhiX\r\n0\r\n\r\n"), recv, next},
		server: [][]step{{body(2), mark("seen"), whole, send(ok)}}},
	{name: "upload is streamed", client: []step{
		send(post("Content-Length: 200000", strings.Repeat("a", 1000))), await("seen"),
		send(strings.Repeat("b", 199000)), recv, next},
		server: [][]step{{body(1000), mark("seen"), whole, send(ok)}}},
	{name: "chunked upload is streamed", client: []step{
		send(chunked("3\r\nabc\r\n")), await("seen"), send("3\r\ndef\r\n0\r\n\r\n"), recv, next},
		server: [][]step{{body(3), mark("seen"), whole, send(ok)}}},
	{name: "upload of 1 MiB", client: []step{
		send(post("Content-Length: 1048576", strings.Repeat("abcdefgh", 1<<17))), recv, next}},
	{name: "chunked upload of 1 MiB", client: []step{
		send(chunked("100000\r\n" + strings.Repeat("abcdefgh", 1<<17) + "\r\n0\r\n\r\n")), recv, next}},
	{name: "body and the next request at once", req: post("Content-Length: 2", "hi") + get(),
		client: []step{send(post("Content-Length: 2", "hi") + get()), recv, recv, next}},
	{name: "early 413 while the upload runs", client: []step{
		send(post("Content-Length: 200000", strings.Repeat("a", 1000))), recv, gone},
		server: [][]step{{body(1000), send(tooLarge), gone}}},
	{name: "early 413 while a chunked upload runs", client: []step{
		send(chunked("3\r\nabc\r\n")), recv, gone},
		server: [][]step{{body(3), send(tooLarge), gone}}},
	{name: "early 413, then the upstream closes", client: []step{
		send(post("Content-Length: 200000", strings.Repeat("a", 1000))), recv, gone},
		server: [][]step{{body(1000), send(tooLarge), closing}}},
	{name: "response head while the upload runs", client: []step{
		send(chunked("3\r\nabc\r\n")), peek, send("3\r\ndef\r\n0\r\n\r\n"), recv, next},
		server: [][]step{{body(3), send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n"),
			whole, send("0\r\n\r\n")}}},
	{name: "expect, upstream continues", client: []step{send(expect), recv, send("hi"), recv, next},
		server: [][]step{{send("HTTP/1.1 100 Continue\r\n\r\n"), whole, send(ok)}}},
	{name: "expect, upstream answers 417", client: []step{send(expect), recv, gone},
		server: [][]step{{send("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n"), gone}}},
	{name: "expect, body sent at once", client: []step{send(expect + "hi"), recv, recv, next},
		server: [][]step{{send("HTTP/1.1 100 Continue\r\n\r\n"), whole, send(ok)}}},
	{name: "expect, proxy continues", tune: own100,
		client: []step{send(expect), recv, send("hi"), recv, next}},
	{name: "expect, proxy continues, upstream answers 417", tune: own100,
		client: []step{send(expect), recv, recv, gone},
		server: [][]step{{send("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n"), gone}}},
	{name: "expect something else", req: request("POST /", "Expect: x", "Content-Length: 2") + "hi"},
	{name: "client aborts mid upload", client: []step{
		send(post("Content-Length: 100", "hello")), await("seen"), reset},
		server: [][]step{{body(5), mark("seen"), gone}}},
	{name: "client closes mid upload", client: []step{
		send(post("Content-Length: 100", "hello")), await("seen"), closing},
		server: [][]step{{body(5), mark("seen"), gone}}},
	{name: "client half-closes mid upload", client: []step{
		send(post("Content-Length: 100", "hello")), await("seen"), half, gone},
		server: [][]step{{body(5), mark("seen"), gone}}},
	{name: "client aborts a chunked upload", client: []step{
		send(chunked("5\r\nhello\r\n")), await("seen"), reset},
		server: [][]step{{body(5), mark("seen"), gone}}},
	{name: "client closes between chunks", client: []step{
		send(chunked("5\r\nhello\r\n")), await("seen"), closing},
		server: [][]step{{body(5), mark("seen"), gone}}},
	{name: "client half-closes between chunks", client: []step{
		send(chunked("5\r\nhello\r\n")), await("seen"), half, gone},
		server: [][]step{{body(5), mark("seen"), gone}}},
	{name: "client half-closes within the last chunk", client: []step{
		send(chunked("5\r\nhello\r\n0\r\n")), await("seen"), half, gone},
		server: [][]step{{body(5), mark("seen"), gone}}},
	{name: "upstream closes mid upload", client: []step{
		send(post("Content-Length: 200000", strings.Repeat("a", 1000))), recv, gone},
		server: [][]step{{body(1000), closing}}},
}
