package engine

import (
	"github.com/mesh-lab/mesh-lab/meshcore/engine/rbac"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
)

// Records must outlive their exchange, and making them must not allocate for each request. So the
// exchange writes their strings and attempts into chunks that are only ever appended to: a full
// chunk is left to the records that point into it, and a new one is taken.
const (
	textChunk    = 8 << 10
	attemptChunk = 32
)

// intern returns a string with these bytes that stays valid.
func (x *Exchange) intern(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if cap(x.text)-len(x.text) < len(b) {
		x.text = make([]byte, 0, max(textChunk, len(b)))
	}
	n := len(x.text)
	x.text = append(x.text, b...)
	return view(x.text[n:])
}

// addAttempt appends to the record's attempts, which lie together at the end of the chunk.
func (x *Exchange) addAttempt(a observe.Attempt) {
	x.attempts = grow(x.attempts, len(x.Record.Attempts), a)
	x.Record.Attempts = tail(x.attempts, len(x.Record.Attempts)+1)
}

func (x *Exchange) addMirror(a observe.Attempt) {
	x.copies = grow(x.copies, len(x.Record.Mirrors), a)
	x.Record.Mirrors = tail(x.copies, len(x.Record.Mirrors)+1)
}

// grow appends a to the chunk; when it is full, a new one begins with the last n of the old.
func grow(chunk []observe.Attempt, n int, a observe.Attempt) []observe.Attempt {
	if len(chunk) == cap(chunk) {
		old := chunk[len(chunk)-n:]
		chunk = append(make([]observe.Attempt, 0, attemptChunk+n), old...)
	}
	return append(chunk, a)
}

func tail(chunk []observe.Attempt, n int) []observe.Attempt {
	return chunk[len(chunk)-n : len(chunk) : len(chunk)]
}

// recordTLS is what a record tells of a handshake: the version, and who the peer is.
func recordTLS(s *transport.State) (version, peer string) {
	if s == nil {
		return "", ""
	}
	if s.Peer != nil && len(s.Peer.URIs) > 0 {
		peer = s.Peer.URIs[0]
	}
	return s.Version, peer
}

// underscores returns a text as access logs have it, without blanks; it stays valid.
func (x *Exchange) underscores(s string) string {
	x.buf, _ = underscored(s, x.buf[:0])
	return x.intern(x.buf)
}

// flag notes a response flag, each once, in the order in which they were set.
func (x *Exchange) flag(f string) {
	for _, g := range x.flags[:x.flagCount] {
		if g == f {
			return
		}
	}
	if x.flagCount < len(x.flags) {
		x.flags[x.flagCount] = f
		x.flagCount++
	}
}

func (x *Exchange) appendFlags(out []byte) []byte {
	for i, f := range x.flags[:x.flagCount] {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, f...)
	}
	return out
}

// note takes from the request what the record tells.
func (x *Exchange) note() {
	h, r := x.head, &x.Record
	r.Method = methodName(x, h.Method)
	r.Path, r.Authority = x.intern(h.Target), x.intern(h.Authority)
	for i := range h.Fields {
		switch f := &h.Fields[i]; string(f.Name) {
		case "x-request-id":
			r.ID = x.intern(f.Value)
		case "user-agent":
			r.UserAgent = x.intern(f.Value)
		}
	}
	x.buf = x.remote.AppendTo(x.buf[:0])
	r.Remote = x.intern(x.buf)
	for _, n := range x.e.opt.KeepHeaders {
		if v, ok := lookup(h, n); ok {
			if r.Headers == nil {
				r.Headers = map[string]string{}
			}
			r.Headers[n] = x.intern(x.allLines(n, v))
		}
	}
}

// allLines joins the lines of a header by commas; first is the first.
func (x *Exchange) allLines(name string, first []byte) []byte {
	n := 0
	for i := range x.head.Fields {
		f := &x.head.Fields[i]
		if string(f.Name) != name {
			continue
		}
		if n++; n == 2 {
			x.buf = append(x.buf[:0], first...)
		}
		if n > 1 {
			x.buf = append(append(x.buf, ','), f.Value...)
		}
	}
	if n < 2 {
		return first
	}
	return x.buf
}

func methodName(x *Exchange, m []byte) string {
	switch string(m) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "HEAD":
		return "HEAD"
	case "PUT":
		return "PUT"
	}
	return x.intern(m)
}

// releaseRecord lets go of what the exchange need not keep alive while it idles.
func (x *Exchange) releaseRecord() {
	x.head, x.resp, x.route, x.target = nil, nil, nil, nil
	x.ep, x.answered, x.cluster, x.ci = nil, nil, nil, nil
	x.log.endpoint, x.log.vhost, x.logs = nil, nil, nil
	x.input = rbac.Input{}
	x.dynamic.clear()
	clear(x.tried)
}
