package probe

import (
	"fmt"
	"strings"
)

// get is a request for /, with more field lines.
func get(fields ...string) string { return request("GET /", fields...) }

// request is a request with field lines behind Host.
func request(line string, fields ...string) string {
	return line + " HTTP/1.1\r\nHost: svc3\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// post is a request with a body.
func post(framing, body string) string { return request("POST /", framing) + body }

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "x-%d: %d\r\n", i, i)
	}
	return strings.TrimSuffix(b.String(), "\r\n")
}

// requestProbes are about request lines and fields.
var requestProbes = []probe{
	{name: "field names are lower-cased, order and duplicates kept",
		req: get("X-B: 1", "x-a: 2", "X-b: 3", "Accept: */*", "User-Agent: probe")},
	{name: "field order around framing",
		req: request("POST /", "A: 1", "Content-Length: 2", "B: 2") + "hi"},
	{name: "own request id", req: get("X-Request-Id: mine")},
	{name: "own x-forwarded-proto", req: get("X-Forwarded-Proto: https")},
	{name: "own x-forwarded-for", req: get("X-Forwarded-For: 1.2.3.4")},
	{name: "x-envoy fields of the client",
		req: get("X-Envoy-Attempt-Count: 7", "X-Envoy-Internal: true", "X-Envoy-External-Address: 1.2.3.4",
			"X-Envoy-Original-Path: /x", "X-Envoy-Decorator-Operation: mine")},
	{name: "blanks around values", req: get("X-A: \t 1 \t ", "X-B:2", "X-C: a  b")},
	{name: "head of 59 KiB", req: get("X-Big: " + strings.Repeat("a", 59<<10))},
	{name: "head of 70 KiB", req: get("X-Big: " + strings.Repeat("a", 70<<10))},
	{name: "99 fields", req: get(many(98))},
	{name: "100 fields", req: get(many(99))},
	{name: "101 fields", req: get(many(100))},
	{name: "150 fields", req: get(many(149))},
	{name: "continuation line", req: get("X-A: 1", "  2", "X-B: 3")},
	{name: "continuation line with a tab", req: get("X-A: 1", "\t2")},
	{name: "continuation line first", req: "GET / HTTP/1.1\r\n Host: svc3\r\n\r\n"},
	{name: "continuation of Host", req: "GET / HTTP/1.1\r\nHost: svc3\r\n x\r\n\r\n"},
	{name: "continuation of Content-Length", req: post("Content-Length: 1\r\n 0", "0123456789")},
	{name: "bare LF everywhere", req: "GET / HTTP/1.1\nHost: svc3\n\n"},
	{name: "bare LF after one field", req: "GET / HTTP/1.1\r\nHost: svc3\r\nX-A: 1\nX-B: 2\r\n\r\n"},
	{name: "bare LF at the end", req: "GET / HTTP/1.1\r\nHost: svc3\r\n\n"},
	{name: "bare CR in a value", req: get("X-A: 1\rY: 2")},
	{name: "bare CR in the request line", req: "GET /\r HTTP/1.1\r\nHost: svc3\r\n\r\n"},
	{name: "CRLF before the request line", req: "\r\n" + get()},
	{name: "two CRLF before the request line", req: "\r\n\r\n" + get()},
	{name: "two spaces after the method", req: "GET  / HTTP/1.1\r\nHost: svc3\r\n\r\n"},
	{name: "two spaces before the version", req: "GET /  HTTP/1.1\r\nHost: svc3\r\n\r\n"},
	{name: "tab in the request line", req: "GET\t/ HTTP/1.1\r\nHost: svc3\r\n\r\n"},
	{name: "space after the version", req: "GET / HTTP/1.1 \r\nHost: svc3\r\n\r\n"},
	{name: "space before the method", req: " GET / HTTP/1.1\r\nHost: svc3\r\n\r\n"},
	{name: "space before the first field", req: "GET / HTTP/1.1\r\n X-A: 1\r\nHost: svc3\r\n\r\n"},
	{name: "space before a colon", req: get("X-A : 1")},
	{name: "space in a name", req: get("X A: 1")},
	{name: "parenthesis in a name", req: get("X(A: 1")},
	{name: "NUL in a name", req: get("X\x00A: 1")},
	{name: "0x80 in a name", req: get("X\x80A: 1")},
	{name: "underscore in a name", req: get("X_A: 1")},
	{name: "odd characters in a name", req: get("X!#$%&'*+.^`|~A: 1")},
	{name: "no colon", req: get("XA")},
	{name: "empty name", req: get(": 1")},
	{name: "NUL in a value", req: get("X-A: 1\x002")},
	{name: "0x01 in a value", req: get("X-A: 1\x012")},
	{name: "0x7f in a value", req: get("X-A: 1\x7f2")},
	{name: "0x80 to 0xff in a value", req: get("X-A: \x80\xff\xc3\xa4")},
	{name: "empty value", req: get("X-A:", "X-B: ")},
	{name: "Content-Length twice, the same", req: post("Content-Length: 2\r\nContent-Length: 2", "hi")},
	{name: "Content-Length twice, different", req: post("Content-Length: 2\r\nContent-Length: 3", "hi!")},
	{name: "Content-Length 2, 2", req: post("Content-Length: 2, 2", "hi")},
	{name: "Content-Length +2", req: post("Content-Length: +2", "hi")},
	{name: "Content-Length -1", req: post("Content-Length: -1", "hi")},
	{name: "Content-Length empty", req: post("Content-Length:", "hi")},
	{name: "Content-Length 0x2", req: post("Content-Length: 0x2", "hi")},
	{name: "Content-Length with blanks", req: post("Content-Length:  2 ", "hi")},
	{name: "Content-Length 002", req: post("Content-Length: 002", "hi")},
	{name: "Content-Length too large", req: post("Content-Length: 99999999999999999999", "hi")},
	{name: "Content-Length 0 with GET", req: get("Content-Length: 0")},
	{name: "Content-Length 0 with POST", req: post("Content-Length: 0", "")},
	{name: "POST without framing", req: request("POST /")},
	{name: "PUT without framing", req: request("PUT /")},
	{name: "DELETE without framing", req: request("DELETE /")},
	{name: "GET with a body", req: request("GET /", "Content-Length: 2") + "hi"},
	{name: "GET with chunks", req: request("GET /", "Transfer-Encoding: chunked") + "2\r\nhi\r\n0\r\n\r\n"},
	{name: "Content-Length and Transfer-Encoding",
		req: post("Content-Length: 2\r\nTransfer-Encoding: chunked", "2\r\nhi\r\n0\r\n\r\n")},
	{name: "Transfer-Encoding and Content-Length",
		req: post("Transfer-Encoding: chunked\r\nContent-Length: 12", "2\r\nhi\r\n0\r\n\r\n")},
	{name: "Transfer-Encoding gzip, chunked", req: post("Transfer-Encoding: gzip, chunked", "0\r\n\r\n")},
	{name: "Transfer-Encoding chunked, identity", req: post("Transfer-Encoding: chunked, identity", "0\r\n\r\n")},
	{name: "Transfer-Encoding xchunked", req: post("Transfer-Encoding: xchunked", "0\r\n\r\n")},
	{name: "Transfer-Encoding identity", req: post("Transfer-Encoding: identity", "")},
	{name: "Transfer-Encoding empty", req: post("Transfer-Encoding:", "")},
	{name: "Transfer-Encoding twice",
		req: post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n")},
	{name: "Transfer-Encoding CHUNKED", req: post("Transfer-Encoding: CHUNKED", "2\r\nhi\r\n0\r\n\r\n")},
	{name: "HTTP/1.0", req: "GET / HTTP/1.0\r\nHost: svc3\r\n\r\n"},
	{name: "HTTP/1.0 with keep-alive", req: "GET / HTTP/1.0\r\nHost: svc3\r\nConnection: keep-alive\r\n\r\n"},
	{name: "HTTP/1.0 with a body", req: "POST / HTTP/1.0\r\nHost: svc3\r\nContent-Length: 2\r\n\r\nhi"},
	{name: "HTTP/0.9", req: "GET / HTTP/0.9\r\nHost: svc3\r\n\r\n"},
	{name: "HTTP/0.9 without version", req: "GET /\r\n\r\n"},
	{name: "HTTP/1.2", req: "GET / HTTP/1.2\r\nHost: svc3\r\n\r\n"},
	{name: "HTTP/2.0", req: "GET / HTTP/2.0\r\nHost: svc3\r\n\r\n"},
	{name: "HTTP/11", req: "GET / HTTP/11\r\nHost: svc3\r\n\r\n"},
	{name: "http/1.1 in small letters", req: "GET / http/1.1\r\nHost: svc3\r\n\r\n"},
	{name: "method in small letters", req: request("get /")},
	{name: "method FOO", req: request("FOO /")},
	{name: "method G(T", req: request("G(T /")},
	{name: "method PROPFIND", req: request("PROPFIND /")},
	{name: "method M-SEARCH", req: request("M-SEARCH /")},
	{name: "method PATCH", req: request("PATCH /", "Content-Length: 2") + "hi"},
	{name: "method TRACE", req: request("TRACE /")},
	{name: "garbage", req: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n"},
	{name: "Connection: X-Foo", req: get("Connection: X-Foo", "X-Foo: 1", "X-Bar: 2")},
	{name: "Connection: close", req: get("Connection: close")},
	{name: "Connection: Close, X-Foo", req: get("X-Foo: 1", "Connection: Close, X-Foo")},
	{name: "Connection twice", req: get("X-Foo: 1", "X-Bar: 2", "Connection: X-Foo", "Connection: X-Bar")},
	{name: "Connection: X-Forwarded-For", req: get("Connection: X-Forwarded-For", "X-Forwarded-For: 1.2.3.4")},
	{name: "Connection: Host", req: get("Connection: Host")},
	{name: "Connection: Content-Length", req: request("POST /", "Connection: Content-Length", "Content-Length: 2") + "hi"},
	{name: "Connection: ten names", req: get("Connection: a, b, c, d, e, f, g, h, i, j, k")},
	{name: "Keep-Alive", req: get("Keep-Alive: timeout=5", "Connection: keep-alive")},
	{name: "Proxy-Connection", req: get("Proxy-Connection: keep-alive")},
	{name: "TE: trailers", req: get("TE: trailers", "Connection: TE")},
	{name: "TE: gzip, trailers", req: get("TE: gzip, trailers")},
	{name: "TE: gzip", req: get("TE: gzip")},
	{name: "OPTIONS *", req: "OPTIONS * HTTP/1.1\r\nHost: svc3\r\n\r\n"},
	{name: "GET *", req: "GET * HTTP/1.1\r\nHost: svc3\r\n\r\n"},
	{name: "CONNECT", req: "CONNECT svc3:80 HTTP/1.1\r\nHost: svc3:80\r\n\r\n"},
	{name: "CONNECT with a body", req: "CONNECT svc3:80 HTTP/1.1\r\nHost: svc3:80\r\nContent-Length: 2\r\n\r\nhi"},
	{name: "head in pieces", client: []step{send("GE"), send("T / HTTP/1.1\r"), send("\nHost: sv"),
		send("c3\r\nX-A: 1\r\n\r"), send("\n"), recv, next}},
}
