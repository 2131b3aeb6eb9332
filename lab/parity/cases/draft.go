package cases

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// Unique in a header's value stands for a text that no other request has.
const Unique = "{unique}"

// draft is a request in parts.
type draft struct {
	from    string
	gateway string // for outside
	host    string // to connect to, and the Host header unless authority says another
	port    int
	connect string // to connect to in place of host and port

	authority string
	method    string
	path      string
	query     []string // "name=value"
	headers   []string
	body      string
}

// with returns a copy with one thing changed.
func (d draft) with(change func(*draft)) draft {
	d.query, d.headers = slices.Clone(d.query), slices.Clone(d.headers)
	change(&d)
	return d
}

// set makes a header's only line this one.
func (d *draft) set(name, value string) {
	d.drop(name)
	d.headers = append(d.headers, name+": "+value)
}

// drop takes a header's lines away.
func (d *draft) drop(name string) {
	d.headers = slices.DeleteFunc(d.headers, func(h string) bool {
		k, _, _ := strings.Cut(h, ":")
		return strings.EqualFold(k, name)
	})
}

// setQuery makes a parameter's only value this one.
func (d *draft) setQuery(name, value string) {
	d.dropQuery(name)
	d.query = append(d.query, name+"="+value)
}

func (d *draft) dropQuery(name string) {
	d.query = slices.DeleteFunc(d.query, func(q string) bool {
		k, _, _ := strings.Cut(q, "=")
		return k == name
	})
}

// spec puts the parts together; false when no request line can hold them.
func (d draft) spec() (request.Spec, bool) {
	target := d.path
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	if len(d.query) > 0 {
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		target += sep + strings.Join(d.query, "&")
	}
	host := d.host
	if d.port != 80 {
		host = net.JoinHostPort(d.host, strconv.Itoa(d.port))
	}
	s := request.Spec{
		From: d.from, URL: "http://" + host + target, Method: d.method, Headers: d.headers,
		Body: d.body, Host: d.authority, Connect: d.connect,
	}
	if d.from == topology.Outside {
		s.Gateway = d.gateway
	}
	return s, sendable(&s)
}

// sendable says whether a request is one message on the wire: what breaks lines is another subject
// (meshcore/proxy/probe).
func sendable(s *request.Spec) bool {
	if strings.ContainsAny(s.URL+s.Host+s.Method, " \r\n\x00") || s.Method == "CONNECT" {
		return false
	}
	for _, h := range s.Headers {
		if strings.ContainsAny(h, "\r\n\x00") || strings.HasPrefix(h, ":") {
			return false // of a match on :path, say, which is no line of its own
		}
	}
	for _, r := range s.URL + s.Host {
		if r < '!' || r > '~' {
			return false
		}
	}
	return true
}
