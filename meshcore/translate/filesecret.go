package translate

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// SystemRoots gives proxies the roots of authorities, in PEM, that their operating system would
// have: rules that name no others check certificates against these. It returns t, and must be
// called before snapshots are made.
func (t *Translator) SystemRoots(pem []byte) *Translator {
	t.index.systemRoots = pem
	return t
}

// secretNames lists the secrets that the TLS contexts of clusters name, sorted.
func secretNames(list map[string]*clusterv3.Cluster) []string {
	var out []string
	add := func(configs ...*tlsv3.SdsSecretConfig) {
		for _, c := range configs {
			if c != nil {
				out = append(out, c.Name)
			}
		}
	}
	for _, c := range list {
		context := &tlsv3.UpstreamTlsContext{}
		config := c.GetTransportSocket().GetTypedConfig()
		if config == nil || config.UnmarshalTo(context) != nil {
			continue
		}
		common := context.GetCommonTlsContext()
		add(common.GetTlsCertificateSdsSecretConfigs()...)
		add(common.GetCombinedValidationContext().GetValidationContextSdsSecretConfig())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// clientSecrets makes the secrets that clusters name: credentials, and files that the proxy's agent
// would serve. What is not found is not served.
func (ix *index) clientSecrets(p *Pod, names []string) map[string]*tlsv3.Secret {
	out := map[string]*tlsv3.Secret{}
	for _, name := range names {
		s := ix.fileSecret(p, name)
		if strings.HasPrefix(name, kubernetesSecret) {
			s, _ = ix.credentials.get(p.Namespace, name)
		}
		if s != nil {
			out[name] = s
		}
	}
	return out
}

func (ix *index) fileSecret(p *Pod, name string) *tlsv3.Secret {
	if pair, ok := strings.CutPrefix(name, "file-cert:"); ok {
		certificate, key, _ := strings.Cut(pair, "~")
		chain, haveChain := ix.files.read(p, certificate)
		private, haveKey := ix.files.read(p, key)
		if !haveChain || !haveKey {
			return nil
		}
		return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{
			TlsCertificate: &tlsv3.TlsCertificate{
				CertificateChain: inline(chain), PrivateKey: inline(private),
			},
		}}
	}
	if root, ok := strings.CutPrefix(name, "file-root:"); ok {
		data, found := ix.files.read(p, root)
		if root == systemRoots {
			data, found = ix.systemRoots, ix.systemRoots != nil
		}
		if found {
			return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{
				ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(data)},
			}}
		}
	}
	return nil
}
