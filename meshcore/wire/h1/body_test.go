package h1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// readBody reads a whole body and says how it ended.
func readBody(s wire.Stream) (body []byte, err error) {
	for range 1 << 20 {
		b, fin, err := s.ReadBody()
		body = append(body, b...)
		if fin || err != nil {
			return body, err
		}
	}
	return body, errors.New("no end")
}

const chunkedHead = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

var chunkedBodies = []struct{ name, in, want string }{
	{"one", "3\r\nabc\r\n0\r\n\r\n", "abc"},
	{"several", "3\r\nabc\r\n10\r\n0123456789abcdef\r\n1\r\nx\r\n0\r\n\r\n", "abc0123456789abcdefx"},
	{"upper and lower case", "A\r\n0123456789\r\na\r\n0123456789\r\n00\r\n\r\n", "01234567890123456789"},
	{"extension", "3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n", "abc"},
	{"blanks behind the size", "3 \t\r\nabc\r\n0 \r\n\r\n", "abc"},
	{"blanks before the extension", "3 ;x\r\nabc\r\n0\r\n\r\n", "abc"},
	{"trailers", "3\r\nabc\r\n0\r\nX-T: 1\r\nY: 2\r\n\r\n", "abc x-t=1 y=2"},
	{"empty", "0\r\n\r\n", ""},
	{"0x", "0x3\r\nabc\r\n0\r\n\r\n", "error"},
	{"LF", "3\nabc\n0\n\n", "error"},
	{"LF behind data", "3\r\nabc\n0\r\n\r\n", "error"},
	{"no size", "\r\nabc\r\n0\r\n\r\n", "error"},
	{"blank first", " 3\r\nabc\r\n0\r\n\r\n", "error"},
	{"blank within", "1 1\r\nabc\r\n0\r\n\r\n", "error"},
	{"sign", "+3\r\nabc\r\n0\r\n\r\n", "error"},
	{"overflow", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n", "error"},
	{"16 digits", "ffffffffffffffff\r\nabc", "error"},
	{"long data", "2\r\nabc\r\n0\r\n\r\n", "error"},
	{"bare CR", "3\rabc\r\n0\r\n\r\n", "error"},
	{"NUL in extension", "3;\x00\r\nabc\r\n0\r\n\r\n", "error"},
	{"long extension", "3;" + strings.Repeat("x", 20_000) + "\r\nabc\r\n0\r\n\r\n", "error"},
	{"trailer without colon", "0\r\nX\r\n\r\n", "error"},
	{"trailer bare LF", "0\r\nX: 1\n\r\n", "error"},
	{"trailer with framing", "0\r\nContent-Length: 1\r\nX: 2\r\n\r\n", " x=2"},
	{"trailer NUL", "0\r\n\x00: 1\r\n\r\n", "error"},
	{"cut in the size", "3", "cut"},
	{"cut before data", "3\r\n", "cut"},
	{"cut in data", "3\r\nab", "cut"},
	{"cut behind data", "3\r\nabc", "cut"},
	{"cut between chunks", "3\r\nabc\r\n", "cut"},
	{"cut in the last chunk", "3\r\nabc\r\n0\r\n", "cut"},
	{"cut in trailers", "3\r\nabc\r\n0\r\nX: 1\r\n", "cut"},
}

// TestChunked splits every message at every byte: the answer must not depend on it.
func TestChunked(t *testing.T) {
	for _, c := range chunkedBodies {
		for at := 0; at <= len(c.in); at++ {
			if len(c.in) > 1000 && at > 5 {
				break
			}
			s := NewServer(&script{in: [][]byte{[]byte(chunkedHead), []byte(c.in[:at]),
				[]byte(c.in[at:] + "GET /next")}}, RequestLimits)
			if c.want == "cut" {
				s = NewServer(&script{in: [][]byte{[]byte(chunkedHead), []byte(c.in[:at]),
					[]byte(c.in[at:])}}, RequestLimits)
			}
			if got := chunkedResult(t, s, c.want); got != c.want {
				t.Errorf("%s, split at %d: got %q, want %q", c.name, at, got, c.want)
			}
		}
		s := NewServer(pieces(chunkedHead+c.in, 1), RequestLimits)
		if got := chunkedResult(t, s, ""); got != c.want {
			t.Errorf("%s, byte by byte: got %q, want %q", c.name, got, c.want)
		}
	}
}

func chunkedResult(t *testing.T, s *Server, want string) string {
	t.Helper()
	var h wire.Head
	if err := s.ReadHead(&h); err != nil {
		t.Fatal(err)
	}
	body, err := readBody(s)
	var bad *Error
	switch {
	case errors.As(err, &bad):
		return "error"
	case err == io.ErrUnexpectedEOF:
		return "cut"
	case err != nil:
		return err.Error()
	}
	out := string(body)
	if tr := s.Trailers(); tr != nil {
		for _, f := range tr.Fields {
			out += fmt.Sprintf(" %s=%s", f.Name, f.Value)
		}
	}
	if rest := string(s.Preread()); want != "" && rest != "GET /next"[:len(rest)] {
		t.Errorf("%q is left", rest)
	}
	return out
}

// TestLength reads bodies of known length, with the next request behind them.
func TestLength(t *testing.T) {
	for _, size := range []int{1, 100, 5000, smallSize, 70_000, 300_000} {
		body := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		text := fmt.Sprintf("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%sGET /2 HTTP/1.1\r\n"+
			"Host: b\r\n\r\n", size, body)
		for _, split := range []int{0, 1000, 16384, 65536} {
			s := NewServer(pieces(text, split), RequestLimits)
			var h wire.Head
			if err := s.ReadHead(&h); err != nil {
				t.Fatal(err)
			}
			got, err := readBody(s)
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("size %d, split %d: %d bytes, %v", size, split, len(got), err)
			}
			if string(h.Target) != "/1" || string(h.Authority) != "a" {
				t.Fatalf("the head was overwritten: %s", show(&h))
			}
			if err := s.ReadHead(&h); err != nil || string(h.Target) != "/2" {
				t.Fatalf("size %d, split %d: next request: %v %s", size, split, err, show(&h))
			}
			if err := s.ReadHead(&h); err != io.EOF {
				t.Fatal(err)
			}
			if s.in.buf != nil || s.in.lent != nil {
				t.Fatal("an idle connection holds a buffer")
			}
		}
	}
}

