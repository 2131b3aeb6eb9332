package jwtissuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"strconv"
)

// The algorithms.
const (
	rs256 = "RS256"
	es256 = "ES256"
)

// keyRing has a pair of keys for each generation; the zero value makes the first when it is needed.
type keyRing struct {
	seed        string // empty: keys are random
	made        int    // generations
	generations []generation
}

// generation is the keys that sign together, one for each algorithm.
type generation struct {
	number int
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
}

func (g *generation) kid(alg string) string { return alg + "-" + strconv.Itoa(g.number) }

// latest is the generation that signs.
func (k *keyRing) latest() *generation {
	if len(k.generations) == 0 {
		k.rotate(false)
	}
	return &k.generations[len(k.generations)-1]
}

// rotate adds a generation; forget drops those before.
func (k *keyRing) rotate(forget bool) {
	if forget {
		k.generations = nil
	}
	k.made++
	k.generations = append(k.generations, newGeneration(k.seed, k.made))
}

func (k *keyRing) names() (out []string) {
	for i := range k.generations {
		g := &k.generations[i]
		out = append(out, g.kid(rs256), g.kid(es256))
	}
	return out
}

// newGeneration makes keys: random ones, or those of the seed.
func newGeneration(seed string, number int) generation {
	g := generation{number: number}
	if seed == "" {
		var err error
		if g.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic("jwtissuer: " + err.Error()) // the system has no randomness
		}
		if g.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			panic("jwtissuer: " + err.Error())
		}
		return g
	}
	stream := mathrand.NewChaCha8(sha256.Sum256(fmt.Appendf(nil, "%s/%d", seed, number)))
	g.rsa, g.ec = rsaOf(stream), ecOf(stream)
	return g
}

// rsaOf makes a key of a stream; crypto/rsa draws its own randomness only.
func rsaOf(stream io.Reader) *rsa.PrivateKey {
	one, e := big.NewInt(1), big.NewInt(65537)
	for {
		p, q := primeOf(stream), primeOf(stream)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d := new(big.Int).ModInverse(e, phi)
		if d == nil || p.Cmp(q) == 0 {
			continue
		}
		key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537},
			D: d, Primes: []*big.Int{p, q}}
		key.Precompute()
		if key.Validate() == nil {
			return key
		}
	}
}

// primeOf takes a prime of 1024 bits from a stream; the product of two has 2048.
func primeOf(stream io.Reader) *big.Int {
	b := make([]byte, 128)
	for {
		if _, err := io.ReadFull(stream, b); err != nil {
			panic("jwtissuer: " + err.Error()) // it has no end
		}
		b[0] |= 0xc0
		b[len(b)-1] |= 1
		if p := new(big.Int).SetBytes(b); p.ProbablyPrime(20) {
			return p
		}
	}
}

// ecOf takes a key from a stream.
func ecOf(stream io.Reader) *ecdsa.PrivateKey {
	b := make([]byte, 32)
	for {
		if _, err := io.ReadFull(stream, b); err != nil {
			panic("jwtissuer: " + err.Error()) // it has no end
		}
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), b); err == nil {
			return key
		}
	}
}

// public is the ring as a JSON Web Key Set has it (RFC 7517, RFC 7518 section 6).
func (k *keyRing) public() []map[string]string {
	k.latest()
	var out []map[string]string
	for i := range k.generations {
		g := &k.generations[i]
		point, err := g.ec.PublicKey.Bytes()
		if err != nil {
			panic("jwtissuer: " + err.Error()) // P-256 has a form
		}
		out = append(out,
			map[string]string{"kty": "RSA", "use": "sig", "alg": rs256, "kid": g.kid(rs256),
				"n": encode(g.rsa.N.Bytes()), "e": encode(big.NewInt(int64(g.rsa.E)).Bytes())},
			map[string]string{"kty": "EC", "use": "sig", "alg": es256, "kid": g.kid(es256),
				"crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])})
	}
	return out
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign makes the compact form of a token (RFC 7515 section 7.1), with what is to be wrong with it.
func (k *keyRing) sign(t *token, alg string) (string, error) {
	if alg == "" {
		alg = rs256
	}
	if alg != rs256 && alg != es256 {
		return "", fmt.Errorf("alg = %q: want %s or %s", alg, rs256, es256)
	}
	g := k.latest()
	if t.stranger {
		other := newGeneration("", 0)
		g = &other
	}
	header := map[string]string{"alg": alg, "kid": g.kid(alg), "typ": "JWT"}
	if t.unsigned {
		header = map[string]string{"alg": "none", "typ": "JWT"}
	}
	head, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(t.claims)
	if err != nil {
		return "", err
	}
	text := encode(head) + "." + encode(body)
	switch {
	case t.nonsense:
		return "this.is.no-token", nil
	case t.unsigned:
		return text + ".", nil
	}
	signature, err := g.signature(alg, text)
	if err != nil {
		return "", err
	}
	if t.spoil {
		signature[0] ^= 1
	}
	return text + "." + encode(signature), nil
}

// signature signs a text (RFC 7518 sections 3.3 and 3.4).
func (g *generation) signature(alg, text string) ([]byte, error) {
	sum := sha256.Sum256([]byte(text))
	if alg == rs256 {
		return rsa.SignPKCS1v15(nil, g.rsa, crypto.SHA256, sum[:])
	}
	r, s, err := ecdsa.Sign(rand.Reader, g.ec, sum[:])
	if err != nil {
		return nil, err
	}
	out := make([]byte, 64)
	r.FillBytes(out[:32])
	s.FillBytes(out[32:])
	return out, nil
}
