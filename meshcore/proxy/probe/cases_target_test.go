package probe

import "strings"

// path is a request for a target.
func path(target string) string { return request("GET " + target) }

// host is a request with this Host line.
func host(lines string) string { return "GET / HTTP/1.1\r\n" + lines + "\r\n" }

// targetProbes are about targets and hosts.
var targetProbes = []probe{
	{name: "no Host", req: host("")},
	{name: "empty Host", req: host("Host:\r\n")},
	{name: "Host in capitals", req: host("Host: SVC3\r\n")},
	{name: "Host with port", req: host("Host: svc3:8080\r\n")},
	{name: "Host unknown", req: host("Host: example.com\r\n")},
	{name: "Host with dot", req: host("Host: svc3.\r\n")},
	{name: "Host in brackets", req: host("Host: [::1]:80\r\n")},
	{name: "two Hosts", req: host("Host: svc3\r\nHost: svc4\r\n")},
	{name: "two Hosts, the same", req: host("Host: svc3\r\nHost: svc3\r\n")},
	{name: "Host svc3/a b", req: host("Host: svc3/a b\r\n")},
	{name: "Host a@svc3", req: host("Host: a@svc3\r\n")},
	{name: "Host with underscore", req: host("Host: svc_3\r\n")},
	{name: "Host with quotes", req: host("Host: svc\"3\r\n")},
	{name: "Host with 0x80", req: host("Host: svc\x803\r\n")},
	{name: "Host last", req: host("X-A: 1\r\nHost: svc3\r\nX-B: 2\r\n")},
	{name: "absolute form", req: path("http://svc4/abs")},
	{name: "absolute form without path", req: path("http://svc4")},
	{name: "absolute form with query only", req: path("http://svc4?a=b")},
	{name: "absolute form with port", req: path("http://svc4:8080/abs")},
	{name: "absolute form with https", req: path("https://svc4/abs")},
	{name: "absolute form without Host", req: "GET http://svc4/abs HTTP/1.1\r\n\r\n"},
	{name: "absolute form with user", req: path("http://a@svc4/abs")},
	{name: "absolute form without host", req: path("http:///abs")},
	{name: "absolute form of ftp", req: path("ftp://svc4/abs")},
	{name: "slashes", req: path("//a//b")},
	{name: "three slashes", req: path("/a///b/")},
	{name: "escapes", req: path("/a%2fb%41%2e")},
	{name: "escapes in small and capital letters", req: path("/%e4%E4%7e%7E%2F%5c%5C")},
	{name: "dots", req: path("/a/../b/./c")},
	{name: "escaped dots", req: path("/a/%2e%2e/b")},
	{name: "dots above the root", req: path("/../b")},
	{name: "dots at the end", req: path("/a/b/..")},
	{name: "dot at the end", req: path("/a/.")},
	{name: "three dots", req: path("/a/.../b")},
	{name: "backslash", req: path(`/a\b`)},
	{name: "backslash dots", req: path(`/a\..\b`)},
	{name: "characters that want escapes", req: path("/a|{}<>\"^`b")},
	{name: "characters that want escapes in the query", req: path("/a?b=|{}<>\"^`\\")},
	{name: "dots in the query", req: path("/a?b=/../c")},
	{name: "wrong escapes", req: path("/a%zz?x=%zz")},
	{name: "half an escape", req: path("/a%2")},
	{name: "escaped NUL", req: path("/a%00b")},
	{name: "UTF-8", req: path("/ä")},
	{name: "UTF-8 in the query", req: path("/?ä")},
	{name: "fragment", req: path("/a#f")},
	{name: "fragment in the query", req: path("/a?b#f")},
	{name: "no slash", req: path("foo")},
	{name: "question mark only", req: path("?a")},
	{name: "control character", req: path("/a\x01b")},
	{name: "semicolon and others", req: path("/a;b=1,c:d@e!f$g&h'(i)*+=")},
	{name: "target of 50 KiB", req: path("/" + strings.Repeat("a", 50<<10))},
	{name: "target of 70 KiB", req: path("/" + strings.Repeat("a", 70<<10))},
}
