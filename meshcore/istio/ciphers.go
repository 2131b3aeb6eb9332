package istio

import (
	"slices"
	"strings"
	"unicode"
)

// knownCiphers are what servers may list under cipherSuites (pkg/config/security/security.go
// ValidCipherSuites).
var knownCiphers = strings.Fields(`ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-GCM-SHA256
	ECDHE-ECDSA-AES256-GCM-SHA384 ECDHE-RSA-AES256-GCM-SHA384 ECDHE-ECDSA-CHACHA20-POLY1305
	ECDHE-RSA-CHACHA20-POLY1305 ECDHE-ECDSA-AES128-SHA ECDHE-RSA-AES128-SHA
	ECDHE-ECDSA-AES256-SHA ECDHE-RSA-AES256-SHA AES128-GCM-SHA256 AES256-GCM-SHA384 AES128-SHA
	AES256-SHA`)

// CipherSuites returns those of a server's cipherSuites that come into force: Istio leaves out the
// ones it does not know, and repetitions.
func CipherSuites(names []string) []string {
	var out []string
	for _, name := range names {
		if knownCipher(name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// knownCipher takes expressions with operators, too, as BoringSSL has them.
func knownCipher(name string) bool {
	if name == "" || name == "ALL" {
		return true
	}
	first := rune(name[0])
	return !unicode.IsNumber(first) && !unicode.IsLetter(first) ||
		slices.Contains(knownCiphers, name)
}
