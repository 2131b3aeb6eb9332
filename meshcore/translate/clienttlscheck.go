package translate

import (
	"fmt"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// tlsUse is the TLS settings of a rule, with the proxies that are given them.
type tlsUse struct {
	object  *istio.Object
	rule    *networkingv1alpha3.DestinationRule
	field   string
	tls     *networkingv1alpha3.ClientTLSSettings
	proxies []*Pod
}

// checkClientTLS says where TLS settings of DestinationRules do not what they seem to: files and
// Secrets that no proxy has, as errors, those that some lack, and settings that sidecars leave out,
// as warnings.
func checkClientTLS(c *istio.Config, ix *index) []istio.Diagnostic {
	var out []istio.Diagnostic
	for _, o := range c.Kind("DestinationRule") {
		dr := o.Body.(*networkingv1alpha3.DestinationRule)
		var proxies []*Pod
		eachTLS(dr, func(field string, s *networkingv1alpha3.ClientTLSSettings) {
			if s.GetMode() != tlsSimple && s.GetMode() != tlsMutual {
				return
			}
			if proxies == nil {
				proxies = ix.given(o, fqdn(dr.Host, o.Namespace))
			}
			u := &tlsUse{o, dr, field, s, proxies}
			if s.CredentialName != "" {
				out = append(out, u.checkCredential(ix)...)
			} else {
				out = append(out, u.checkFiles(ix)...)
			}
		})
	}
	return out
}

// given lists the proxies that are given a rule.
func (ix *index) given(o *istio.Object, host string) []*Pod {
	var out []*Pod
	for _, p := range ix.registry.Pods {
		if p.Role != Sidecar && p.Role != Gateway {
			continue
		}
		rule := ix.destinationRule(p, host)
		if rule != nil && slices.Contains(rule.from, o) {
			out = append(out, p)
		}
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

// checkFiles looks for the files that the settings name.
func (u *tlsUse) checkFiles(ix *index) []istio.Diagnostic {
	how := fmt.Sprintf("give the Secret that holds it to the pod's proxy with the annotations "+
		`%s: '{"certs":{"secret":{"secretName":"NAME"}}}' and `+
		`%s: '{"certs":{"mountPath":"/DIR"}}', or mount it in the container %s`,
		volumeAnnotation, mountAnnotation, proxyContainer)
	type file struct{ field, path string }
	var files []file
	if u.tls.Mode == tlsMutual {
		files = append(files, file{"clientCertificate", u.tls.ClientCertificate},
			file{"privateKey", u.tls.PrivateKey})
	}
	if ca := u.tls.CaCertificates; ca != "" && ca != systemRoots {
		files = append(files, file{"caCertificates", ca})
	}
	var out []istio.Diagnostic
	for _, f := range files {
		out = append(out, u.lacking(u.proxies, f.field, "the file "+f.path, how,
			func(p *Pod) bool { _, ok := ix.files.read(p, f.path); return ok })...)
	}
	return out
}

// checkCredential looks for the Secrets that the settings name: in the namespace of each proxy.
func (u *tlsUse) checkCredential(ix *index) []istio.Diagnostic {
	var out []istio.Diagnostic
	proxies := u.proxies
	if u.rule.WorkloadSelector == nil {
		gateways := slices.DeleteFunc(slices.Clone(proxies), func(p *Pod) bool {
			return p.Role != Gateway
		})
		if n := len(proxies) - len(gateways); n > 0 {
			out = append(out, diagnostic(istio.Warning, u.object, u.field+".credentialName",
				"sidecars leave the settings of a rule without workloadSelector out, and send "+
					"plain text to %s; give the rule a workloadSelector", u.rule.Host))
		}
		proxies = gateways
	}
	var names []string
	secrets := clientSecretsOf(u.tls)
	if secrets.certificate != nil {
		names = append(names, secrets.certificate.Name)
	}
	if secrets.root != nil {
		names = append(names, secrets.root.Name)
	}
	for _, name := range names {
		what := "what it needs of a Secret for " + strings.TrimPrefix(name, kubernetesSecret)
		missing := u.lacking(proxies, "credentialName", what,
			"make it in the namespace of the proxy, with tls.crt and tls.key, or ca.crt",
			func(p *Pod) bool {
				s, problem := ix.credentials.get(p.Namespace, name)
				if s != nil && problem != nil && problem.of != nil {
					bad := diagnostic(problem.severity, problem.of.object,
						problem.of.field(problem.key), "%s", problem.msg)
					if !slices.Contains(out, bad) {
						out = append(out, bad)
					}
				}
				return s != nil
			})
		out = append(out, missing...)
	}
	return out
}

// lacking says who of those who need it do not have something.
func (u *tlsUse) lacking(
	proxies []*Pod, field, what, how string, has func(p *Pod) bool,
) []istio.Diagnostic {
	without := slices.DeleteFunc(slices.Clone(proxies), has)
	switch {
	case len(without) == 0:
		return nil
	case len(without) == len(proxies):
		return []istio.Diagnostic{diagnostic(istio.Error, u.object, u.field+"."+field,
			"no proxy that is given the rule has %s; %s", what, how)}
	}
	return []istio.Diagnostic{diagnostic(istio.Warning, u.object, u.field+"."+field,
		"%d of %d proxies that are given the rule, such as that of %s, do not have %s: their "+
			"requests to %s get 503; %s", len(without), len(proxies), without[0].ID(), what,
		u.rule.Host, how)}
}
