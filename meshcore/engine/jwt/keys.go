package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	_ "crypto/sha256" // SHA-256
	_ "crypto/sha512" // SHA-384, SHA-512
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
)

// Keys is a compiled JSON Web Key Set.
type Keys struct{ list []key }

// key is one public key, or a secret; one of the last four is set.
type key struct {
	kid, alg string
	rsa      *rsa.PublicKey
	ec       *ecdsa.PublicKey
	ed       ed25519.PublicKey
	secret   []byte
}

// ParseKeys reads a key set, or certificates by kid (source/common/jwt/jwks.cc). Keys that can not
// be used are left out, as long as there is another.
func ParseKeys(text string) (*Keys, Status) {
	doc, ok := parseStruct([]byte(text))
	if !ok {
		return nil, KeysNotParsed
	}
	v, ok := doc.GetFields()["keys"]
	if !ok {
		return parseCertificates(doc)
	}
	list, ok := v.GetKind().(*structpb.Value_ListValue)
	if !ok {
		return nil, KeysNotArray
	}
	out, first := &Keys{}, OK
	for _, e := range list.ListValue.GetValues() {
		m := e.GetStructValue()
		if m == nil {
			continue
		}
		k, s := parseKey(claims{m})
		switch {
		case s == OK:
			out.list = append(out.list, k)
		case first == OK:
			first = s
		}
	}
	switch {
	case len(out.list) > 0:
		return out, OK
	case first == OK:
		return nil, NoValidKeys
	}
	return nil, first
}

const pemBegin, pemEnd = "-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----\n"

func parseCertificates(doc *structpb.Struct) (*Keys, Status) {
	out := &Keys{}
	for _, kid := range slices.Sorted(maps.Keys(doc.GetFields())) {
		text := doc.GetFields()[kid].GetStringValue()
		if kid == "" || !strings.HasPrefix(text, pemBegin) || !strings.HasSuffix(text, pemEnd) {
			return nil, KeysMissing
		}
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, x509NotParsed
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, x509NotParsed
		}
		public, ok := c.PublicKey.(*rsa.PublicKey)
		if !ok {
			return nil, x509NoPublicKey
		}
		out.list = append(out.list, key{kid: kid, rsa: public})
	}
	if len(out.list) == 0 {
		return nil, KeysMissing
	}
	return out, OK
}

func parseKey(c claims) (k key, _ Status) {
	var kty string
	switch c.text("kty", &kty) {
	case missing:
		return k, ktyMissing
	case wrong:
		return k, ktyBad
	}
	c.text("kid", &k.kid)
	c.text("alg", &k.alg)
	switch kty {
	case "RSA":
		return k, k.parseRSA(c)
	case "EC":
		return k, k.parseEC(c)
	case "oct":
		return k, k.parseSecret(c)
	case "OKP":
		return k, k.parseEd25519(c)
	}
	return k, ktyNotImplemented
}

// field reads a string that must be there; its status is missing's, the next one of another type.
func field(c claims, name string, not Status, to *string) Status {
	switch c.text(name, to) {
	case missing:
		return not
	case wrong:
		return not + 1
	}
	return OK
}

func (k *key) parseRSA(c claims) Status {
	if k.alg != "" && !strings.HasPrefix(k.alg, "RS") && !strings.HasPrefix(k.alg, "PS") {
		return rsaBadAlg
	}
	var n, e string
	if s := field(c, "n", rsaNoN, &n); s != OK {
		return s
	}
	if s := field(c, "e", rsaNoE, &e); s != OK {
		return s
	}
	modulus, ok := decode(n)
	exponent, ok2 := decode(e)
	x := new(big.Int).SetBytes(exponent)
	if !ok || !ok2 || !x.IsInt64() || x.Int64() != 3 && x.Int64() != 65537 {
		return rsaParse
	}
	k.rsa = &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(x.Int64())}
	if k.rsa.N.Sign() <= 0 || k.rsa.N.Bit(0) == 0 {
		return rsaParse
	}
	return OK
}

