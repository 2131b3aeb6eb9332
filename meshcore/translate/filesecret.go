package translate

import (
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
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

// checkFiles says which files of DestinationRules no proxy has, as errors, and which some proxies
// lack that are given the rule, as warnings: their requests fail with 503.
func checkFiles(c *istio.Config, ix *index) []istio.Diagnostic {
	var out []istio.Diagnostic
	for _, o := range c.Kind("DestinationRule") {
		dr := o.Body.(*networkingv1alpha3.DestinationRule)
		eachTLS(dr, func(field string, s *networkingv1alpha3.ClientTLSSettings) {
			for _, f := range settingsFiles(s) {
				if d := ix.checkFile(o, dr.Host, field+"."+f.field, f.path); d != nil {
					out = append(out, *d)
				}
			}
		})
	}
	return out
}

type settingsFile struct{ field, path string }

// settingsFiles lists the files that TLS settings name.
func settingsFiles(s *networkingv1alpha3.ClientTLSSettings) []settingsFile {
	var out []settingsFile
	if s.GetCredentialName() != "" || s.GetMode() != tlsSimple && s.GetMode() != tlsMutual {
		return nil
	}
	if s.Mode == tlsMutual {
		out = append(out, settingsFile{"clientCertificate", s.ClientCertificate},
			settingsFile{"privateKey", s.PrivateKey})
	}
	if s.CaCertificates != "" && s.CaCertificates != systemRoots {
		out = append(out, settingsFile{"caCertificates", s.CaCertificates})
	}
	return out
}

// eachTLS visits the TLS settings of a rule.
func eachTLS(
	dr *networkingv1alpha3.DestinationRule,
	visit func(field string, s *networkingv1alpha3.ClientTLSSettings),
) {
	policy := func(field string, p *networkingv1alpha3.TrafficPolicy) {
		visit(field+".tls", p.GetTls())
		for i, s := range p.GetPortLevelSettings() {
			visit(fmt.Sprintf("%s.portLevelSettings[%d].tls", field, i), s.GetTls())
		}
	}
	policy("spec.trafficPolicy", dr.TrafficPolicy)
	for i, s := range dr.Subsets {
		policy(fmt.Sprintf("spec.subsets[%d].trafficPolicy", i), s.TrafficPolicy)
	}
}

func (ix *index) checkFile(o *istio.Object, host, field, file string) *istio.Diagnostic {
	var without *Pod
	given, lacking := 0, 0
	for _, p := range ix.registry.Pods {
		if p.Role != Sidecar && p.Role != Gateway {
			continue
		}
		rule := ix.destinationRule(p, fqdn(host, o.Namespace))
		if rule == nil || !slices.Contains(rule.from, o) {
			continue
		}
		given++
		if _, ok := ix.files.read(p, file); !ok {
			lacking, without = lacking+1, p
		}
	}
	if lacking == 0 {
		return nil
	}
	d := &istio.Diagnostic{Place: o.At(field), Object: o.Ref(), Field: field}
	how := fmt.Sprintf("give the Secret that holds it to the pod's proxy with the annotations "+
		`%s: '{"certs":{"secret":{"secretName":"NAME"}}}' and `+
		`%s: '{"certs":{"mountPath":"/DIR"}}', or mount it in the container %s`,
		volumeAnnotation, mountAnnotation, proxyContainer)
	if lacking == given {
		d.Msg = fmt.Sprintf("no proxy that is given the rule has the file %s; %s", file, how)
		return d
	}
	d.Severity = istio.Warning
	d.Msg = fmt.Sprintf("%d of %d proxies that are given the rule, such as that of %s, do not "+
		"have the file %s: their requests to %s get 503; %s",
		lacking, given, without.ID(), file, host, how)
	return d
}
