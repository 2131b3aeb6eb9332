package probe

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// tokens are what ${NAME} stands for in the cases of testdata/security: the tokens of
// testdata/tokens.yaml, made anew with new keys for each run, and sets of the keys.
type tokens struct {
	put  []string    // alternately names and texts
	back [][2]string // the reverse, the longest text first
}

// tokenText is one token of the file.
type tokenText struct {
	Header  string // JSON
	Payload string // JSON; NOW+5 is a time in seconds
	Key     string // "rsa" unless said
	Alg     string // by which it is signed: that of the key unless said
	Form    string // "{h}.{p}.{s}" unless said, of base64
}

var tokenTime = regexp.MustCompile(`NOW([+-]\d+)?`)

func newTokens(t *testing.T) *tokens {
	t.Helper()
	data, err := os.ReadFile("testdata/tokens.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list yaml.Node
	if err := yaml.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	k := newKeys(t)
	o := &tokens{}
	for name, text := range k.sets(t) {
		o.put = append(o.put, "${"+name+"}", text)
	}
	items := list.Content[0].Content
	for i := 0; i < len(items); i += 2 {
		var x tokenText
		if err := items[i+1].Decode(&x); err != nil {
			t.Fatal(err)
		}
		key := cmp.Or(x.Key, "rsa")
		alg := cmp.Or(x.Alg, keyAlgs[key])
		payload := tokenTime.ReplaceAllStringFunc(cmp.Or(x.Payload, `{"iss":"iss.example","sub":"joe"}`),
			func(s string) string {
				n, _ := strconv.ParseInt(strings.TrimPrefix(s[3:], "+"), 10, 64)
				return strconv.FormatInt(now+n, 10)
			})
		for _, n := range []int{98, 99, 100, 101} {
			d := strconv.Itoa(n)
			payload = strings.Replace(payload, "DEEP"+d, strings.Repeat("[", n)+strings.Repeat("]", n), 1)
			payload = strings.Replace(payload, "OBJECT"+d,
				strings.Repeat(`{"a":`, n)+"1"+strings.Repeat("}", n), 1)
		}
		h := b64(cmp.Or(x.Header, `{"alg":"`+strings.TrimSuffix(alg, " long")+`","kid":"`+key+`"}`))
		p := b64(payload)
		s := b64(k.sign(t, key, alg, h+"."+p))
		text := strings.NewReplacer("{h}", h, "{p}", p, "{s}", s).Replace(cmp.Or(x.Form, "{h}.{p}.{s}"))
		name := items[i].Value
		o.put = append(o.put, "${"+name+"}", text)
		if len(text) > 20 {
			o.back = append(o.back, [2]string{text, "${" + name + "}"})
		}
		if len(p) > 20 {
			o.back = append(o.back, [2]string{p, "${" + name + ".payload}"})
		}
	}
	slices.SortStableFunc(o.back, func(a, b [2]string) int { return len(b[0]) - len(a[0]) })
	return o
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func (o *tokens) in(s string) string { return strings.NewReplacer(o.put...).Replace(s) }

// cutToken is the beginning of a token whose end was cut off.
var cutToken = regexp.MustCompile(`eyJ[\w.-]{30,}`)

var today = regexp.MustCompile(`\b1[789]\d{8}(?:\.0)?\b`)

func (o *tokens) out(s string) string {
	for _, b := range o.back {
		s = strings.ReplaceAll(s, b[0], b[1])
	}
	return today.ReplaceAllString(cutToken.ReplaceAllString(s, "<cut>"), "<time>")
}

// keyAlgs are the keys and what they sign with.
var keyAlgs = map[string]string{"rsa": "RS256", "rsa2": "RS256", "ec256": "ES256", "ec384": "ES384",
	"ec521": "ES512", "hs": "HS256", "ed": "EdDSA"}

type keys struct {
	rsa, rsa2           *rsa.PrivateKey
	ec256, ec384, ec521 *ecdsa.PrivateKey
	ed                  ed25519.PrivateKey
	hs                  []byte
	rsaPEM              []byte
}

func newKeys(t *testing.T) *keys {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	k := &keys{hs: []byte("a secret that both sides know, 32")}
	var err error
	k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.rsa2, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.ec256, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	k.ec384, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(err)
	k.ec521, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(err)
	_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	der, err := x509.MarshalPKIXPublicKey(&k.rsa.PublicKey)
	must(err)
	k.rsaPEM = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return k
}

// sets are the key sets: of all keys, of all without kid and alg, of one RSA key.
func (k *keys) sets(t *testing.T) map[string]string {
	t.Helper()
	url := base64.RawURLEncoding.EncodeToString
	ec := func(kid, crv string, key *ecdsa.PrivateKey) map[string]string {
		b, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		n := (len(b) - 1) / 2
		return map[string]string{"kty": "EC", "kid": kid, "crv": crv, "alg": keyAlgs[kid],
			"x": url(b[1 : 1+n]), "y": url(b[1+n:])}
	}
	rsaKey := func(kid string, key *rsa.PrivateKey) map[string]string {
		return map[string]string{"kty": "RSA", "kid": kid, "n": url(key.N.Bytes()),
			"e": url(big.NewInt(int64(key.E)).Bytes()), "use": "sig"}
	}
	one := rsaKey("rsa", k.rsa)
	named := []map[string]string{one, rsaKey("rsa2", k.rsa2), ec("ec256", "P-256", k.ec256),
		ec("ec384", "P-384", k.ec384), ec("ec521", "P-521", k.ec521),
		{"kty": "oct", "kid": "hs", "k": url(k.hs)},
		{"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": url(k.ed.Public().(ed25519.PublicKey))}}
	var plain []map[string]string
	for _, m := range named {
		c := map[string]string{}
		for n, v := range m {
			if n != "kid" && n != "alg" {
				c[n] = v
			}
		}
		plain = append(plain, c)
	}
	strict := map[string]string{"alg": "RS256"}
	for n, v := range one {
		strict[n] = v
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.rsa.PublicKey, k.rsa)
	if err != nil {
		t.Fatal(err)
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	out := map[string]string{}
	for name, v := range map[string]any{"jwks": map[string]any{"keys": named},
		"jwks.plain": map[string]any{"keys": plain}, "jwks.rsa": map[string]any{"keys": []any{strict}},
		"jwks.x509": map[string]string{"rsa": cert},
		"jwks.bad2": map[string]any{"keys": []any{one, map[string]string{"kty": "RSA"}}}, "jwks.bad": map[string]any{"keys": []any{map[string]string{"kty": "RSA"},
			map[string]string{"kty": "what"}, one}},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		quoted, err := json.Marshal(string(b)) // it stands in a JSON string
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(quoted[1 : len(quoted)-1])
	}
	return out
}

// sign signs by an algorithm, also one that is not the key's.
func (k *keys) sign(t *testing.T, key, alg, text string) string {
	t.Helper()
	alg, long := strings.CutSuffix(alg, " long")
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[max(0, len(alg)-3):]]
	var digest []byte
	if hash != 0 {
		h := hash.New()
		h.Write([]byte(text))
		digest = h.Sum(nil)
	}
	salt := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	if long {
		salt.SaltLength = rsa.PSSSaltLengthAuto
	}
	var out []byte
	var err error
	switch {
	case key == "hs" || key == "rsa" && strings.HasPrefix(alg, "HS"):
		secret := k.hs
		if key == "rsa" {
			secret = k.rsaPEM // the public key as a secret
		}
		h := hmac.New(hash.New, secret)
		h.Write([]byte(text))
		out = h.Sum(nil)
	case key == "ed":
		out = ed25519.Sign(k.ed, []byte(text))
	case strings.HasPrefix(alg, "RS"):
		private := k.rsa
		if key == "rsa2" {
			private = k.rsa2
		}
		out, err = rsa.SignPKCS1v15(nil, private, hash, digest)
	case strings.HasPrefix(alg, "PS"):
		out, err = rsa.SignPSS(rand.Reader, k.rsa, hash, digest, salt)
	default:
		private := map[string]*ecdsa.PrivateKey{"ec256": k.ec256, "ec384": k.ec384, "ec521": k.ec521}[key]
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, private, digest)
		if err == nil {
			n := (private.Params().BitSize + 7) / 8
			out = append(r.FillBytes(make([]byte, n)), s.FillBytes(make([]byte, n))...)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
