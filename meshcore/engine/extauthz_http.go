package engine

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

const partialBody = "x-envoy-auth-partial-body"

// checkHeaders are the request's headers as an authorizer is told them, pseudo-headers and all;
// repeated lines are joined (filters/common/ext_authz/check_request_utils.cc setHttpRequest).
func (x *Exchange) checkHeaders(a *extAuthz) map[string]string {
	h, out := x.head, map[string]string{}
	put := func(name string, value []byte) {
		if name == partialBody || a.disallowed != nil && a.disallowed.has(name) ||
			a.allowed != nil && !a.allowed.has(name) {
			return
		}
		v := validText(value)
		if old, ok := out[name]; ok {
			v = old + "," + v
		}
		out[strings.Clone(name)] = v
	}
	put(":authority", h.Authority)
	put(":path", h.Target)
	put(":method", h.Method)
	put(":scheme", h.Scheme)
	for i := range h.Fields {
		put(view(h.Fields[i].Name), h.Fields[i].Value)
	}
	if _, partial := x.bodyOf(); x.told() {
		out[partialBody] = strconv.FormatBool(partial)
	}
	return out
}

// told says that the authorizer is told the body.
func (x *Exchange) told() bool {
	s := &x.authz
	return s.body != nil && s.body.most > 0 && len(s.buffered) > 0
}

// bodyOf is the body as the authorizer is told it.
func (x *Exchange) bodyOf() (b []byte, partial bool) {
	s := &x.authz
	if !x.told() {
		return nil, false
	}
	n := min(len(s.buffered), s.body.most)
	return s.buffered[:n], n != len(s.buffered)
}

// askHTTP makes the request to an HTTP authorizer (ext_authz_http_impl.cc check), as Envoy's
// asynchronous client sends it.
func (x *Exchange) askHTTP(c *Call) {
	a := x.authz.asking
	headers := x.checkHeaders(a)
	body, _ := x.bodyOf()
	h := &wire.Head{Minor: 1, ContentLength: int64(len(body)), Scheme: bytesOf("http")}
	h.Authority = h.Bytes(headers[":authority"])
	h.Method = h.Bytes(headers[":method"])
	h.Target = h.Bytes(a.http.prefix + headers[":path"])
	h.Add("content-length", strconv.Itoa(len(body)))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if name[0] != ':' && name != "content-length" {
			h.Add(name, headers[name])
		}
	}
	a.http.add.mutate(x, h, requestInline)
	ownCall(h, a.service.timeout)
	c.Head, c.Body = h, body
}

// ownCall adds what the router adds to a request of the proxy's own.
func ownCall(h *wire.Head, timeout time.Duration) {
	h.Set("x-envoy-internal", "true")
	if timeout > 0 {
		h.Set("x-envoy-expected-rq-timeout-ms", strconv.FormatInt(timeout.Milliseconds(), 10))
	}
}

// judgeHTTP reads the answer of an HTTP authorizer (toResponse): 200 allows, 5xx is no answer, all
// else denies.
func (x *Exchange) judgeHTTP(a *extAuthz, ev Event, took time.Duration) *judgement {
	h, s := ev.Head, a.http
	if h.Status >= 500 {
		return &judgement{}
	}
	joinLines(h, responseInline)
	h.Set("x-envoy-upstream-service-time", strconv.FormatInt(took.Milliseconds(), 10))
	const removals = "x-envoy-auth-headers-to-remove"
	v := &judgement{outcome: authzAllowed}
	if h.Status != 200 {
		v.outcome, v.status, v.body = authzDenied, h.Status, ev.Body
	}
	var added, removed []mutation
	for i := range h.Fields {
		name, value := string(h.Fields[i].Name), string(h.Fields[i].Value)
		if name == removals {
			removed = append(removed, removalsOf(value)...)
			continue
		}
		if s.asMetadata.has(name) {
			v.tell(name, value)
		}
		if v.outcome == authzDenied {
			if s.clientAll && name != "host" || s.client.has(name) {
				v.reply = append(v.reply, mutation{mutateAdd, name, value})
			}
			continue
		}
		if s.upstream.has(name) {
			v.request = append(v.request, mutation{mutateSet, name, value})
		}
		if s.appended.has(name) {
			added = append(added, mutation{mutateAdd, name, value})
		}
		if s.onSuccess.has(name) {
			v.response = append(v.response, mutation{mutateAdd, name, value})
		}
	}
	if v.outcome == authzAllowed {
		v.request = append(append(v.request, added...), removed...)
	}
	return v
}

// removalsOf reads a list of headers to remove.
func removalsOf(list string) (out []mutation) {
	for n := range strings.SplitSeq(list, ",") {
		if n = lowerASCII(strings.TrimSpace(n)); removable(n) {
			out = append(out, mutation{op: mutateRemove, name: n})
		}
	}
	return out
}

// tell adds a header of the answer to dynamic metadata.
func (v *judgement) tell(name, value string) {
	if v.metadata == nil {
		v.metadata = &structpb.Struct{Fields: map[string]*structpb.Value{}}
	}
	v.metadata.Fields[name] = structpb.NewStringValue(value)
}

// removable is http/header_utility.cc isRemovableHeader.
func removable(name string) bool { return name != "" && name[0] != ':' && name != "host" }
