package probe

import "strings"

// answer is a response without length, with field lines.
func answer(status string, fields ...string) string {
	return "HTTP/1.1 " + status + "\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// sized is a 200 of two bytes with field lines.
func sized(fields ...string) string {
	return answer("200 OK", append(fields, "content-length: 2")...) + "ok"
}

// replying is a case about one response to a GET.
func replying(name, resp string) probe { return probe{name: name, req: get(), resp: resp} }

// ending is a case about a response after which the upstream closes.
func ending(name, resp string) probe {
	return probe{name: name, req: get(), server: [][]step{{whole, send(resp), closing}}}
}

// cutting is a case about a response that the upstream does not finish.
func cutting(name, resp string, last step) probe {
	return probe{name: name, client: []step{send(get()), recv, gone},
		server: [][]step{{whole, send(resp), last}}}
}

const chunkedOK = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

// responseProbes are about responses.
var responseProbes = []probe{
	replying("reason phrase", answer("200 Fine", "content-length: 0")),
	replying("no reason phrase", answer("200", "content-length: 0")),
	replying("no reason phrase but a space", answer("200 ", "content-length: 0")),
	replying("response field names, order and duplicates", sized("X-B: 1", "x-a: 2", "X-b: 3", "Set-Cookie: a=1", "Set-Cookie: b=2")),
	replying("server, date and others of the upstream", sized("Server: mine", "Date: Mon, 01 Jan 2024 00:00:00 GMT",
		"X-Envoy-Upstream-Service-Time: 99", "Via: 1.1 x")),
	replying("with Connection: X-Foo", sized("Connection: X-Foo", "X-Foo: 1")),
	replying("with Keep-Alive", sized("Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Connection: x")),
	replying("with Connection: close", sized("Connection: close")),
	replying("response in chunks", chunkedOK+"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"),
	replying("with trailers", answer("200 OK", "Trailer: X-T", "Transfer-Encoding: chunked")+
		"2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n"),
	replying("response of no chunks", chunkedOK+"0\r\n\r\n"),
	replying("status 999", answer("999 Odd", "content-length: 2")+"ok"),
	replying("status 600", answer("600 Odd", "content-length: 2")+"ok"),
	replying("status 500", answer("500 Oops", "content-length: 2")+"ok"),
	replying("status 404", answer("404 Gone Fishing", "content-length: 2")+"ok"),
	replying("204", answer("204 No Content")),
	replying("204 with Content-Length 0", answer("204 No Content", "content-length: 0")),
	replying("204 with a body", answer("204 No Content", "content-length: 3")+"abc"),
	replying("204 in chunks", answer("204 No Content", "transfer-encoding: chunked")+"0\r\n\r\n"),
	replying("205", answer("205 Reset Content", "content-length: 0")),
	replying("304 with Content-Length", answer("304 Not Modified", "content-length: 10", "etag: \"a\"")),
	replying("304 in chunks", answer("304 Not Modified", "transfer-encoding: chunked")),
	{name: "HEAD", req: request("HEAD /"), resp: answer("200 OK", "content-length: 77")},
	{name: "HEAD without length", req: request("HEAD /"), resp: answer("200 OK")},
	{name: "HEAD in chunks", req: request("HEAD /"), resp: answer("200 OK", "transfer-encoding: chunked")},
	{name: "HEAD with Content-Length 0", req: request("HEAD /"), resp: answer("200 OK", "content-length: 0")},
	{name: "HEAD that finds nothing", req: request("HEAD http://svc4?a")},
	{name: "HEAD that fails", req: request("HEAD /"), server: [][]step{{whole, closing}}},
	replying("100 unasked", "HTTP/1.1 100 Continue\r\n\r\n"+ok),
	replying("102", "HTTP/1.1 102 Processing\r\n\r\n"+ok),
	replying("103", "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"+ok),
	replying("101 unasked", answer("101 Switching Protocols", "Upgrade: foo", "Connection: Upgrade")),
	replying("response head of 70 KiB", sized("X-Big: "+strings.Repeat("a", 70<<10))),
	replying("response head of 90 KiB", sized("X-Big: "+strings.Repeat("a", 90<<10))),
	replying("with 150 fields", sized(many(150))),
	replying("with a continuation line", sized("X-A: 1", "  2")),
	replying("with bare LF everywhere", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok"),
	replying("with one bare LF", "HTTP/1.1 200 OK\r\nX-A: 1\ncontent-length: 2\r\n\r\nok"),
	replying("with bare CR", sized("X-A: 1\rY: 2")),
	replying("with Content-Length twice, the same", sized("content-length: 2")),
	replying("with Content-Length twice, different", sized("content-length: 3")),
	replying("with Content-Length 2, 2", answer("200 OK", "content-length: 2, 2")+"ok"),
	replying("with Content-Length -1", answer("200 OK", "content-length: -1")+"ok"),
	replying("with both lengths", answer("200 OK", "content-length: 2", "transfer-encoding: chunked")+
		"2\r\nok\r\n0\r\n\r\n"),
	replying("with Transfer-Encoding gzip", answer("200 OK", "transfer-encoding: gzip, chunked")+"0\r\n\r\n"),
	replying("with Transfer-Encoding Chunked", answer("200 OK", "Transfer-Encoding: Chunked")+"2\r\nok\r\n0\r\n\r\n"),
	replying("with a bad name", sized("X A: 1")),
	replying("with a space before the colon", sized("X-A : 1")),
	replying("without colon", sized("XA")),
	replying("with NUL", sized("X-A: 1\x002")),
	replying("with 0x7f", sized("X-A: 1\x7f2")),
	replying("with 0x80", sized("X-A: \x80")),
	replying("with an empty value", sized("X-A:")),
	replying("status 99", answer("99 X", "content-length: 2")+"ok"),
	replying("status 1000", answer("1000 X", "content-length: 2")+"ok"),
	replying("status abc", answer("abc X", "content-length: 2")+"ok"),
	replying("garbage response", "hello, world\r\n\r\n"),
	replying("in HTTP/2.0", "HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
	replying("in HTTP/1.0", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
	replying("in HTTP/1.0 with keep-alive",
		"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"),
	replying("with a chunk size with a space", chunkedOK+"2 \r\nok\r\n0\r\n\r\n"),
	cutting("with a malformed chunk size", chunkedOK+"2\r\nok\r\nzz\r\n", gone),
	replying("bytes after the response", ok+"HTTP/1.1 200 OK\r\n"),
	replying("a second response", ok+ok),
	ending("response ended by the connection", answer("200 OK")+"hello"),
	ending("response of HTTP/1.0 ended by the connection", "HTTP/1.0 200 OK\r\n\r\nhello"),
	ending("empty response ended by the connection", answer("200 OK")),
	ending("whole, then the upstream closes", ok),
	cutting("upstream closes mid body", answer("200 OK", "content-length: 100")+strings.Repeat("a", 50), closing),
	cutting("upstream closes before the body", answer("200 OK", "content-length: 100"), closing),
	cutting("upstream closes between chunks", chunkedOK+"5\r\nhello\r\n", closing),
	cutting("upstream closes mid chunk", chunkedOK+"5\r\nhel", closing),
	cutting("upstream closes within the last chunk", chunkedOK+"5\r\nhello\r\n0\r\n", closing),
	cutting("upstream closes after a size", chunkedOK+"5", closing),
	{name: "upstream closes before the head", req: get(), server: [][]step{{whole, closing}}},
	{name: "upstream closes mid head", req: get(),
		server: [][]step{{whole, send("HTTP/1.1 200 OK\r\nx-a"), closing}}},
	{name: "upstream closes after 103", req: get(),
		server: [][]step{{whole, send("HTTP/1.1 103 Early Hints\r\n\r\n"), closing}}},
	{name: "upstream resets before the head", req: get(), server: [][]step{{whole, reset}}},
	{name: "upstream resets a POST", req: post("Content-Length: 2", "hi"), server: [][]step{{whole, reset}}},
	{name: "upstream answers 503 once", req: get(), server: [][]step{
		{whole, send(answer("503 Busy", "content-length: 0"))}}},
	{name: "upstream refuses", req: get(), refuse: true},
	{name: "download of 1 MiB", req: get(),
		resp: answer("200 OK", "content-length: 1048576") + strings.Repeat("abcdefgh", 1<<17)},
	{name: "chunked download of 1 MiB", req: get(),
		resp: chunkedOK + "100000\r\n" + strings.Repeat("abcdefgh", 1<<17) + "\r\n0\r\n\r\n"},
	{name: "download of 1 MiB ended by the connection", req: get(),
		server: [][]step{{whole, send(answer("200 OK") + strings.Repeat("abcdefgh", 1<<17)), closing}}},
	{name: "download is streamed", client: []step{send(get()), recv, next},
		server: [][]step{{whole, send(chunkedOK + "3\r\nabc\r\n"), send("3\r\ndef\r\n0\r\n\r\n")}}},
}
