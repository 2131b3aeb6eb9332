package engine

import (
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/formatter"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
)

// tlsOperators tell of the handshakes, on both sides
// (source/common/formatter/stream_info_formatter.cc). Without a handshake, and of what was not
// shown, they have no value.
var tlsOperators = gather(side("DOWNSTREAM_", downstreamTLS), side("UPSTREAM_", upstreamTLS),
	map[string]operator{
		"DOWNSTREAM_LOCAL_EMAIL_SAN": of(downstreamTLS, ofLocal(emails)),
		"DOWNSTREAM_PEER_EMAIL_SAN":  of(downstreamTLS, ofPeer(emails)),
		"DOWNSTREAM_LOCAL_SUBJECT": of(downstreamTLS, ofLocal(
			func(c *transport.Certificate) string { return c.Subject })),
		"DOWNSTREAM_PEER_FINGERPRINT_256": of(downstreamTLS, ofPeer(
			func(c *transport.Certificate) string { return c.Hash })),
		"DOWNSTREAM_PEER_FINGERPRINT_1": of(downstreamTLS, ofPeer(
			func(c *transport.Certificate) string { return c.SHA1 })),
		"DOWNSTREAM_PEER_SERIAL": of(downstreamTLS, ofPeer(
			func(c *transport.Certificate) string { return c.Serial })),
		"DOWNSTREAM_TRANSPORT_FAILURE_REASON": alone(
			func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
				return underscored(x.log.downFailure, out)
			}),
		"UPSTREAM_SERVER_NAME": of(upstreamTLS, func(s *transport.State) string { return s.SNI }),
		"DOWNSTREAM_HANDSHAKE_DURATION": duration(begun, func(x *Exchange) clock.Instant {
			return secured(x.ci.TLS, x.ci.Secured)
		}),
	})

// side is what can be asked of both sides.
func side(prefix string, state func(*Exchange) *transport.State) map[string]operator {
	out := map[string]operator{}
	for name, get := range map[string]func(*transport.State) string{
		"TLS_CIPHER":    func(s *transport.State) string { return s.Cipher },
		"TLS_GROUP":     func(s *transport.State) string { return s.Group },
		"TLS_VERSION":   func(s *transport.State) string { return s.Version },
		"PEER_ISSUER":   ofPeer(func(c *transport.Certificate) string { return c.Issuer }),
		"PEER_SUBJECT":  ofPeer(func(c *transport.Certificate) string { return c.Subject }),
		"PEER_CERT":     ofPeer(func(c *transport.Certificate) string { return c.PEM }),
		"PEER_URI_SAN":  ofPeer(uris),
		"PEER_DNS_SAN":  ofPeer(dnsNames),
		"PEER_IP_SAN":   ofPeer(ips),
		"LOCAL_URI_SAN": ofLocal(uris),
		"LOCAL_DNS_SAN": ofLocal(dnsNames),
		"LOCAL_IP_SAN":  ofLocal(ips),
	} {
		out[prefix+name] = of(state, get)
	}
	out[prefix+"PEER_CERT_V_START"] = validity(state,
		func(c *transport.Certificate) time.Time { return c.NotBefore })
	out[prefix+"PEER_CERT_V_END"] = validity(state,
		func(c *transport.Certificate) time.Time { return c.NotAfter })
	return out
}

func downstreamTLS(x *Exchange) *transport.State { return x.ci.TLS }
func upstreamTLS(x *Exchange) *transport.State   { return x.log.conn.TLS }

func of(state func(*Exchange) *transport.State, get func(*transport.State) string) operator {
	return text(func(x *Exchange) string {
		if s := state(x); s != nil {
			return get(s)
		}
		return ""
	})
}

func ofPeer(get func(*transport.Certificate) string) func(*transport.State) string {
	return func(s *transport.State) string {
		if s.Peer == nil {
			return ""
		}
		return get(s.Peer)
	}
}

func ofLocal(get func(*transport.Certificate) string) func(*transport.State) string {
	return func(s *transport.State) string {
		if s.Local == nil {
			return ""
		}
		return get(s.Local)
	}
}

func uris(c *transport.Certificate) string     { return strings.Join(c.URIs, ",") }
func dnsNames(c *transport.Certificate) string { return strings.Join(c.DNS, ",") }
func ips(c *transport.Certificate) string      { return strings.Join(c.IPs, ",") }
func emails(c *transport.Certificate) string   { return strings.Join(c.Emails, ",") }

// validity is a bound of the peer's certificate, formatted.
func validity(state func(*Exchange) *transport.State,
	get func(*transport.Certificate) time.Time) operator {
	return operator{syntax: formatter.Optional, make: func(c formatter.Command) (eval, error) {
		f, err := formatter.ParseTime(c.Arg, false)
		return func(x *Exchange, out []byte) ([]byte, formatter.Kind) {
			s := state(x)
			if s == nil || s.Peer == nil {
				return out, formatter.None
			}
			return f.Append(get(s.Peer), out), formatter.Text
		}, err
	}}
}

// secured is when a handshake ended; noDeadline without one.
func secured(s *transport.State, at clock.Instant) clock.Instant {
	if s == nil {
		return noDeadline
	}
	return at
}

// underscored appends a text with underscores for blanks.
func underscored(s string, out []byte) ([]byte, formatter.Kind) {
	if s == "" {
		return out, formatter.None
	}
	n := len(out)
	out = append(out, s...)
	for i := range out[n:] {
		if out[n+i] == ' ' {
			out[n+i] = '_'
		}
	}
	return out, formatter.Text
}
