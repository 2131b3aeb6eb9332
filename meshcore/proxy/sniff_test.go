package proxy

import (
	"crypto/tls"
	"net"
	"slices"
	"testing"
)

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

// hello returns what a TLS client says first.
func hello(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		tls.Client(client, c).Handshake() //nolint:errcheck // nobody answers
		client.Close()
	}()
	b := make([]byte, 16<<10)
	n := 0
	for n < 5 || n < 5+int(b[3])<<8+int(b[4]) {
		m, err := server.Read(b[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	return b[:n]
}

// TestReadClientHello reads what crypto/tls says, in one piece and in two, and whatever a part of it
// is waited for.
func TestReadClientHello(t *testing.T) {
	b := hello(t, &tls.Config{ServerName: "A.example.com", NextProtos: []string{"h2", "istio"}})
	for n := range b {
		if h, more := readClientHello(b[:n]); h.found || !more {
			t.Fatalf("of %d bytes %d are enough", len(b), n)
		}
	}
	// The same message in two records (RFC 8446, 5.1).
	split := slices.Concat([]byte{0x16, 3, 1, 0, 9}, b[5:14], []byte{0x16, 3, 1,
		byte((len(b) - 14) >> 8), byte(len(b) - 14)}, b[14:])
	for _, b := range [][]byte{b, split} {
		h, more := readClientHello(b)
		if more || h.sni != "a.example.com" || !slices.Equal(h.alpn, []string{"h2", "istio"}) {
			t.Errorf("got %+v, more %v", h, more)
		}
	}
}

// FuzzClientHello has nothing that a client says make the inspector panic, or wait for ever.
func FuzzClientHello(f *testing.F) {
	f.Add(hello(f, &tls.Config{ServerName: "a.example.com", NextProtos: []string{"h2", "istio"}}))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, more := readClientHello(b)
		if h.found && more || more && len(b) >= maxHello {
			t.Errorf("found %v, more %v after %d bytes", h.found, more, len(b))
		}
	})
}
