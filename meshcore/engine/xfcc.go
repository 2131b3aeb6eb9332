package engine

import (
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/transport"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

const xfccName = "x-forwarded-client-cert"

// Modes of forward_client_cert_details.
const (
	xfccSanitize      = hcmv3.HttpConnectionManager_SANITIZE
	xfccForwardOnly   = hcmv3.HttpConnectionManager_FORWARD_ONLY
	xfccAppendForward = hcmv3.HttpConnectionManager_APPEND_FORWARD
	xfccAlways        = hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY
)

// clientCert is what is done about x-forwarded-client-cert.
type clientCert struct {
	mode                           hcmv3.HttpConnectionManager_ForwardClientCertDetails
	cert, chain, subject, uri, dns bool
}

func clientCertOf(m *hcmv3.HttpConnectionManager) clientCert {
	d := m.GetSetCurrentClientCertDetails()
	return clientCert{mode: m.GetForwardClientCertDetails(), cert: d.GetCert(),
		chain: d.GetChain(), subject: d.GetSubject().GetValue(), uri: d.GetUri(), dns: d.GetDns()}
}

// forwardClientCert settles x-forwarded-client-cert, which stands at a place of the head, or at -1
// (source/common/http/conn_manager_utility.cc mutateXfccRequestHeader). drop: it is to go.
func (x *Exchange) forwardClientCert(h *wire.Head, at int) (drop bool) {
	c := &x.hcm.xfcc
	tls := x.ci.TLS
	switch {
	case c.mode == xfccAlways:
		return false
	case c.mode == xfccSanitize, tls == nil, tls.Peer == nil:
		return at >= 0
	case c.mode == xfccForwardOnly:
		return false
	}
	x.buf = x.buf[:0]
	if c.mode == xfccAppendForward && at >= 0 && len(h.Fields[at].Value) > 0 {
		x.buf = append(append(x.buf, h.Fields[at].Value...), ',')
	}
	x.buf = c.append(x.buf, tls)
	v := h.Bytes(view(x.buf))
	if at >= 0 {
		h.Fields[at].Value = v
	} else {
		put(h, xfccName, v)
	}
	return false
}

// append writes the element of this hop.
func (c *clientCert) append(out []byte, tls *transport.State) []byte {
	first := true
	add := func(key, value string) {
		if !first {
			out = append(out, ';')
		}
		first = false
		out = append(append(out, key...), value...)
	}
	quoted := func(key, value string) {
		add(key, `"`)
		out = append(append(out, value...), '"')
	}
	if tls.Local != nil {
		for _, u := range tls.Local.URIs {
			add("By=", u)
		}
	}
	p := tls.Peer
	add("Hash=", p.Hash)
	if c.cert {
		quoted("Cert=", p.PEM)
	}
	if c.chain {
		quoted("Chain=", p.Chain)
	}
	if c.subject {
		quoted("Subject=", p.Subject)
	}
	if c.uri {
		for _, u := range p.URIs {
			add("URI=", u)
		}
		if len(p.URIs) == 0 {
			add("URI=", "")
		}
	}
	if c.dns {
		for _, n := range p.DNS {
			add("DNS=", n)
		}
	}
	return out
}
