package h1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// net/http is the slow, obvious parser. Where both accept a message they must understand the same; what
// only one of them accepts must be one of the differences listed here.

// laxer are the ways in which this codec, like Envoy, accepts more than net/http.
var laxer = []struct {
	why string
	re  *regexp.Regexp
}{
	{"CRLF before the first line", regexp.MustCompile(`^\r\n`)},
	{"runs of blanks in the request line, and behind it",
		regexp.MustCompile(`^[A-Z]+([ \t]{2,}|\t)|^[A-Z]+ \S+([ \t]{2,}|\t)|^[^\n]*[ \t]\r\n`)},
	{"any version, later answered with 426",
		regexp.MustCompile(`^[A-Z]+ +\S+ +HTTP/(\d\.[^1]|[^1]\.)|^[A-Z]+ +\S+\r\n`)},
	{"percent-escapes, host and port of the target are not judged",
		regexp.MustCompile(`^[A-Z]+ +\S*[%:\[\]@{}|^"<>\x60\\]\S* `)},
	{"the authority of CONNECT is not parsed", regexp.MustCompile(`^CONNECT `)},
	{"* with more", regexp.MustCompile(`^OPTIONS +\*\S`)},
	{"any coding of the trailers that are announced", regexp.MustCompile(`(?i)\ntrailer:`)},
	{"a host that is no host", regexp.MustCompile(`(?i)\nhost:`)},
	{"an empty value or the like of transfer-encoding is judged later",
		regexp.MustCompile(`(?i)\ntransfer-encoding:`)},
	{"any response", regexp.MustCompile(`^HTTP/\d.\d \d{3}`)},
}

func excuse(text []byte) bool {
	for _, l := range laxer {
		if l.re.Match(text) {
			return true
		}
	}
	return false
}

