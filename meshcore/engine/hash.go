package engine

import (
	"bytes"
	"math/bits"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// hashKind is what a hash policy hashes.
type hashKind uint8

const (
	hashHeader hashKind = iota
	hashCookie
	hashSource
	hashQuery
)

// hashPolicy is a compiled HashPolicy.
type hashPolicy struct {
	kind     hashKind
	name     string
	ttl      *time.Duration // of a cookie that is made when there is none
	suffix   string         // of its Set-Cookie: Max-Age and what follows
	terminal bool
}

func (c *compiler) hashPolicies(list []*routev3.RouteAction_HashPolicy) []hashPolicy {
	var out []hashPolicy
	for i, m := range list {
		leave := c.at("hash_policy", i)
		p := hashPolicy{terminal: m.GetTerminal()}
		switch s := m.GetPolicySpecifier().(type) {
		case *routev3.RouteAction_HashPolicy_Header_:
			p.kind, p.name = hashHeader, lowerASCII(s.Header.GetHeaderName())
		case *routev3.RouteAction_HashPolicy_Cookie_:
			p.kind, p.name = hashCookie, s.Cookie.GetName()
			c.cookie(&p, s.Cookie)
		case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
			p.kind = hashSource
			if !s.ConnectionProperties.GetSourceIp() {
				leave()
				continue
			}
		case *routev3.RouteAction_HashPolicy_QueryParameter_:
			p.kind, p.name = hashQuery, s.QueryParameter.GetName()
		default:
			c.fail("policy_specifier", "value is required")
		}
		if p.name == "" && p.kind != hashSource {
			c.fail("", "value length must be at least 1 characters")
		}
		out = append(out, p)
		leave()
	}
	return out
}

func (c *compiler) cookie(p *hashPolicy, m *routev3.RouteAction_HashPolicy_Cookie) {
	if m.GetTtl() == nil {
		return
	}
	ttl := c.duration("cookie.ttl", m.GetTtl()).Truncate(time.Second)
	p.ttl = &ttl
	if ttl != 0 { // zero: a cookie of the session (http/utility.cc makeSetCookieValue)
		p.suffix += "; Max-Age=" + strconv.Itoa(int(ttl/time.Second))
	}
	if m.GetPath() != "" {
		p.suffix += "; Path=" + m.GetPath()
	}
	for _, a := range m.GetAttributes() {
		p.suffix += "; " + a.GetName()
		if a.GetValue() != "" {
			p.suffix += "=" + a.GetValue()
		}
	}
	p.suffix += "; HttpOnly"
}

// hash combines the policies' values (http/hash_policy.cc generateHash): each new value is
// mixed into the old one, turned by one bit; after a value, a terminal policy ends it.
func (x *Exchange) hash(list []hashPolicy, h *wire.Head) (sum uint64, ok bool) {
	for i := range list {
		p := &list[i]
		if v, has := x.hashOne(p, h); has {
			if ok {
				sum = bits.RotateLeft64(sum, 1)
			}
			sum, ok = sum^v, true
		}
		if ok && p.terminal {
			break
		}
	}
	return sum, ok
}

func (x *Exchange) hashOne(p *hashPolicy, h *wire.Head) (uint64, bool) {
	switch p.kind {
	case hashHeader:
		return hashLines(h, p.name)
	case hashCookie:
		if v := cookieValue(h, p.name); len(v) > 0 {
			return xxhash.Sum64(v), true
		}
		if p.ttl == nil {
			return 0, false
		}
		return xxhash.Sum64(x.newCookie(p)), true
	case hashSource:
		x.buf = x.remote.Addr().AppendTo(x.buf[:0])
		return xxhash.Sum64(x.buf), true
	default:
		v, ok := match.Param(h.Target, p.name)
		return xxhash.Sum64(v), ok
	}
}

// hashLines hashes a header; the values of several lines are sorted, and each sum seeds the next.
func hashLines(h *wire.Head, name string) (uint64, bool) {
	if name[0] == ':' || name == "host" {
		v, ok := lookup(h, name)
		return xxhash.Sum64(v), ok
	}
	first, n := -1, 0
	for i := range h.Fields {
		if string(h.Fields[i].Name) == name {
			if n++; first < 0 {
				first = i
			}
		}
	}
	if n == 0 {
		return 0, false
	}
	if n == 1 {
		return xxhash.Sum64(h.Fields[first].Value), true
	}
	var values [][]byte
	for i := range h.Fields {
		if string(h.Fields[i].Name) == name {
			values = append(values, h.Fields[i].Value)
		}
	}
	slices.SortFunc(values, bytes.Compare)
	var sum uint64
	for _, v := range values {
		d := xxhash.NewWithSeed(sum)
		d.Write(v) //nolint:errcheck // never fails
		sum = d.Sum64()
	}
	return sum, true
}

// cookieValue returns a cookie of the request, without quotes (http/utility.cc parseCookieValue).
func cookieValue(h *wire.Head, name string) []byte {
	for i := range h.Fields {
		if string(h.Fields[i].Name) != "cookie" {
			continue
		}
		rest := h.Fields[i].Value
		for len(rest) > 0 {
			part := rest
			if j := bytes.IndexByte(rest, ';'); j >= 0 {
				part, rest = rest[:j], rest[j+1:]
			} else {
				rest = nil
			}
			key, v, _ := bytes.Cut(bytes.TrimLeft(part, " \t"), []byte{'='})
			if string(key) != name {
				continue
			}
			if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
				v = v[1 : len(v)-1]
			}
			return v
		}
	}
	return nil
}

// newCookie makes a cookie and remembers its Set-Cookie line. Its value is a hash of the
// connection's addresses, so that requests of one connection agree (router.h
// addDownstreamSetCookie).
func (x *Exchange) newCookie(p *hashPolicy) []byte {
	x.buf = x.ci.Remote.AppendTo(x.buf[:0])
	x.buf = x.ci.Local.AppendTo(x.buf)
	sum := xxhash.Sum64(x.buf)
	const digits = "0123456789abcdef"
	x.buf = x.buf[:0]
	for shift := 60; shift >= 0; shift -= 4 {
		x.buf = append(x.buf, digits[sum>>shift&15])
	}
	x.setCookies = append(x.setCookies, p.name+`="`+string(x.buf)+`"`+p.suffix)
	return x.buf
}
