package translate

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// credential is a Secret of Kubernetes as istiod reads it.
type credential struct {
	object *istio.Object
	data   map[string][]byte // stringData over data, as the API server joins them
}

// field is where a key is written.
func (c *credential) field(key string) string {
	if _, ok := c.object.Body.(*corev1.Secret).StringData[key]; ok {
		return "stringData[" + key + "]"
	}
	return "data[" + key + "]"
}

// credentials are the Secrets by NAMESPACE/NAME.
type credentials map[string]*credential

func newCredentials(c *istio.Config) credentials {
	out := credentials{}
	for _, o := range c.Kind("Secret") {
		body := o.Body.(*corev1.Secret)
		data := maps.Clone(body.Data)
		if data == nil {
			data = map[string][]byte{}
		}
		for key, text := range body.StringData {
			data[key] = []byte(text)
		}
		out[o.Namespace+"/"+o.Name] = &credential{o, data}
	}
	return out
}

// secretProblem is why a proxy is not given a secret, or is given one that no proxy can use.
type secretProblem struct {
	of       *credential // nil: the one who names the Secret is to blame
	key      string      // of the Secret
	severity istio.Severity
	msg      string
}

// get makes the secret of a resource name for a proxy of a namespace; nil with a problem. It may
// return both. Istio pilot/pkg/xds/sds.go SecretGen.generate, filterAuthorizedResources.
func (cs credentials) get(namespace, resource string) (*tlsv3.Secret, *secretProblem) {
	ns, name, ok := strings.Cut(strings.TrimPrefix(resource, kubernetesSecret), "/")
	if !ok {
		ns, name = namespace, ns
	}
	if ns != namespace {
		return nil, &secretProblem{severity: istio.Warning, msg: fmt.Sprintf(
			"the gateway is in namespace %s: cross namespace secret reference requires "+
				"ReferenceGrant, and has none", namespace)}
	}
	if short, root := strings.CutSuffix(name, caSuffix); root {
		found := cs[ns+"/"+name]
		if found == nil {
			found = cs[ns+"/"+short]
		}
		if found == nil {
			return nil, missingSecret(ns, short)
		}
		return found.root(resource)
	}
	found := cs[ns+"/"+name]
	if found == nil {
		return nil, missingSecret(ns, name)
	}
	return found.certificate(resource)
}

func missingSecret(ns, name string) *secretProblem {
	return &secretProblem{severity: istio.Warning, msg: fmt.Sprintf(
		"there is no Secret %s/%s, and Istio takes those of the gateway's namespace only: no "+
			"client can connect", ns, name)}
}

// pick returns the values of the first set of keys that all have one. Istio
// pilot/pkg/credentials/kube/secrets.go ExtractCertInfo, ExtractRoot.
func (c *credential) pick(sets ...[]string) ([]string, *secretProblem) {
	for _, keys := range sets {
		if !slices.ContainsFunc(keys, func(k string) bool { return len(c.data[k]) == 0 }) {
			return keys, nil
		}
	}
	var names []string
	for _, keys := range sets {
		empty := !slices.ContainsFunc(keys, func(k string) bool { return c.data[k] == nil })
		if empty {
			return nil, &secretProblem{of: c, key: keys[0], severity: istio.Warning,
				msg: "found " + strings.Join(keys, " and ") + ", but empty: no client can connect"}
		}
		names = append(names, strings.Join(keys, " and "))
	}
	return nil, &secretProblem{of: c, severity: istio.Warning, msg: fmt.Sprintf(
		"found secret, but didn't have expected keys (%s); found: %s: no client can connect",
		strings.Join(names, ") or ("),
		strings.Join(slices.Sorted(maps.Keys(c.data)), ", "))}
}

// certificate makes the secret of a certificate with its key.
func (c *credential) certificate(resource string) (*tlsv3.Secret, *secretProblem) {
	keys, problem := c.pick([]string{"cert", "key"}, []string{"tls.crt", "tls.key"})
	if problem != nil {
		return nil, problem
	}
	out := &tlsv3.TlsCertificate{
		CertificateChain: inline(c.data[keys[0]]), PrivateKey: inline(c.data[keys[1]]),
	}
	if staple := c.data["tls.ocsp-staple"]; staple != nil && keys[0] == "tls.crt" {
		out.OcspStaple = inline(staple)
	}
	s := &tlsv3.Secret{Name: resource, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: out}}
	return s, c.checkPair(keys[0], keys[1])
}

// checkPair: istiod hands a pair on as it is, and the proxy refuses the secret.
func (c *credential) checkPair(cert, key string) *secretProblem {
	bad := func(key, format string, args ...any) *secretProblem {
		return &secretProblem{c, key, istio.Error, fmt.Sprintf(format, args...)}
	}
	if err := certificates(c.data[cert]); err != nil {
		return bad(cert, "is no certificate in PEM: %v", err)
	}
	if block, _ := pem.Decode(c.data[key]); block == nil {
		return bad(key, "is no private key in PEM")
	}
	if _, err := tls.X509KeyPair(c.data[cert], c.data[key]); err != nil {
		return bad(key, "is no private key for the certificate in %s: %s", cert,
			strings.TrimPrefix(err.Error(), "tls: "))
	}
	return nil
}