func (k *key) parseEC(c claims) Status {
	if k.alg != "" && !strings.HasPrefix(k.alg, "ES") {
		return ecBadAlg
	}
	var crv, x, y string
	if c.text("crv", &crv) == wrong {
		return ecBadAlg + 1
	}
	curves := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(),
		"P-521": elliptic.P521()}
	byAlg := map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
	switch {
	case k.alg != "" && crv != "" && byAlg[k.alg] != crv:
		return ecIncompatible
	case k.alg == "" && crv == "":
		crv = "P-256"
	case crv == "":
		crv = byAlg[k.alg]
	}
	curve := curves[crv]
	if curve == nil {
		return ecUnsupported
	}
	if s := field(c, "x", ecNoX, &x); s != OK {
		return s
	}
	if s := field(c, "y", ecNoY, &y); s != OK {
		return s
	}
	bx, ok := decode(x)
	by, ok2 := decode(y)
	size := (curve.Params().BitSize + 7) / 8
	px, py := new(big.Int).SetBytes(bx), new(big.Int).SetBytes(by)
	if !ok || !ok2 || px.BitLen() > 8*size || py.BitLen() > 8*size {
		return ecParse
	}
	point := append([]byte{4}, px.FillBytes(make([]byte, size))...)
	public, err := ecdsa.ParseUncompressedPublicKey(curve,
		append(point, py.FillBytes(make([]byte, size))...))
	if err != nil {
		return ecParse
	}
	k.ec = public
	return OK
}

func (k *key) parseSecret(c claims) Status {
	if k.alg != "" && k.alg != "HS256" && k.alg != "HS384" && k.alg != "HS512" {
		return hmacBadAlg
	}
	var text string
	if s := field(c, "k", hmacNoK, &text); s != OK {
		return s
	}
	secret, ok := decode(text)
	if !ok || len(secret) == 0 {
		return octBadBase64
	}
	k.secret = secret
	return OK
}

func (k *key) parseEd25519(c claims) Status {
	if k.alg != "" && k.alg != "EdDSA" {
		return okpBadAlg
	}
	var crv, x string
	if s := field(c, "crv", okpNoCrv, &crv); s != OK {
		return s
	}
	if crv != "Ed25519" {
		return okpCrvUnsupported
	}
	if s := field(c, "x", okpNoX, &x); s != OK {
		return s
	}
	public, ok := decode(x)
	switch {
	case !ok:
		return okpBadBase64
	case len(public) != ed25519.PublicKeySize:
		return okpWrongLength
	}
	k.ed = public
	return OK
}

// Verify looks for a key that the token is signed with (source/common/jwt/verify.cc
// verifyJwtWithoutTimeChecking). The key's kind says how a signature is checked; of the token's
// algorithm only the hash counts then, so that a token that says RS256 may well be signed with the
// secret of the set. Envoy does that (measured with 1.40).
func (k *Keys) Verify(t *Token) Status {
	fits := false
	for i := range k.list {
		e := &k.list[i]
		if t.Kid != "" && e.kid != "" && e.kid != t.Kid || e.alg != "" && e.alg != t.Alg {
			continue
		}
		fits = true
		if e.ed != nil && len(t.signature) != ed25519.SignatureSize {
			return Ed25519WrongLength
		}
		if e.signed(t) {
			return OK
		}
	}
	if fits {
		return VerificationFails
	}
	return KidAlgMismatch
}

func (k *key) signed(t *Token) bool {
	if k.ed != nil {
		return ed25519.Verify(k.ed, []byte(t.signed), t.signature)
	}
	family := "ES"
	switch {
	case k.secret != nil:
		family = "HS"
	case k.rsa != nil:
		if family = t.Alg[:2]; family != "RS" && family != "PS" {
			return false
		}
	}
	hash := crypto.SHA256
	switch t.Alg {
	case family + "384":
		hash = crypto.SHA384
	case family + "512":
		hash = crypto.SHA512
	}
	if k.secret != nil {
		m := hmac.New(hash.New, k.secret)
		m.Write([]byte(t.signed))
		return hmac.Equal(m.Sum(nil), t.signature)
	}
	h := hash.New()
	h.Write([]byte(t.signed))
	digest := h.Sum(nil)
	switch {
	case k.ec != nil:
		half := len(t.signature) / 2
		return ecdsa.Verify(k.ec, digest, new(big.Int).SetBytes(t.signature[:half]),
			new(big.Int).SetBytes(t.signature[half:2*half]))
	case family == "RS":
		return rsa.VerifyPKCS1v15(k.rsa, hash, digest, t.signature) == nil
	}
	return rsa.VerifyPSS(k.rsa, hash, digest, t.signature,
		&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
}
