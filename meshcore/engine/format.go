package engine

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// format is a header value with Envoy's command operators (formatter/substitution_formatter.cc).
type format struct {
	static []byte // the whole value, when there is no operator
	pieces []piece
}

// piece is some text or one operator.
type piece struct {
	text []byte
	eval func(x *Exchange, h *wire.Head, out []byte) []byte
	max  int // 0: all
}

var operator = regexp.MustCompile(`^%([A-Z][A-Z0-9_]*)(?:\(([^)]*)\))?(?::(\d+))?%`)

func (c *compiler) format(field, s string) format {
	if !strings.Contains(s, "%") {
		return format{static: []byte(s)}
	}
	var f format
	text := func(t string) {
		if n := len(f.pieces); n > 0 && f.pieces[n-1].eval == nil {
			f.pieces[n-1].text = append(f.pieces[n-1].text, t...)
			return
		}
		f.pieces = append(f.pieces, piece{text: []byte(t)})
	}
	for s != "" {
		switch i := strings.IndexByte(s, '%'); {
		case i < 0:
			text(s)
			s = ""
		case i > 0:
			text(s[:i])
			s = s[i:]
		case strings.HasPrefix(s, "%%"):
			text("%")
			s = s[2:]
		default:
			m := operator.FindStringSubmatch(s)
			if m == nil {
				c.fail(field, "Incorrect header configuration: no command operator at %q", s)
				return f
			}
			p, ok := operators(m[1], m[2])
			if !ok {
				c.fail(field, "command operator %s %s", m[0], notCarried)
			}
			p.max, _ = strconv.Atoi(m[3])
			f.pieces = append(f.pieces, p)
			s = s[len(m[0]):]
		}
	}
	if len(f.pieces) == 1 && f.pieces[0].eval == nil {
		f.static = f.pieces[0].text
	}
	return f
}

// operators returns the operator of a name.
func operators(name, arg string) (piece, bool) {
	if e, ok := plainOperators[name]; ok && arg == "" {
		return piece{eval: e}, true
	}
	switch name {
	case "REQ":
		return headerPiece(arg, func(x *Exchange) *wire.Head { return x.head }), arg != ""
	case "RESP":
		return headerPiece(arg, func(x *Exchange) *wire.Head { return x.resp }), arg != ""
	}
	return piece{}, false
}

var plainOperators = map[string]func(x *Exchange, h *wire.Head, out []byte) []byte{
	"PROTOCOL": func(x *Exchange, _ *wire.Head, out []byte) []byte {
		return append(out, x.Record.Protocol...)
	},
	"RESPONSE_CODE": func(x *Exchange, _ *wire.Head, out []byte) []byte {
		return strconv.AppendInt(out, int64(x.upstreamStatus), 10)
	},
	"RESPONSE_CODE_DETAILS": func(x *Exchange, _ *wire.Head, out []byte) []byte {
		return append(out, x.Record.Details...)
	},
	"RESPONSE_FLAGS": func(x *Exchange, _ *wire.Head, out []byte) []byte {
		if x.flagCount == 0 {
			return append(out, '-')
		}
		return x.appendFlags(out)
	},
	"ROUTE_NAME": func(x *Exchange, _ *wire.Head, out []byte) []byte {
		return append(out, x.Record.Route...)
	},
	"UPSTREAM_CLUSTER":     observableCluster,
	"UPSTREAM_CLUSTER_RAW": upstreamCluster,
	"UPSTREAM_HOST": func(x *Exchange, _ *wire.Head, out []byte) []byte {
		if x.answered == nil {
			return out
		}
		return append(out, x.answered.host.Address...)
	},
	"HOSTNAME": func(x *Exchange, _ *wire.Head, out []byte) []byte {
		return append(out, x.e.opt.Workload.Pod...)
	},
	"DOWNSTREAM_REMOTE_ADDRESS":                     address(remote),
	"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":        host(remote),
	"DOWNSTREAM_REMOTE_PORT":                        port(remote),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":              address(directRemote),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": host(directRemote),
	"DOWNSTREAM_DIRECT_REMOTE_PORT":                 port(directRemote),
	"DOWNSTREAM_LOCAL_ADDRESS":                      address(local),
	"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":         host(local),
	"DOWNSTREAM_LOCAL_PORT":                         port(local),
	"START_TIME": func(x *Exchange, _ *wire.Head, out []byte) []byte {
		return x.e.opt.Wall(x.start).UTC().AppendFormat(out, "2006-01-02T15:04:05.000Z")
	},
}

func upstreamCluster(x *Exchange, _ *wire.Head, out []byte) []byte {
	return append(out, x.Record.Cluster...)
}

// observableCluster is the cluster's alt_stat_name where it has one (substitution_formatter.cc:
// observabilityName).
func observableCluster(x *Exchange, _ *wire.Head, out []byte) []byte {
	if x.cluster != nil && x.cluster.shown != "" {
		return append(out, x.cluster.shown...)
	}
	return append(out, x.Record.Cluster...)
}

func remote(x *Exchange) netip.AddrPort       { return x.remote }
func directRemote(x *Exchange) netip.AddrPort { return x.ci.Remote }
func local(x *Exchange) netip.AddrPort        { return x.ci.Local }

func address(of func(*Exchange) netip.AddrPort) func(*Exchange, *wire.Head, []byte) []byte {
	return func(x *Exchange, _ *wire.Head, out []byte) []byte { return of(x).AppendTo(out) }
}

func host(of func(*Exchange) netip.AddrPort) func(*Exchange, *wire.Head, []byte) []byte {
	return func(x *Exchange, _ *wire.Head, out []byte) []byte { return of(x).Addr().AppendTo(out) }
}

func port(of func(*Exchange) netip.AddrPort) func(*Exchange, *wire.Head, []byte) []byte {
	return func(x *Exchange, _ *wire.Head, out []byte) []byte {
		return strconv.AppendUint(out, uint64(of(x).Port()), 10)
	}
}

// headerPiece is REQ(X?Y): the header X, else Y, else nothing.
func headerPiece(arg string, of func(*Exchange) *wire.Head) piece {
	first, second, _ := strings.Cut(strings.ToLower(arg), "?")
	return piece{eval: func(x *Exchange, _ *wire.Head, out []byte) []byte {
		h := of(x)
		if h == nil {
			return out
		}
		v, ok := lookup(h, first)
		if !ok && second != "" {
			v, _ = lookup(h, second)
		}
		return append(out, v...)
	}}
}

func lookup(h *wire.Head, name string) ([]byte, bool) {
	switch {
	case name == "host":
		return h.Authority, h.Authority != nil
	case name[0] == ':':
		return match.Pseudo(h, name)
	}
	return h.Get(name)
}

// eval returns the value; it is valid until the next use of the exchange's buffer.
func (f *format) eval(x *Exchange, h *wire.Head) []byte {
	if f.pieces == nil || f.static != nil {
		return f.static
	}
	out := x.buf[:0]
	for i := range f.pieces {
		p := &f.pieces[i]
		if p.eval == nil {
			out = append(out, p.text...)
			continue
		}
		n := len(out)
		out = p.eval(x, h, out)
		if p.max > 0 && len(out) > n+p.max {
			out = out[:n+p.max]
		}
	}
	x.buf = out
	return out
}
