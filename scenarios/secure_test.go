package scenarios

import (
	"testing"
	"testing/fstest"
)

// TestSecure reads certificates, keys and tokens: from files, or where they are written.
func TestSecure(t *testing.T) {
	text := `
name: secure
mesh: {app: customer}
steps:
  - request:
      from: outside
      to: https://shop.example.com/
      sni: none
      cacert: roots.pem
      cert: |
        -----BEGIN CERTIFICATE-----
        AAAA
        -----END CERTIFICATE-----
      key: client.key
      token: eyJh.eyJi.c2ln
    load: {from: curl, to: "https://customer/", identity: ns/sa, token: clerk.jwt, requests: 1}
`
	s, problems := Open(fstest.MapFS{
		"d/secure.yaml": {Data: []byte(text)}, "d/roots.pem": {Data: []byte("roots\n")},
		"d/client.key": {Data: []byte("key\n")}, "d/clerk.jwt": {Data: []byte("token\n")},
	}, "d/secure.yaml")
	for _, p := range problems {
		t.Fatal(p)
	}
	q, l := s.Steps[0].Actions[0].Request, s.Steps[0].Actions[1].Load
	if q.SNI != "none" || q.CACert.Text != "roots" || q.Key.Text != "key" ||
		q.Token.Text != "eyJh.eyJi.c2ln" ||
		q.Cert.Text != "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" {
		t.Errorf("request: got %+v", q.Secure)
	}
	if l.Identity != "ns/sa" || l.Token.Text != "token" {
		t.Errorf("load: got %+v", l.Secure)
	}
	if h := Bearer("a{b"); h.Name != "authorization" || h.Value.At(3) != "Bearer a{b" {
		t.Errorf("got %v", h)
	}
}
