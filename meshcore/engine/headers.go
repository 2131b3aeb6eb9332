package engine

import (
	"slices"
	"strings"
	"unsafe"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// mutations are the header operations of one place (header_parser.cc HeaderParser).
type mutations struct{ request, response operations }

type operations struct {
	remove []string
	add    []headerAdd
}

type headerAdd struct {
	name   string
	value  format
	action corev3.HeaderValueOption_HeaderAppendAction
	empty  bool // keep_empty_value
}

// chainOfMutations are the operations that a request meets, in the order in which they act.
type chainOfMutations struct{ request, response []*operations }

// mutable is any message with header operations.
type mutable interface {
	GetRequestHeadersToAdd() []*corev3.HeaderValueOption
	GetRequestHeadersToRemove() []string
	GetResponseHeadersToAdd() []*corev3.HeaderValueOption
	GetResponseHeadersToRemove() []string
}

func (c *compiler) mutations(m mutable) *mutations {
	return &mutations{
		request: operations{
			remove: c.removals("request_headers_to_remove", m.GetRequestHeadersToRemove()),
			add:    c.additions("request_headers_to_add", m.GetRequestHeadersToAdd())},
		response: operations{
			remove: c.removals("response_headers_to_remove", m.GetResponseHeadersToRemove()),
			add:    c.additions("response_headers_to_add", m.GetResponseHeadersToAdd())}}
}

func (c *compiler) removals(field string, names []string) []string {
	var out []string
	for i, n := range names {
		if n = lowerASCII(n); n == "host" || strings.HasPrefix(n, ":") {
			leave := c.at(field, i)
			c.fail("", ":-prefixed or host headers may not be removed")
			leave()
		}
		out = append(out, n)
	}
	return out
}

func (c *compiler) additions(field string, list []*corev3.HeaderValueOption) []headerAdd {
	var out []headerAdd
	for i, m := range list {
		leave := c.at(field, i)
		h := headerAdd{name: lowerASCII(m.GetHeader().GetKey()), action: m.GetAppendAction(),
			empty: m.GetKeepEmptyValue()}
		if h.name == "" {
			c.fail("header.key", "value length must be at least 1 characters")
		}
		if h.name == "host" || strings.HasPrefix(h.name, ":") {
			c.fail("header.key", ":-prefixed or host headers may not be modified")
		}
		//nolint:staticcheck // the deprecated field still acts in Envoy
		if a := m.GetAppend(); a != nil {
			if m.GetAppendAction() != corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD {
				c.fail("append", "Both append and append_action are set and it's not allowed")
			}
			if !a.GetValue() {
				h.action = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
			}
		}
		value := m.GetHeader().GetValue()
		if raw := m.GetHeader().GetRawValue(); len(raw) > 0 {
			value = string(raw)
		}
		h.value = c.format("header.value", value)
		out = append(out, h)
		leave()
	}
	return out
}

// order puts the operations in the order in which they act: those of the weighted cluster, the
// route, the virtual host, the configuration; what acts last has the last word. With
// most_specific_header_mutations_wins all but the first are turned round
// (config_impl.cc getHeaderParsers).
func (s scope) order(weighted, own *mutations) chainOfMutations {
	list := []*mutations{weighted, own, s.vhost, s.top}
	if s.specificWins {
		list = []*mutations{weighted, s.top, s.vhost, own}
	}
	var out chainOfMutations
	for _, m := range list {
		if m == nil {
			continue
		}
		if len(m.request.add)+len(m.request.remove) > 0 {
			out.request = append(out.request, &m.request)
		}
		if len(m.response.add)+len(m.response.remove) > 0 {
			out.response = append(out.response, &m.response)
		}
	}
	return out
}

// mutate carries the operations out: first all removals, then overwriting, then adding, whatever
// their order. All values are made of the headers as they are between removing and overwriting
// (header_parser.cc evaluateHeaders).
func (o *operations) mutate(x *Exchange, h *wire.Head, inline func(string) bool) {
	for _, n := range o.remove {
		h.Del(n)
	}
	var few [4]headerValue
	values := few[:0]
	for i := range o.add {
		a := &o.add[i]
		if v, ok := a.make(x, h); ok {
			values = append(values, headerValue{a, v})
		}
	}
	for i := range values {
		if v := &values[i]; v.overwrites() {
			h.Del(v.name) // it moves to the end, as in Envoy
			h.Add(v.name, view(v.text))
		}
	}
	for i := range values {
		if v := &values[i]; !v.overwrites() {
			appendHeader(h, v.name, v.text, inline)
		}
	}
}

// headerValue is what an operation writes.
type headerValue struct {
	*headerAdd
	text []byte
}

// make returns what an operation writes into a head; false: nothing.
func (a *headerAdd) make(x *Exchange, h *wire.Head) ([]byte, bool) {
	_, has := h.Get(a.name)
	switch a.action {
	case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
		if !has {
			return nil, false
		}
	case corev3.HeaderValueOption_ADD_IF_ABSENT:
		if has {
			return nil, false
		}
	}
	v := a.value.eval(x)
	if a.value.text != nil {
		v = h.Bytes(view(v)) // another value is made in the same buffer
	}
	return v, len(v) > 0 || a.empty
}

func (a *headerAdd) overwrites() bool {
	return a.action == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS ||
		a.action == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
}

// appendHeader adds a line, or lengthens the line of those headers that Envoy keeps in one
// (header_map_impl.cc insertByKey).
func appendHeader(h *wire.Head, name string, v []byte, inline func(string) bool) {
	if inline(name) {
		for i := range h.Fields {
			if f := &h.Fields[i]; string(f.Name) == name {
				f.Value = joined(h, f.Value, v)
				return
			}
		}
	}
	h.Add(name, view(v))
}

// joined puts two values in one line; what is empty adds nothing, nor a comma (header_map_impl.cc
// appendToHeader).
func joined(h *wire.Head, a, b []byte) []byte {
	switch {
	case len(b) == 0:
		return a
	case len(a) == 0:
		return h.Bytes(string(b)) // it may be a buffer's
	}
	return h.Bytes(string(a) + "," + string(b))
}

// joinLines makes one line of the repeated lines of an inline header, joined by commas: Envoy has
// one place for each of these (common/http/header_map_impl.cc insertByKey, appendToHeader), so that
// rules match what came together. Lines of all other headers stay apart.
func joinLines(h *wire.Head, inline func(string) bool) {
	for i := 1; i < len(h.Fields); i++ {
		f := &h.Fields[i]
		for j := range i {
			g := &h.Fields[j]
			if len(g.Name) != len(f.Name) || string(g.Name) != string(f.Name) ||
				!inline(view(f.Name)) {
				continue
			}
			g.Value = joined(h, g.Value, f.Value)
			h.Fields = slices.Delete(h.Fields, i, i+1)
			i--
			break
		}
	}
}

// requestInline are the request headers that Envoy keeps in one line (http/header_map.h
// INLINE_REQ_HEADERS and the custom inline headers of its filters).
func requestInline(name string) bool {
	switch name {
	case "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto",
		"x-forwarded-client-cert", "x-client-trace-id", "grpc-timeout", "te", "user-agent",
		"x-request-id", "via", "content-type", "content-length", "expect", "grpc-accept-encoding",
		"accept", "accept-encoding", "authorization", "cache-control", "origin", "referer",
		"access-control-request-headers", "access-control-request-method", "if-match",
		"if-none-match", "if-modified-since", "if-range", "pragma", "content-encoding",
		"proxy-status", "access-control-request-private-network":
		return true
	}
	return requestOwn[name]
}

// requestOwn are Envoy's own headers among them: not all of x-envoy-, as rules may make up more.
var requestOwn = names("x-envoy-",
	"attempt-count decorator-operation downstream-service-cluster downstream-service-node",
	"expected-rq-timeout-ms external-address force-trace hedge-on-per-try-timeout internal ip-tags",
	"is-timeout-retry max-retries original-path original-url retriable-header-names",
	"retriable-status-codes retry-grpc-on retry-on upstream-alt-stat-name",
	"upstream-rq-per-try-timeout-ms upstream-rq-timeout-alt-response upstream-rq-timeout-ms",
	"upstream-stream-duration-ms")

// responseOwn are those of responses.
var responseOwn = names("x-envoy-",
	"attempt-count decorator-operation degraded immediate-health-check-fail ratelimited",
	"upstream-canary upstream-healthchecked-cluster upstream-service-time")

func names(prefix string, lists ...string) map[string]bool {
	out := map[string]bool{}
	for _, list := range lists {
		for _, n := range strings.Fields(list) {
			out[prefix+n] = true
		}
	}
	return out
}

func responseInline(name string) bool {
	switch name {
	case "content-type", "content-length", "date", "location", "server", "grpc-message",
		"grpc-status", "x-request-id", "via", "cache-control", "content-encoding", "etag", "vary",
		"last-modified", "age", "expires", "proxy-status":
		return true
	}
	return responseOwn[name] || strings.HasPrefix(name, "access-control-")
}

// view is a string over bytes that nobody will change while it is used.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf is the reverse, for constants: nobody writes to it.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// put appends a line whose name is a constant and whose value lives as long as the head.
func put(h *wire.Head, name string, value []byte) {
	h.Fields = append(h.Fields, wire.Field{Name: bytesOf(name), Value: value})
}

// set replaces the lines of a name in their place by one whose value lives as long as the head, or
// appends it.
func set(h *wire.Head, name string, value []byte) {
	for i := range h.Fields {
		if string(h.Fields[i].Name) != name {
			continue
		}
		h.Fields[i].Value = value
		for j := i + 1; j < len(h.Fields); j++ {
			if string(h.Fields[j].Name) == name {
				h.Fields[j].Name = nil
				squeeze(h)
				j--
			}
		}
		return
	}
	put(h, name, value)
}

// squeeze drops the fields whose name was cleared.
func squeeze(h *wire.Head) {
	n := 0
	for i := range h.Fields {
		if h.Fields[i].Name != nil {
			h.Fields[n] = h.Fields[i]
			n++
		}
	}
	h.Fields = h.Fields[:n]
}

func lowerASCII(s string) string { return strings.ToLower(s) }

// unsigned reads what absl::SimpleAtoi<uint64_t> reads.
func unsigned(v []byte) (n uint64, ok bool) {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	if len(v) > 0 && v[0] == '+' {
		v = v[1:]
	}
	if len(v) == 0 {
		return 0, false
	}
	for _, c := range v {
		d := uint64(c - '0')
		if c < '0' || c > '9' || n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
