package transport

import (
	"crypto/tls"
	"slices"
	"strings"
)

// choose is which certificate is shown (source/common/tls/default_tls_certificate_selector.cc
// findTlsContext): that of the server name, exactly or by a wildcard for the first label; without
// a server name any. Of several the ECDSA one is for those who can take it. A name that nobody has
// gets the first certificate. Names are compared as they are written.
func (m *serverMaterial) choose(h *tls.ClientHelloInfo) *pair {
	capable := takesECDSA(h)
	if h.ServerName == "" {
		return firstOf(best(m.pairs, capable), m.pairs[0])
	}
	if p := best(m.byName[h.ServerName], capable); p != nil {
		return p
	}
	if _, above, ok := strings.Cut(h.ServerName, "."); ok {
		if p := best(m.byName["*."+above], capable); p != nil {
			return p
		}
	}
	if m.s.fullScan {
		return firstOf(best(m.pairs, capable), m.pairs[0])
	}
	return m.pairs[0]
}

func firstOf(p, otherwise *pair) *pair {
	if p != nil {
		return p
	}
	return otherwise
}

// best is the first certificate of the kind that the client prefers; an RSA one will do for
// everybody.
func best(list []*pair, ecdsa bool) *pair {
	var candidate *pair
	for _, p := range list {
		if p.ecdsa == ecdsa {
			return p
		}
		if !p.ecdsa && candidate == nil {
			candidate = p
		}
	}
	return candidate
}

const extensionSupportedVersions = 43

// takesECDSA is isClientEcdsaCapable (server_context_impl.cc): one that names versions is asked for
// its signature algorithms alone.
func takesECDSA(h *tls.ClientHelloInfo) bool {
	if slices.Contains(h.Extensions, extensionSupportedVersions) {
		return slices.Contains(h.SignatureSchemes, tls.ECDSAWithP256AndSHA256)
	}
	return slices.Contains(h.SupportedCurves, tls.CurveP256) &&
		slices.ContainsFunc(h.CipherSuites, func(id uint16) bool {
			return strings.HasPrefix(cipherNames[id], "ECDHE-ECDSA-")
		})
}
