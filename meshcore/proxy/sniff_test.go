package proxy

import "testing"

// TestDetectHTTP holds first lines against what a real Envoy 1.40 makes of them: any token is a
// method to its http_inspector.
func TestDetectHTTP(t *testing.T) {
	for first, want := range map[string]string{
		"GET / HTTP/1.1\r\n": "http/1.1", "GET / HTTP/1.0\r\n": "http/1.0",
		"get / HTTP/1.1\r\n": "http/1.1", "1ET / HTTP/1.1\r\n": "http/1.1",
		"!X / HTTP/1.1\r\n": "http/1.1", "~ / HTTP/1.1\r\n": "http/1.1",
		"AMETHODOFMANYCHARACTERS / HTTP/1.1\r\n": "http/1.1",
		"(X / HTTP/1.1\r\n":                      "", "GE@T / HTTP/1.1\r\n": "",
		"G(T / HTTP/1.1\r\n": "", "{ / HTTP/1.1\r\n": "", "\r\nGET / HTTP/1.1\r\n": "",
	} {
		if got, more := detectHTTP([]byte(first)); got != want || more {
			t.Errorf("%q: %q, more %v; want %q", first, got, more, want)
		}
	}
}
