package istio

import (
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	meshconfig "istio.io/api/mesh/v1alpha1"
)

// meshConfig checks what istiod checks (pkg/config/validation/agent/validation.go
// ValidateMeshConfig) of what is carried out.
func (c *checker) meshConfig(m *meshconfig.MeshConfig) {
	const least, most = time.Millisecond, time.Hour
	if d := m.ConnectTimeout.AsDuration(); d < least || d > most {
		c.errorf("connectTimeout", "%s is out of range; must be from %s to %s", d, least, most)
	}
	if m.ProtocolDetectionTimeout.AsDuration()%time.Millisecond != 0 {
		c.errorf("protocolDetectionTimeout", "must be whole milliseconds")
	}
	c.accessLogFormat(m)
	c.extensionProviders(m)
	c.retries("defaultHttpRetryPolicy", m.DefaultHttpRetryPolicy)
	c.localities("localityLbSetting", m.LocalityLbSetting, true)
	c.connectionPool(
		"defaultTrafficPolicy.connectionPool",
		m.DefaultTrafficPolicy.GetConnectionPool(),
	)
	c.outlierDetection("defaultTrafficPolicy.outlierDetection",
		m.DefaultTrafficPolicy.GetOutlierDetection())
	c.defaultExportTo("defaultServiceExportTo", m.DefaultServiceExportTo)
	c.defaultExportTo("defaultVirtualServiceExportTo", m.DefaultVirtualServiceExportTo)
	c.defaultExportTo("defaultDestinationRuleExportTo", m.DefaultDestinationRuleExportTo)
	c.trustDomain("trustDomain", m.TrustDomain)
	if msg := dnsLabel(m.RootNamespace); msg != "" {
		c.errorf("rootNamespace", "%s", msg)
	}
}

// trustDomain checks what istiod does (ValidateTrustDomain): DNS labels, with a dot behind the last
// or not.
func (c *checker) trustDomain(field, domain string) {
	for label := range strings.SplitSeq(strings.TrimSuffix(domain, "."), ".") {
		if dnsLabel(label) != "" {
			c.errorf(field, "%q is no trust domain; must be DNS labels joined by dots, such as "+
				"cluster.local: lower-case letters, digits and '-'", clip(domain))
			return
		}
	}
}

// accessLogFormat: istiod only logs an error, and takes the default
// (pilot/pkg/model/telemetry_logging.go).
func (c *checker) accessLogFormat(m *meshconfig.MeshConfig) {
	if m.AccessLogEncoding != meshconfig.MeshConfig_JSON || m.AccessLogFormat == "" {
		return
	}
	loose := protojson.UnmarshalOptions{DiscardUnknown: true}
	if err := loose.Unmarshal([]byte(m.AccessLogFormat), &structpb.Struct{}); err != nil {
		c.warnf("accessLogFormat", "is no JSON object, as accessLogEncoding JSON wants it; "+
			"the default format is used")
	}
}

func (c *checker) defaultExportTo(field string, namespaces []string) {
	for i, ns := range namespaces {
		if ns != "." && ns != "*" && ns != "~" && !istioLabel.MatchString(ns) {
			c.errorf(
				at(field, i),
				"must be \".\", \"*\", \"~\" or the name of a namespace, not %q",
				ns,
			)
		}
	}
}
