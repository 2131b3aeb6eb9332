package transport

import (
	"crypto/sha1" //nolint:gosec // a fingerprint that Envoy prints, not a protection
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"net/netip"
	"strings"
	"sync"
)

// san is one subject alternative name.
type san struct {
	kind  int // the tag of RFC 5280's GeneralName
	value string
}

// Tags of GeneralName.
const (
	sanEmail = 1
	sanDNS   = 2
	sanURI   = 6
	sanIP    = 7
)

var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

// namesOf lists the subject alternative names in their order. What has another kind is left out.
func namesOf(c *x509.Certificate) []san {
	var out []san
	for _, e := range c.Extensions {
		if !e.Id.Equal(oidSAN) {
			continue
		}
		var seq asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &seq); err != nil || len(rest) > 0 {
			return out
		}
		for rest := seq.Bytes; len(rest) > 0; {
			var v asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &v); err != nil {
				return out
			}
			switch v.Tag {
			case sanEmail, sanDNS, sanURI:
				out = append(out, san{v.Tag, string(v.Bytes)})
			case sanIP:
				if ip, ok := netip.AddrFromSlice(v.Bytes); ok {
					out = append(out, san{v.Tag, ip.String()})
				}
			}
		}
	}
	return out
}

// describe makes the Certificate of a chain's leaf.
func describe(chain []*x509.Certificate) *Certificate {
	c := chain[0]
	sum, sum1 := sha256.Sum256(c.Raw), sha1.Sum(c.Raw) //nolint:gosec // see above
	out := &Certificate{Subject: nameText(c.RawSubject), Issuer: nameText(c.RawIssuer),
		Serial: serial(c), Hash: hex.EncodeToString(sum[:]), SHA1: hex.EncodeToString(sum1[:]),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter}
	for _, n := range namesOf(c) {
		switch n.kind {
		case sanURI:
			out.URIs = append(out.URIs, n.value)
		case sanDNS:
			out.DNS = append(out.DNS, n.value)
		case sanIP:
			out.IPs = append(out.IPs, n.value)
		case sanEmail:
			out.Emails = append(out.Emails, n.value)
		}
	}
	for i, c := range chain {
		text := encoding.Replace(string(pem.EncodeToMemory(
			&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
		if i == 0 {
			out.PEM = text
		}
		out.Chain += text
	}
	return out
}

// encoding is what Envoy does to PEM in headers and logs (source/common/tls/connection_info_impl_
// base.cc urlEncodedPemEncodedPeerCertificate).
var encoding = strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D")

// serial is the serial number in hex, whole bytes.
func serial(c *x509.Certificate) string {
	if c.SerialNumber == nil {
		return ""
	}
	text := c.SerialNumber.Text(16)
	neg := strings.HasPrefix(text, "-")
	text = strings.TrimPrefix(text, "-")
	if len(text)%2 == 1 {
		text = "0" + text
	}
	if neg {
		text = "-" + text
	}
	return text
}

// described remembers the latest peers' certificates: the same few come again and again.
type described struct {
	mu   sync.Mutex
	seen map[string]*Certificate // by the whole chain's DER form
}

// maxDescribed bounds what is remembered.
const maxDescribed = 256

func (d *described) of(chain []*x509.Certificate) *Certificate {
	if len(chain) == 0 {
		return nil
	}
	key := string(chain[0].Raw)
	for _, c := range chain[1:] {
		key += string(c.Raw)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.seen[key]; c != nil {
		return c
	}
	if d.seen == nil || len(d.seen) >= maxDescribed {
		d.seen = map[string]*Certificate{}
	}
	c := describe(chain)
	d.seen[key] = c
	return c
}
