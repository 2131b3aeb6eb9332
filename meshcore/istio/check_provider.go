package istio

import (
	"net/url"
	"strconv"
	"strings"

	meshconfig "istio.io/api/mesh/v1alpha1"
)

// envoyStatuses are the codes that Envoy can answer with (envoy/type/v3 StatusCode), as ranges.
var envoyStatuses = [][2]int{
	{100, 100}, {200, 208}, {226, 226}, {300, 305}, {307, 308}, {400, 417},
	{421, 424}, {426, 426}, {428, 429}, {431, 431}, {500, 508}, {510, 511},
}

// extensionProviders checks the external authorizers
// (pkg/config/validation/agent/extensionprovider.go).
func (c *checker) extensionProviders(m *meshconfig.MeshConfig) {
	seen := map[string]int{}
	for i, p := range m.ExtensionProviders {
		f := at("extensionProviders", i)
		if p.Name == "" {
			c.errorf(f+".name", "empty extension provider name")
		} else if first, twice := seen[p.Name]; twice {
			c.warnf(f+".name", "duplicate extension provider name %s: it replaces "+
				"extensionProviders[%d]", p.Name, first)
		}
		seen[p.Name] = i
		switch p := p.Provider.(type) {
		case *meshconfig.MeshConfig_ExtensionProvider_EnvoyExtAuthzHttp:
			f += ".envoyExtAuthzHttp"
			c.authorizer(f, p.EnvoyExtAuthzHttp)
			c.pathPrefix(f+".pathPrefix", p.EnvoyExtAuthzHttp.PathPrefix)
		case *meshconfig.MeshConfig_ExtensionProvider_EnvoyExtAuthzGrpc:
			c.authorizer(f+".envoyExtAuthzGrpc", p.EnvoyExtAuthzGrpc)
		case nil:
			c.errorf(f, "unsupported provider: write what provides it, for example "+
				"envoyExtAuthzHttp")
		}
	}
}

func (c *checker) authorizer(field string, p interface {
	GetService() string
	GetPort() uint32
	GetStatusOnError() string
}) {
	if p.GetService() == "" {
		c.errorf(field+".service", "service must not be empty; write a Service's full name")
	} else if msg := badProviderService(p.GetService()); msg != "" {
		c.errorf(field+".service", "invalid service fmt %s: %s", clip(p.GetService()), msg)
	}
	c.port(field+".port", int64(p.GetPort()))
	if s := p.GetStatusOnError(); s != "" && !isEnvoyStatus(s) {
		c.errorf(field+".statusOnError", "unsupported statusOnError value %s; must be a status "+
			"code such as 503", clip(s))
	}
}

func isEnvoyStatus(s string) bool {
	code, err := strconv.Atoi(s)
	if err != nil {
		return false
	}
	for _, r := range envoyStatuses {
		if code >= r[0] && code <= r[1] {
			return true
		}
	}
	return false
}

// badProviderService checks HOST and NAMESPACE/HOST.
func badProviderService(name string) string {
	namespace, host, qualified := strings.Cut(name, "/")
	if !qualified {
		if isIP(name) {
			return ""
		}
		return domain(name)
	}
	if !istioLabel.MatchString(namespace) {
		return strconv.Quote(namespace) + " is not the name of a namespace"
	}
	return domain(host)
}

func (c *checker) pathPrefix(field, prefix string) {
	if prefix == "" {
		return
	}
	if !strings.HasPrefix(prefix, "/") {
		c.errorf(field, "pathPrefix should begin with `/` but found %q", clip(prefix))
	} else if _, err := url.Parse(prefix); err != nil {
		c.errorf(field, "invalid pathPrefix %s", clip(prefix))
	}
}