// root makes the secret of the roots that certificates of clients are checked against.
func (c *credential) root(resource string) (*tlsv3.Secret, *secretProblem) {
	keys, problem := c.pick([]string{"cacert"}, []string{"ca.crt"})
	if problem != nil {
		return nil, problem
	}
	out := &tlsv3.CertificateValidationContext{TrustedCa: inline(c.data[keys[0]])}
	list := "crl"
	if keys[0] == "ca.crt" {
		list = "ca.crl"
	}
	if crl := c.data[list]; crl != nil {
		out.Crl = inline(crl)
	}
	s := &tlsv3.Secret{
		Name: resource, Type: &tlsv3.Secret_ValidationContext{ValidationContext: out},
	}
	if err := certificates(c.data[keys[0]]); err != nil {
		return s, &secretProblem{c, keys[0], istio.Error,
			fmt.Sprintf("is no certificate in PEM: %v", err)}
	}
	return s, nil
}

// certificates checks that a text has certificates; what is between them nobody reads.
func certificates(text []byte) error {
	found := false
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		found = true
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return err
		}
	}
	if !found {
		return errors.New("pem decode failed")
	}
	return nil
}

func inline(data []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: data}}
}

// named are the secrets of a server, but for those of the mesh, by the field that names each.
func (s *gatewayServer) named() map[string]string {
	out := map[string]string{}
	t := s.spec.Tls
	if !s.isTLS() || s.passesThrough() ||
		t.Mode == networkingv1alpha3.ServerTLSSettings_ISTIO_MUTUAL {
		return out
	}
	if len(credentialNames(t)) == 0 {
		out["serverCertificate"] = fileCertificate(t.ServerCertificate, t.PrivateKey)
		for i, f := range t.TlsCertificates {
			delete(out, "serverCertificate")
			out[fmt.Sprintf("tlsCertificates[%d]", i)] = fileCertificate(
				f.ServerCertificate, f.PrivateKey)
		}
		if asksForCertificates(t) {
			out["caCertificates"] = fileRoot(t.CaCertificates)
		}
		return out
	}
	if t.CredentialName != "" && len(t.CredentialNames) == 0 {
		out["credentialName"] = credentialResource(t.CredentialName)
	}
	for i, n := range t.CredentialNames {
		out[fmt.Sprintf("credentialNames[%d]", i)] = credentialResource(n)
	}
	if !asksForCertificates(t) {
		return out
	}
	if t.CaCertCredentialName != "" {
		out["caCertCredentialName"] = credentialResource(t.CaCertCredentialName)
	} else {
		out["mode"] = credentialResource(rootCredential(t))
	}
	return out
}

// namedSecret makes a secret that a server names: of a Secret, or of files in the proxy's
// container.
func (ix *index) namedSecret(p *Pod, name string) (*tlsv3.Secret, *secretProblem) {
	if strings.HasPrefix(name, kubernetesSecret) {
		return ix.credentials.get(p.Namespace, name)
	}
	if s := ix.fileSecret(p, name); s != nil {
		return s, nil
	}
	_, files, _ := strings.Cut(name, ":")
	return nil, &secretProblem{severity: istio.Error, msg: fmt.Sprintf(
		"the proxy of %s does not have %s; mount the Secret that holds it in the pod's container "+
			"(volumes, volumeMounts), or name the Secret with credentialName",
		p.ID(), strings.ReplaceAll(files, "~", " and "))}
}

// gatewaySecrets makes the secrets that a gateway's servers name; one that it may not have, or that
// does not exist, is missing.
func (ix *index) gatewaySecrets(p *Pod) map[string]*tlsv3.Secret {
	out := map[string]*tlsv3.Secret{}
	for _, port := range ix.gatewayView(p).ports {
		for _, s := range port.servers {
			for _, name := range s.named() {
				if secret, _ := ix.namedSecret(p, name); secret != nil {
					out[name] = secret
				}
			}
		}
	}
	return out
}

// secretProblems says which secrets of a gateway's servers are missing, or can not be used.
func (ix *index) secretProblems(p *Pod) []istio.Diagnostic {
	var out []istio.Diagnostic
	for _, port := range ix.gatewayView(p).ports {
		for _, s := range port.servers {
			named := s.named()
			for _, field := range slices.Sorted(maps.Keys(named)) {
				_, problem := ix.namedSecret(p, named[field])
				if problem == nil {
					continue
				}
				at := fmt.Sprintf("spec.servers[%d].tls.%s", s.index, field)
				d := diagnostic(problem.severity, s.object, at, "%s", problem.msg)
				if of := problem.of; of != nil {
					at := ""
					if problem.key != "" {
						at = of.field(problem.key)
					}
					d = diagnostic(problem.severity, of.object, at, "%s", problem.msg)
				}
				out = append(out, d)
			}
		}
	}
	return out
}