// TestCut: a message that was cut never ends cleanly, and only the end of the connection ends a body
// without length.
func TestCut(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct {
		in   string
		end  error
		body string
		want error
	}{
		{head + "Content-Length: 5\r\n\r\nabc", io.EOF, "abc", io.ErrUnexpectedEOF},
		{head + "Content-Length: 5\r\n\r\nabc", os.ErrDeadlineExceeded, "abc", os.ErrDeadlineExceeded},
		{head + "\r\nabc", io.EOF, "abc", nil},
		{head + "\r\nabc", io.ErrClosedPipe, "abc", io.ErrClosedPipe},
		{head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", io.EOF, "abc", io.ErrUnexpectedEOF},
	} {
		p := pieces(c.in, 0)
		p.end = c.end
		s := NewClient(p)
		s.WriteHead(&wire.Head{Method: []byte("GET"), ContentLength: -1}, true)
		var h wire.Head
		if err := s.ReadHead(&h); err != nil {
			t.Fatal(err)
		}
		body, err := readBody(s)
		if string(body) != c.body || err != c.want {
			t.Errorf("%q: got %q, %v", c.in, body, err)
		}
	}
}

func TestWriteRequest(t *testing.T) {
	for _, c := range []struct {
		in, body string
		want     string
	}{
		{get("X-A: 1\r\n"), "", "GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n\r\n"},
		{"POST / HTTP/1.1\r\nHost: a\r\n\r\n", "",
			"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX-A: 1\r\n\r\nabc", "abc",
			"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nx-a: 1\r\n\r\nabc"},
		{chunkedHead + "3\r\nabc\r\n0\r\n\r\n", "abc",
			"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"CONNECT b:80 HTTP/1.1\r\nHost: a\r\n\r\n", "", "CONNECT b:80 HTTP/1.1\r\nhost: b:80\r\n\r\n"},
		{get("Connection: upgrade\r\nUpgrade: websocket\r\n"), "",
			"GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"},
		{get("Connection: content-length\r\nContent-Length: 3\r\n") + "abc", "abc",
			"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	} {
		s := NewServer(pieces(c.in, 0), RequestLimits)
		var h wire.Head
		if err := s.ReadHead(&h); err != nil {
			t.Fatal(err)
		}
		out := &script{}
		u := NewClient(out)
		u.WriteHead(&h, h.NoBody)
		if !h.NoBody && h.Upgrade == nil && string(h.Method) != "CONNECT" {
			b, err := readBody(s)
			if string(b) != c.body || err != nil {
				t.Errorf("%q: body %q, %v", c.in, b, err)
			}
			if err := u.WriteBody(b, true); err != nil {
				t.Error(err)
			}
		}
		u.Flush()
		if got := out.out.String(); got != c.want {
			t.Errorf("%q:\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}

func TestWriteResponse(t *testing.T) {
	for _, c := range []struct {
		method string
		h      wire.Head
		body   []string
		want   string
	}{
		{"GET", wire.Head{Status: 200, ContentLength: -1}, []string{"abc"},
			"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"GET", wire.Head{Status: 200, ContentLength: -1, NoBody: true}, nil,
			"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"},
		{"GET", wire.Head{Status: 204, ContentLength: -1, NoBody: true}, nil,
			"HTTP/1.1 204 No Content\r\n\r\n"},
		{"GET", wire.Head{Status: 304, ContentLength: -1, NoBody: true}, nil,
			"HTTP/1.1 304 Not Modified\r\n\r\n"},
		{"GET", wire.Head{Status: 999, ContentLength: -1, NoBody: true, Close: true}, nil,
			"HTTP/1.1 999 Unknown\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"},
		{"HEAD", wire.Head{Status: 200, ContentLength: -1, NoBody: true}, nil,
			"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"},
		{"HEAD", wire.Head{Status: 200, ContentLength: 3}, []string{"abc"}, "HTTP/1.1 200 OK\r\n\r\n"},
	} {
		sc := pieces(c.method+" / HTTP/1.1\r\nHost: a\r\n\r\n", 0)
		s := NewServer(sc, RequestLimits)
		var h wire.Head
		if err := s.ReadHead(&h); err != nil {
			t.Fatal(err)
		}
		s.WriteHead(&c.h, c.h.NoBody)
		for i, b := range c.body {
			if err := s.WriteBody([]byte(b), i == len(c.body)-1); err != nil {
				t.Error(err)
			}
		}
		s.Flush()
		if got := sc.out.String(); got != c.want {
			t.Errorf("%s %d:\n got %q\nwant %q", c.method, c.h.Status, got, c.want)
		}
	}
}

// TestWriteLength: a body that breaks its promise is an error.
func TestWriteLength(t *testing.T) {
	for _, body := range []string{"ab", "abcd"} {
		s := NewServer(pieces(get(""), 0), RequestLimits)
		var h wire.Head
		s.ReadHead(&h)
		s.WriteHead(&wire.Head{Status: 200, ContentLength: 3}, false)
		if s.WriteBody([]byte(body), true) == nil {
			t.Errorf("%d bytes for 3 are accepted", len(body))
		}
	}
}

// TestWriteLarge: large pieces go out whole and in order, whatever was gathered before.
func TestWriteLarge(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 3*largeSize)
	sc := pieces(get(""), 0)
	s := NewServer(sc, RequestLimits)
	var h wire.Head
	s.ReadHead(&h)
	s.WriteHead(&wire.Head{Status: 200, ContentLength: -1}, false)
	s.WriteBody([]byte("a"), false)
	s.WriteBody(big, false)
	s.WriteBody([]byte("b"), true)
	s.Flush()
	want := fmt.Sprintf("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n%x\r\n%s\r\n1\r\nb\r\n"+
		"0\r\n\r\n", len(big), big)
	if sc.out.String() != want {
		t.Errorf("%d bytes, want %d", sc.out.Len(), len(want))
	}
}