// fields compares header fields. Hop-by-hop and framing fields are compared by their meaning.
func fields(t *testing.T, h *wire.Head, want http.Header) {
	t.Helper()
	got := http.Header{}
	for _, f := range h.Fields {
		k := textproto.CanonicalMIMEHeaderKey(string(f.Name))
		got[k] = append(got[k], string(f.Value))
	}
	nominated := map[string]bool{}
	for _, v := range want["Connection"] {
		for _, n := range strings.Split(v, ",") {
			nominated[textproto.CanonicalMIMEHeaderKey(strings.Trim(n, " \t"))] = true
		}
	}
	hop := []string{"Connection", "Keep-Alive", "Proxy-Connection", "Upgrade", "Te", "Expect",
		"Http2-Settings", "Transfer-Encoding", "Content-Length", "Host", "Trailer", "Pragma",
		"Cache-Control"}
	for k, v := range want {
		if slices.Contains(hop, k) || nominated[k] {
			continue
		}
		if !slices.EqualFunc(got[k], v, sameValue) {
			t.Errorf("field %q: got %q, want %q", k, got[k], v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok && !slices.Contains(hop, k) {
			t.Errorf("field %q was invented", k)
		}
	}
}

// sameValue allows for continuation lines, which net/textproto joins by one space.
func sameValue(a, b string) bool {
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	return a == b || squeeze(a) == squeeze(b)
}

func FuzzRequestHead(f *testing.F) {
	for _, c := range requests {
		if len(c.in) < 1000 {
			f.Add([]byte(c.in))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := NewServer(pieces(string(text), 0), RequestLimits)
		var h wire.Head
		err := s.ReadHead(&h)
		for _, n := range []int{1, 3} {
			if a, b := readRequest(string(text), 0), readRequest(string(text), n); a != b {
				t.Fatalf("whole: %s\nsplit: %s", a, b)
			}
		}
		if err != nil {
			return // stricter, in ways that the table names
		}
		if len(h.Target) == 0 || h.Target[0] != '?' { // that is not forwarded: 404
			checkHead(t, &h)
		}
		r, stdErr := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
		if stdErr != nil {
			if !excuse(text) {
				t.Fatalf("accepted %q, net/http: %v", text, stdErr)
			}
			return
		}
		if string(h.Method) != r.Method {
			t.Errorf("method %q, want %q", h.Method, r.Method)
		}
		if h.Scheme == nil && r.Method != "CONNECT" && string(h.Target) != r.RequestURI {
			t.Errorf("target %q, want %q", h.Target, r.RequestURI)
		}
		if h.Scheme == nil && r.Method != "CONNECT" && h.Authority != nil && string(h.Authority) != r.Host {
			t.Errorf("host %q, want %q", h.Authority, r.Host)
		}
		// net/http knows no chunks before HTTP/1.1; here such a request is answered with 426.
		if h.Upgrade == nil && r.Method != "CONNECT" && h.Minor == 1 {
			if h.Chunked != slices.Equal(r.TransferEncoding, []string{"chunked"}) ||
				!h.Chunked && max(0, s.parse.length) != r.ContentLength {
				t.Errorf("framing: chunked=%v length=%d, want %q %d", h.Chunked, s.parse.length,
					r.TransferEncoding, r.ContentLength)
			}
			sameBody(t, s, r.Body)
		}
		fields(t, &h, r.Header)
	})
}

// checkHead: whatever was accepted can be sent on without changing its meaning.
func checkHead(t *testing.T, h *wire.Head) {
	t.Helper()
	out := &script{}
	u := NewClient(out)
	u.WriteHead(h, h.NoBody)
	u.Flush()
	s := NewServer(&script{in: [][]byte{out.out.Bytes()}}, Limits{1 << 20, 1000})
	var again wire.Head
	if err := s.ReadHead(&again); err != nil {
		t.Fatalf("%q is forwarded as %q: %v", show(h), out.out.Bytes(), err)
	}
	if again.Chunked != (!h.NoBody && h.ContentLength < 0 && h.Upgrade == nil &&
		string(h.Method) != "CONNECT") || h.ContentLength >= 0 && again.ContentLength != h.ContentLength {
		t.Fatalf("%q is forwarded as %q", show(h), out.out.Bytes())
	}
}

// sameBody compares how bodies end: what net/http calls cut must not end cleanly here.
func sameBody(t *testing.T, s wire.Stream, std io.Reader) {
	t.Helper()
	want, stdErr := io.ReadAll(std)
	got, err := readBody(s)
	if err == nil && stdErr != nil {
		t.Errorf("body %q ends cleanly; net/http: %q, %v", got, want, stdErr)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Errorf("body %q, want %q", got, want)
	}
	if !bytes.HasPrefix(want, got) && !bytes.HasPrefix(got, want) {
		t.Errorf("body %q, want %q", got, want)
	}
}

func FuzzResponseHead(f *testing.F) {
	for _, c := range responses {
		if len(c.in) < 1000 && c.method != "UPGRADE" {
			f.Add([]byte(c.in+"3\r\nabc\r\n0\r\n\r\n"), c.method == "HEAD")
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		for _, n := range []int{1, 3} {
			a, b := readResponse(string(text), method, 0), readResponse(string(text), method, n)
			if a != b {
				t.Fatalf("whole: %s\nsplit: %s", a, b)
			}
		}
		c := NewClient(pieces(string(text), 0))
		c.WriteHead(&wire.Head{Method: []byte(method), Target: []byte("/"), ContentLength: -1}, true)
		var h wire.Head
		if c.ReadHead(&h) != nil {
			return
		}
		r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(text)), &http.Request{Method: method})
		if err != nil {
			if !excuse(text) {
				t.Fatalf("accepted %q, net/http: %v", text, err)
			}
			return
		}
		if h.Status != r.StatusCode {
			t.Errorf("status %d, want %d", h.Status, r.StatusCode)
		}
		fields(t, &h, r.Header)
		if h.Minor == 1 { // net/http ignores Transfer-Encoding in HTTP/1.0
			sameBody(t, c, r.Body)
		}
	})
}

// blanks before an extension (RFC 9112, 7.1.1: BWS) are refused by net/http.
var blanks = regexp.MustCompile(`[0-9a-fA-F][ \t]+;`)

func FuzzChunks(f *testing.F) {
	for _, c := range chunkedBodies {
		if len(c.in) < 1000 {
			f.Add([]byte(c.in), uint16(3))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, at uint16) {
		n := min(int(at), len(text))
		run := func(in ...[]byte) ([]byte, error) {
			s := NewServer(&script{in: append([][]byte{[]byte(chunkedHead)}, in...)}, RequestLimits)
			var h wire.Head
			if err := s.ReadHead(&h); err != nil {
				t.Fatal(err)
			}
			return readBody(s)
		}
		whole, err := run(bytes.Clone(text))
		split, splitErr := run(bytes.Clone(text[:n]), bytes.Clone(text[n:]))
		same := bytes.Equal(whole, split)
		if err != nil { // how much of a broken body is read before it is found broken may differ
			same = bytes.HasPrefix(whole, split) || bytes.HasPrefix(split, whole)
		}
		if !same || (err == nil) != (splitErr == nil) {
			t.Fatalf("whole %q %v, split %q %v", whole, err, split, splitErr)
		}
		r, stdErr := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(chunkedHead),
			bytes.NewReader(text))))
		if stdErr != nil {
			t.Fatal(stdErr)
		}
		want, stdErr := io.ReadAll(r.Body)
		if blanks.Match(text) {
			return
		}
		if err == nil && (stdErr != nil || !bytes.Equal(whole, want)) {
			t.Fatalf("%q: got %q, net/http %q %v", text, whole, want, stdErr)
		}
	})
}
