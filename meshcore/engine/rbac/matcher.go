package rbac

import (
	"net/netip"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
)

// matcher is a compiled permission or principal (source/extensions/filters/common/rbac/
// matchers.cc).
type matcher interface{ match(in *Input) bool }

type (
	always struct{}
	never  struct{}
	anyOf  []matcher
	allOf  []matcher
	not    struct{ of matcher }

	header struct{ match.Header }
	path   struct{ match.String }
	// template is a path template; it wants the whole path.
	template struct{ match.String }
	server   struct{ match.String }
	metadata struct{ match.Metadata }
	ofRoute  struct{ match.Metadata }

	portRange struct{ from, to uint16 } // both included
	address   struct {
		in netip.Prefix
		of func(*Input) netip.AddrPort
	}

	authenticated struct{ name *match.String } // nil: any peer
	validated     struct{ uri *match.String }  // nil: any validated peer
)

func (always) match(*Input) bool { return true }

func (never) match(*Input) bool { return false }

func (m anyOf) match(in *Input) bool {
	for _, e := range m {
		if e.match(in) {
			return true
		}
	}
	return false
}

func (m allOf) match(in *Input) bool {
	for _, e := range m {
		if !e.match(in) {
			return false
		}
	}
	return true
}

func (m not) match(in *Input) bool { return !m.of.match(in) }

func (m *header) match(in *Input) bool { return m.Match(in.Head) }

func (m *path) match(in *Input) bool {
	return in.Head.Target != nil && m.Match(match.PathOf(in.Head.Target))
}

func (m *template) match(in *Input) bool { return m.Match(match.PathOf(in.Head.Target)) }

func (m *server) match(in *Input) bool { return m.MatchText(in.SNI) }

func (m *metadata) match(in *Input) bool { return m.Match(in.Dynamic) }

func (m *ofRoute) match(in *Input) bool { return in.Route != nil && m.Match(in.Route) }

func (m portRange) match(in *Input) bool {
	return in.Local.IsValid() && m.from <= in.Local.Port() && in.Local.Port() <= m.to
}

func (m *address) match(in *Input) bool { return m.in.Contains(m.of(in).Addr()) }

// match looks at every name of the peer: URIs, DNS names and the subject. A TLS client without
// certificate has the empty subject.
func (m authenticated) match(in *Input) bool {
	switch {
	case in.TLS == nil:
		return false
	case m.name == nil:
		return true
	case in.TLS.Peer == nil:
		return m.name.MatchText("")
	}
	return anyText(m.name, in.TLS.Peer.URIs) || anyText(m.name, in.TLS.Peer.DNS) ||
		m.name.MatchText(in.TLS.Peer.Subject)
}

// match is principals/mtls_authenticated/mtls_authenticated.cc.
func (m validated) match(in *Input) bool {
	if in.TLS == nil || !in.TLS.Validated {
		return false
	}
	return m.uri == nil || in.TLS.Peer != nil && anyText(m.uri, in.TLS.Peer.URIs)
}

func anyText(m *match.String, list []string) bool {
	for _, s := range list {
		if m.MatchText(s) {
			return true
		}
	}
	return false
}
