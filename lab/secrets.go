package lab

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// secretRows prints a secret as istioctl does (istioctl/pkg/writer/compare/sds): of a chain its
// first certificate; a secret that was asked for and is not there is warming.
func secretRows(s *tlsv3.Secret) [][]string {
	var source *corev3.DataSource
	row := []string{s.GetName(), "", "WARMING", "false", "", "", ""}
	switch {
	case s.GetTlsCertificate() != nil:
		source, row[1], row[2] = s.GetTlsCertificate().GetCertificateChain(), "Cert Chain", "ACTIVE"
	case s.GetValidationContext() != nil:
		source, row[1], row[2] = s.GetValidationContext().GetTrustedCa(), "CA", "ACTIVE"
	}
	text := source.GetInlineBytes()
	if text == nil {
		text = []byte(source.GetInlineString())
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return [][]string{row}
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return [][]string{row}
	}
	now := time.Now()
	row[3] = fmt.Sprint(!now.Before(c.NotBefore) && !now.After(c.NotAfter))
	row[4] = fmt.Sprintf("%032x", c.SerialNumber)
	row[5], row[6] = c.NotAfter.Format(time.RFC3339), c.NotBefore.Format(time.RFC3339)
	return [][]string{row}
}
