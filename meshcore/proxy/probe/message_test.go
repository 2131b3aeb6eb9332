package probe

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// message is an HTTP message as it was on the wire.
type message struct {
	first    string
	fields   []string
	trailers []string
	body     []byte
	framing  string
	end      string // "whole", or how it broke off
}

var errNothing = errors.New("nothing")

// readHead reads a head. Nothing before the end of the stream is errNothing.
func readHead(r *bufio.Reader) (*message, error) {
	m := &message{}
	line, err := r.ReadString('\n')
	if err != nil {
		if line == "" {
			return nil, noting(err)
		}
		m.first, m.end = line, broken(err)
		return m, err
	}
	m.first = strings.TrimSuffix(line, "\r\n")
	m.fields, err = readFields(r)
	if err != nil {
		m.end = broken(err)
	}
	return m, err
}

func noting(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return errNothing
}

// broken says how a message broke off. A reset and an end look alike here: which of them comes depends on
// what was unread.
func broken(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "NOTHING HAPPENS"
	}
	return "cut"
}

func readFields(r *bufio.Reader) (out []string, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return out, err
		}
		if line = strings.TrimSuffix(line, "\r\n"); line == "" {
			return out, nil
		}
		out = append(out, line)
	}
}

func (m *message) get(name string) (string, bool) {
	for _, f := range m.fields {
		if k, v, ok := strings.Cut(f, ":"); ok && strings.EqualFold(k, name) {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

// frame finds out where the body ends.
func (m *message) frame(response, noBody bool) (length int) {
	te, chunked := m.get("transfer-encoding")
	cl, sized := m.get("content-length")
	upgrade, _ := m.get("connection")
	status := ""
	if response {
		if f := strings.Fields(m.first); len(f) > 1 {
			status = f[1]
		}
	}
	switch {
	case noBody, strings.HasPrefix(status, "1"), status == "204", status == "304":
		m.framing = "none"
	case strings.EqualFold(upgrade, "upgrade"):
		m.framing = "none"
	case chunked && strings.EqualFold(te, "chunked"):
		m.framing = "chunked"
	case sized:
		m.framing = "content-length"
		length, _ = strconv.Atoi(cl)
	case response:
		m.framing = "close"
	default:
		m.framing = "none"
	}
	return length
}

// bodyReader reads a body piece by piece.
type bodyReader struct {
	m    *message
	r    *bufio.Reader
	left int // of the content or the chunk
	done bool
}

func newBodyReader(m *message, r *bufio.Reader, response, noBody bool) *bodyReader {
	b := &bodyReader{m: m, r: r}
	b.left = m.frame(response, noBody)
	if m.framing == "none" || m.framing == "content-length" && b.left == 0 {
		b.finish()
	}
	return b
}

func (b *bodyReader) finish() { b.done, b.m.end = true, "whole" }

func (b *bodyReader) fail(err error) error {
	b.done, b.m.end = true, broken(err)
	return err
}

// read takes one piece.
func (b *bodyReader) read() error {
	if b.m.framing == "chunked" && b.left == 0 {
		return b.chunk()
	}
	p := make([]byte, 64<<10)
	if b.m.framing != "close" {
		p = p[:min(len(p), b.left)]
	}
	n, err := b.r.Read(p)
	b.m.body = append(b.m.body, p[:n]...)
	b.left -= n
	if err != nil {
		if err == io.EOF && b.m.framing == "close" {
			b.finish()
			return nil
		}
		return b.fail(err)
	}
	if b.m.framing == "content-length" && b.left == 0 {
		b.finish()
	}
	if b.m.framing == "chunked" && b.left == 0 {
		if _, err := b.r.Discard(2); err != nil {
			return b.fail(err)
		}
	}
	return nil
}

// chunk reads a chunk's size.
func (b *bodyReader) chunk() error {
	line, err := b.r.ReadString('\n')
	if err != nil {
		return b.fail(err)
	}
	size, err := strconv.ParseInt(strings.TrimSuffix(line, "\r\n"), 16, 64)
	if err != nil {
		b.done, b.m.end = true, fmt.Sprintf("strange chunk size %q", line)
		return err
	}
	b.left = int(size)
	if size > 0 {
		return nil
	}
	b.m.trailers, err = readFields(b.r)
	if err != nil {
		return b.fail(err)
	}
	b.finish()
	return nil
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// masked hides what is different each time.
func masked(field string) string {
	k, v, _ := strings.Cut(field, ": ")
	_, number := strconv.Atoi(v)
	_, date := http.ParseTime(v)
	switch {
	case k == "x-request-id" && uuid.MatchString(v):
		return k + ": <uuid>"
	case k == "date" && date == nil:
		return k + ": <date>"
	case (k == "x-envoy-upstream-service-time" || k == "x-m-ext_authz_duration") && number == nil:
		return k + ": <ms>"
	}
	return field
}

// short writes bytes so that they can be read and compared.
func short(s string) string {
	if len(s) <= 200 {
		return strconv.Quote(s)
	}
	sum := sha256.Sum256([]byte(s))
	return fmt.Sprintf("%q... (%d bytes, %x)", s[:20], len(s), sum[:4])
}

// write appends the canonical text of a message.
func (m *message) write(out *strings.Builder) {
	fmt.Fprintf(out, "  %s\n", short(m.first))
	for _, f := range m.fields {
		fmt.Fprintf(out, "    %s\n", short(masked(f)))
	}
	if m.framing != "" && m.framing != "none" {
		fmt.Fprintf(out, "    body by %s: %s\n", m.framing, short(string(m.body)))
	}
	for _, f := range m.trailers {
		fmt.Fprintf(out, "    trailer %s\n", short(f))
	}
	switch m.end {
	case "whole":
	case "":
		out.WriteString("    not read to its end\n")
	default:
		fmt.Fprintf(out, "    %s\n", m.end)
	}
}
