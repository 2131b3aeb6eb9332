package translate

import (
	"os"
	"slices"
	"strings"
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// gatewaySnapshot translates a mesh with the gateway edge.
func gatewaySnapshot(t *testing.T, text string) *xds.Snapshot {
	t.Helper()
	config := mustRead(t, "in.yaml", text)
	registry, _ := NewRegistry(config, nil)
	i := slices.IndexFunc(registry.Pods, func(p *Pod) bool { return p.ID() == "edge-0.default" })
	s, _ := New(config, registry).Snapshot(registry.Pods[i])
	return s
}

func gatewayTLS(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/gateway-tls/in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSecrets: a gateway has the secrets that its servers name, and no other.
func TestSecrets(t *testing.T) {
	s := gatewaySnapshot(t, gatewayTLS(t))
	want := map[string]bool{ // with a certificate, else with roots
		"kubernetes://cert-a": true, "kubernetes://cert-b": true, "kubernetes://cert-b-cacert": false,
		"kubernetes://cert-c": true, "kubernetes://cert-c-cacert": false,
		"kubernetes://cert-rsa": true, "kubernetes://cert-ec": true,
		"file-cert:/etc/a/tls.crt~/etc/a/tls.key":     true,
		"file-cert:/etc/both/ec.crt~/etc/both/ec.key": true, "file-root:/etc/both/ca.crt": false,
	}
	for name, certificate := range want {
		secret := s.Secrets[name]
		if secret == nil {
			t.Errorf("no secret %s", name)
			continue
		}
		if _, ok := secret.Type.(*tlsv3.Secret_TlsCertificate); ok != certificate {
			t.Errorf("%s: certificate %v, want %v", name, ok, certificate)
		}
	}
	for name := range s.Secrets {
		if _, ok := want[name]; !ok {
			t.Errorf("nobody named secret %s", name)
		}
	}
	c := s.Secrets["kubernetes://cert-a"].GetTlsCertificate()
	if !strings.Contains(string(c.GetPrivateKey().GetInlineBytes()), "PRIVATE KEY") ||
		!strings.Contains(string(c.GetCertificateChain().GetInlineBytes()), "CERTIFICATE") {
		t.Error("the secret has no key with its certificate")
	}
}

// TestSecretChange: another certificate is a push of secrets only.
func TestSecretChange(t *testing.T) {
	text := gatewayTLS(t)
	was := gatewaySnapshot(t, text)
	changed := strings.Replace(text, "name: cert-a}", "name: cert-old}", 1)
	changed = strings.Replace(changed, "name: client}", "name: cert-a}", 1)
	now := gatewaySnapshot(t, changed)
	for _, typeURL := range xds.Types {
		same := was.TypeVersion(typeURL) == now.TypeVersion(typeURL)
		if same == (typeURL == xds.SecretType) {
			t.Errorf("%s: the same %v", typeURL, same)
		}
	}
	for name, s := range now.Secrets {
		of := name == "kubernetes://cert-a" || strings.HasPrefix(name, "file-cert:/etc/a/")
		if changed := s.String() != was.Secrets[name].String(); changed != of {
			t.Errorf("%s changed: %v", name, changed)
		}
	}
}

// TestSecretForms: the generic keys win over those of type kubernetes.io/tls, each with its own
// revocation list, and a Secret NAME-cacert over the roots of NAME.
func TestSecretForms(t *testing.T) {
	config := mustRead(t, "in.yaml", `
apiVersion: v1
kind: Secret
metadata: {name: both}
data: {cert: Zmlyc3Q=, tls.ocsp-staple: bm90IHRoaXM=, ca.crt: cm9vdHM=, ca.crl: bGlzdA==, crl: b3RoZXI=}
stringData: {key: k, cert: overlaid, tls.crt: second, tls.key: k}
---
apiVersion: v1
kind: Secret
metadata: {name: plain}
stringData: {tls.crt: c, tls.key: k, tls.ocsp-staple: staple, cacert: generic, ca.crt: not this, crl: list}
---
apiVersion: v1
kind: Secret
metadata: {name: plain-cacert}
stringData: {ca.crt: own}
`)
	cs := newCredentials(config)
	get := func(name string) *tlsv3.Secret {
		s, _ := cs.get("default", name)
		return s
	}
	both := get("kubernetes://both").GetTlsCertificate()
	if got := string(both.GetCertificateChain().GetInlineBytes()); got != "overlaid" ||
		both.OcspStaple != nil {
		t.Errorf("certificate %q, staple %v", got, both.OcspStaple)
	}
	roots := get("kubernetes://both-cacert").GetValidationContext()
	if string(roots.GetTrustedCa().GetInlineBytes()) != "roots" ||
		string(roots.GetCrl().GetInlineBytes()) != "list" {
		t.Errorf("roots %v", roots)
	}
	plain := get("kubernetes://plain").GetTlsCertificate()
	if string(plain.GetOcspStaple().GetInlineBytes()) != "staple" {
		t.Errorf("no staple: %v", plain)
	}
	own := get("kubernetes://default/plain-cacert").GetValidationContext()
	if string(own.GetTrustedCa().GetInlineBytes()) != "own" || own.Crl != nil {
		t.Errorf("roots %v", own)
	}
	if s, problem := cs.get("away", "kubernetes://default/plain"); s != nil || problem == nil {
		t.Error("a Secret of another namespace was given away")
	}
}
