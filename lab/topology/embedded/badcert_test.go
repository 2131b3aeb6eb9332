package embedded_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/lab/topology/live"
	"github.com/mesh-lab/mesh-lab/meshcore/identity"
)

// strict is a client and a server that speak mutual TLS and nothing else, on connections of one
// request, and a gateway that trusts the authority of the Secret "edge".
const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: all, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: once}
spec:
  host: lamp
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}
---
apiVersion: v1
kind: Service
metadata: {name: lamp}
spec:
  selector: {app: lamp}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000, targetPort: 9000}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: lamp}
spec:
  selector: {matchLabels: {app: lamp}}
  template:
    metadata: {labels: {app: lamp}}
    spec: {serviceAccountName: lamp, containers: [{name: lamp, image: mesh-lab/echo}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: curl}
spec:
  selector: {matchLabels: {app: curl}}
  template:
    metadata: {labels: {app: curl}}
    spec: {serviceAccountName: curl, containers: [{name: curl, image: curlimages/curl}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge}
spec:
  selector: {matchLabels: {istio: edge}}
  template:
    metadata: {labels: {istio: edge}}
    spec: {serviceAccountName: edge, containers: [{name: istio-proxy, image: auto}]}
---
apiVersion: v1
kind: Service
metadata: {name: edge}
spec:
  selector: {istio: edge}
  ports: [{name: https, port: 443, targetPort: 8443}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: edge}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [lamp.example.com]
    tls: {mode: MUTUAL, credentialName: edge}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: lamp}
spec:
  hosts: [lamp.example.com]
  gateways: [edge]
  http: [{route: [{destination: {host: lamp, port: {number: 80}}}]}]
`

// otherAuthority is one that is not the mesh's, and the Secret by which a gateway trusts it.
func otherAuthority(t *testing.T) (*identity.Authority, string) {
	t.Helper()
	a, err := identity.New(identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cert, key := issue(t, a, identity.Special{DNS: []string{"lamp.example.com"}})
	indent := func(s string) string {
		return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ")
	}
	return a, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: edge}\nstringData:\n"+
		"  tls.crt: |\n    %s\n  tls.key: |\n    %s\n  ca.crt: |\n    %s\n",
		indent(cert), indent(key), indent(string(a.RootPEM())))
}

// issue makes a certificate and its key, in PEM.
func issue(t *testing.T, a *identity.Authority, s identity.Special) (cert, key string) {
	t.Helper()
	c, err := a.Issue(identity.Workload{TrustDomain: "cluster.local", Namespace: "default",
		ServiceAccount: "visitor"}, s)
	if err != nil {
		t.Fatal(err)
	}
	k, err := c.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return string(c.PEM()), string(k)
}

// told writes what became of a request, at its client and at the proxies; of a failed connection
// only the proxy that made it, where the other may not have noticed yet.
func told(r request.Result, sources bool) string {
	kind, _, _ := strings.Cut(r.Error, ":")
	out := []string{strings.TrimSpace(fmt.Sprint(r.Status, " ", kind))}
	slices.SortStableFunc(r.Hops, func(a, b request.Hop) int { // the sender's first
		return -cmp.Compare(a.Reporter, b.Reporter)
	})
	for _, h := range r.Hops {
		if sources && h.Reporter != "source" {
			continue
		}
		out = append(out, strings.Join(strings.Fields(fmt.Sprint(h.Workload, " ", h.Status, " ", h.Flags,
			" ", h.Details, " ", h.UpstreamFailure, " ", h.Peer)), " "))
	}
	return strings.Join(out, "; ")
}

const spiffe = "spiffe://cluster.local/ns/default/sa/"

// badCertificates are what is special and who minds: a client, which knows the name of its server; a
// sidecar as server, which wants an identity of its trust domain; a gateway, which wants none.
var badCertificates = []struct {
	name string
	identity.Special
	wrong            string // as a client says it; "": nothing
	refused, outside bool   // by a sidecar as server, by the gateway
}{
	{"nothing", identity.Special{}, "", false, false},
	{"expired", identity.Expired(), chainError + "0:_certificate_has_expired", true, true},
	{"not yet", identity.NotYet(), chainError + "0:_certificate_is_not_yet_valid", true, true},
	{"other root", identity.Special{OtherRoot: true},
		chainError + "1:_self_signed_certificate_in_certificate_chain", true, true},
	{"own root", identity.Special{OwnRoot: true},
		chainError + "0:_unable_to_get_local_issuer_certificate", true, true},
	{"other SAN", identity.Special{SAN: spiffe + "other"},
		"SAN_matcher,_certificate_SANs_are_[" + spiffe + "other]", false, false},
	{"other trust domain", identity.Special{SAN: "spiffe://other/ns/default/sa/other"},
		"SAN_matcher,_certificate_SANs_are_[spiffe://other/ns/default/sa/other]", true, false},
}

const chainError = "X509_verify_cert:_certificate_verification_error_at_depth_"

// TestBadCertificate sends requests to and from a workload whose certificate is bad, and one from
// outside to a gateway that asks for a certificate: what goes wrong is the same, and is told in the
// same words, on both data planes.
func TestBadCertificate(t *testing.T) { onBoth(t, testBadCertificate) }

func testBadCertificate(t *testing.T, d embedded.Driver) {
	a, secret := otherAuthority(t)
	m := upOn(t, d, tlsConfig(t, strict+"---\n"+secret))
	send := func(sources bool, s request.Spec, want string) {
		t.Helper()
		if got := told(ask(t, m, s)[0], sources); got != want {
			t.Errorf("%s from %s\ngot  %s\nwant %s", s.URL, s.From, got, want)
		}
	}
	give := func(pod string, s identity.Special) {
		t.Helper()
		if _, err := m.(topology.Rotator).RotateCertificates(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := m.(*live.Mesh).Certify(t.Context(), pod, s); err != nil {
			t.Fatal(err)
		}
	}
	http := request.Spec{From: "curl", URL: "http://lamp/"}
	tcp := request.Spec{From: "curl", URL: "tcp://lamp:9000", Body: "hello\n"}
	outside := request.Spec{From: topology.Outside, Gateway: "edge", URL: "https://lamp.example.com/"}
	for _, c := range badCertificates {
		t.Log(c.name)
		shown := cmp.Or(c.SAN, spiffe+"curl")
		good := "200; curl 200 via_upstream; lamp 200 via_upstream " + spiffe + "curl"
		goodTCP := "0; curl 0; lamp 0 " + shown
		give("lamp-0.default", c.Special)
		if c.wrong == "" {
			send(false, http, good)
		} else {
			why := "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:" +
				"verify_cert_failed:_" + c.wrong + ":TLS_error_end"
			send(true, http, "503; curl 503 URX,UF upstream_reset_before_response_started"+
				"{remote_connection_failure|"+why+"} "+why)
			send(true, tcp, "0 reset; curl 0 UF,URX "+why)
		}
		give("curl-0.default", c.Special)
		if c.refused {
			send(true, http, "503; curl 503 UC "+
				"upstream_reset_before_response_started{connection_termination}")
			send(false, tcp, "0 reset; curl 0; lamp 0 "+shown)
		} else {
			send(false, http, strings.Replace(good, spiffe+"curl", shown, 1))
			send(false, tcp, goodTCP)
		}
		outside.TLS.Cert, outside.TLS.Key = issue(t, a, c.Special)
		if c.outside {
			send(false, outside, "0 tls")
		} else {
			send(false, outside, "200; edge 200 via_upstream "+cmp.Or(c.SAN, spiffe+"visitor")+
				"; lamp 200 via_upstream "+spiffe+"edge")
		}
	}
}
