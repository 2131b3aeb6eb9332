package probe

import (
	"strings"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

const websocket = "GET / HTTP/1.1\r\nHost: svc3\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Key: x\r\n\r\n"

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

// dribble begins a response.
const dribble = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n"

func http10(m *hcmv3.HttpConnectionManager) {
	m.HttpProtocolOptions = acceptHTTP10
}

// connectionProbes are about connections: their reuse, their end, upgrades and time.
var connectionProbes = []probe{
	{name: "pipelining", client: []step{send(path("/1") + path("/2") + path("/3")), recv, recv, recv, next}},
	{name: "pipelining behind a POST",
		client: []step{send(post("Content-Length: 5", "hello") + path("/2")), recv, recv, next}},
	{name: "pipelining behind chunks",
		client: []step{send(chunked("5\r\nhello\r\n0\r\n\r\n") + path("/2")), recv, recv, next}},
	{name: "pipelining behind a HEAD", client: []step{send(request("HEAD /1") + path("/2")), recvHead, recv, next}},
	{name: "pipelining behind Connection: close",
		client: []step{send(get("Connection: close") + path("/2")), recv, gone}},
	{name: "pipelining behind a malformed request",
		client: []step{send(path("/1") + "G(T / HTTP/1.1\r\n\r\n" + path("/3")), recv, recv, gone}},
	{name: "pipelined while the first waits", client: []step{
		send(path("/1")), await("seen"), send(path("/2")), mark("sent"), recv, recv, next},
		server: [][]step{{whole, mark("seen"), await("sent"), send(ok)}}},
	{name: "client aborts while it waits", client: []step{send(get()), await("seen"), reset},
		server: [][]step{{whole, mark("seen"), gone}}},
	{name: "client closes while it waits", client: []step{send(get()), await("seen"), closing},
		server: [][]step{{whole, mark("seen"), gone}}},
	{name: "client half-closes while it waits", client: []step{send(get()), await("seen"), half, gone},
		server: [][]step{{whole, mark("seen"), gone}}},
	{name: "client closes mid response", client: []step{send(get()), bytes(12), closing},
		server: [][]step{{whole, send(dribble + "abc"), gone}}},
	{name: "client aborts mid response", client: []step{send(get()), bytes(12), reset},
		server: [][]step{{whole, send(dribble + "abc"), gone}}},
	{name: "client half-closes mid response", client: []step{send(get()), bytes(12), half, mark("half"), recv},
		server: [][]step{{whole, send(dribble + "abc"), gone}}},
	{name: "client closes within a head", client: []step{send("GET / HTTP/1.1\r\nHost: sv"), closing}},
	{name: "client half-closes within a head", client: []step{send("GET / HTTP/1.1\r\nHost: sv"), half, gone}},
	{name: "client sends nothing", client: []step{half, gone}},
	{name: "pooled connection gone stale", client: []step{
		send(path("/1")), recv, await("closed"), send(path("/2")), recv, next},
		server: [][]step{{whole, send(ok), half, mark("closed"), gone}}},
	{name: "reset after a request on a reused connection",
		client: []step{send(path("/1")), recv, send(path("/2")), recv, next},
		server: [][]step{{whole, send(ok)}, {whole, reset}}},
	{name: "reset after a POST on a reused connection",
		client: []step{send(path("/1")), recv, send(post("Content-Length: 2", "hi")), recv, next},
		server: [][]step{{whole, send(ok)}, {whole, reset}}},
	{name: "upstream closes after each response",
		client: []step{send(path("/1")), recv, send(path("/2")), recv, next},
		resp:   sized("connection: close")},
	{name: "time-out before the head", client: []step{send(path("/timeout/soon")), recv, next},
		server: [][]step{{whole, gone}}},
	{name: "time-out before the head of a POST",
		client: []step{send(request("POST /timeout/soon", "Content-Length: 2") + "hi"), recv, next},
		server: [][]step{{whole, gone}}},
	{name: "time-out mid body", client: []step{send(path("/timeout")), recv, gone},
		server: [][]step{{whole, send(answer("200 OK", "content-length: 100") + "hello"), gone}}},
	{name: "time-out mid chunks", client: []step{send(path("/timeout")), recv, gone},
		server: [][]step{{whole, send(chunkedOK + "5\r\nhello\r\n"), gone}}},
	{name: "no time-out while the upload stalls", client: []step{
		send(request("POST /timeout/soon", "Content-Length: 10") + "hello"), await("seen"),
		other(path("/timeout/soon")), send("world"), recv, next},
		server: [][]step{{body(5), mark("seen"), whole, send(ok)}, {whole, gone}}},
	{name: "own time-out header", client: []step{
		send(get("X-Envoy-Upstream-Rq-Timeout-Ms: 100")), recv, next}},
	{name: "websocket", client: []step{send(websocket), recv, send("ping"), bytes(4), closing},
		server: [][]step{{send(switching), bytes(4), send("pong"), gone}}},
	{name: "websocket, bytes at once", client: []step{send(websocket + "ping"), recv, bytes(4), closing},
		server: [][]step{{send(switching + "pong"), bytes(4), gone}}},
	{name: "websocket, upstream closes", client: []step{send(websocket), recv, bytes(4), gone},
		server: [][]step{{send(switching + "pong"), closing}}},
	{name: "websocket, upstream half-closes",
		client: []step{send(websocket), recv, bytes(4), gone},
		server: [][]step{{send(switching + "pong"), half, gone}}},
	{name: "websocket, client half-closes",
		client: []step{send(websocket), recv, half, gone},
		server: [][]step{{send(switching), gone}}},
	{name: "websocket refused", req: websocket},
	{name: "websocket refused with 403", req: websocket, resp: answer("403 Forbidden", "content-length: 2") + "no"},
	{name: "websocket, upstream dies", req: websocket, server: [][]step{{closing}}},
	{name: "websocket with a body", req: strings.Replace(websocket, "Sec-", "Content-Length: 2\r\nSec-", 1) + "hi"},
	{name: "websocket in other letters",
		client: []step{send(strings.Replace(websocket, "websocket", "WebSocket", 1)), recv, send("ping"), bytes(4), closing},
		server: [][]step{{send(switching), bytes(4), send("pong"), gone}}},
	{name: "Upgrade: h2c", req: get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")},
	{name: "Upgrade: foo", req: get("Connection: Upgrade", "Upgrade: foo")},
	{name: "Upgrade without Connection", req: get("Upgrade: websocket")},
	{name: "HTTP/1.0 where it is accepted", tune: http10,
		client: []step{send("GET / HTTP/1.0\r\nHost: svc3\r\n\r\n"), recv, gone}},
	{name: "HTTP/1.0 with keep-alive where it is accepted", tune: http10,
		req: "GET / HTTP/1.0\r\nHost: svc3\r\nConnection: keep-alive\r\n\r\n"},
	{name: "HTTP/1.0 without Host where it is accepted", tune: http10,
		client: []step{send("GET / HTTP/1.0\r\n\r\n"), recv, gone}},
	{name: "HTTP/1.0 and chunks where it is accepted", tune: http10, resp: chunkedOK + "5\r\nhello\r\n0\r\n\r\n",
		client: []step{send("GET / HTTP/1.0\r\nHost: svc3\r\n\r\n"), recv, gone}},
}
