package istio

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"gopkg.in/yaml.v3"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
)

// meshSource says where a MeshConfig came from; the higher wins.
type meshSource int

const (
	meshDefault meshSource = iota
	meshConfigMap
	meshFile
)

// Where istiod looks for its MeshConfig.
const (
	rootNamespace = "istio-system"
	meshName      = "istio"
	meshKey       = "mesh"
)

// DefaultMeshConfig returns what istiod uses when nothing is configured
// (pkg/config/mesh/mesh.go DefaultMeshConfig).
func DefaultMeshConfig() *meshconfig.MeshConfig {
	everyone := func() []string { return []string{"*"} }
	return &meshconfig.MeshConfig{
		EnableTracing:            true,
		ProtocolDetectionTimeout: durationpb.New(0),
		IngressService:           "istio-ingressgateway",
		IngressControllerMode:    meshconfig.MeshConfig_STRICT,
		IngressClass:             "istio",
		TrustDomain:              "cluster.local",
		EnableAutoMtls:           wrapperspb.Bool(true),
		OutboundTrafficPolicy: &meshconfig.MeshConfig_OutboundTrafficPolicy{
			Mode: meshconfig.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY,
		},
		InboundTrafficPolicy: &meshconfig.MeshConfig_InboundTrafficPolicy{},
		LocalityLbSetting: &networkingv1alpha3.LocalityLoadBalancerSetting{
			Enabled: wrapperspb.Bool(true),
		},
		DefaultConfig:                  defaultProxyConfig(),
		RootNamespace:                  rootNamespace,
		ProxyListenPort:                15001,
		ProxyInboundListenPort:         15006,
		ConnectTimeout:                 durationpb.New(10 * time.Second),
		DefaultServiceExportTo:         everyone(),
		DefaultVirtualServiceExportTo:  everyone(),
		DefaultDestinationRuleExportTo: everyone(),
		DnsRefreshRate:                 durationpb.New(time.Minute),
		EnablePrometheusMerge:          wrapperspb.Bool(true),
		DefaultProviders:               &meshconfig.MeshConfig_DefaultProviders{},
		ExtensionProviders:             defaultProviders(),
	}
}

func defaultProxyConfig() *meshconfig.ProxyConfig {
	return &meshconfig.ProxyConfig{
		ConfigPath: "./etc/istio/proxy",
		ClusterName: &meshconfig.ProxyConfig_ServiceCluster{
			ServiceCluster: "istio-proxy",
		},
		DrainDuration:            durationpb.New(45 * time.Second),
		TerminationDrainDuration: durationpb.New(5 * time.Second),
		ProxyAdminPort:           15000,
		ControlPlaneAuthPolicy:   meshconfig.AuthenticationPolicy_MUTUAL_TLS,
		DiscoveryAddress:         "istiod.istio-system.svc:15012",
		BinaryPath:               "/usr/local/bin/envoy",
		StatNameLength:           189,
		StatusPort:               15020,
	}
}

func defaultProviders() []*meshconfig.MeshConfig_ExtensionProvider {
	type provider = meshconfig.MeshConfig_ExtensionProvider
	return []*provider{
		{Name: "prometheus", Provider: &meshconfig.MeshConfig_ExtensionProvider_Prometheus{
			Prometheus: &meshconfig.MeshConfig_ExtensionProvider_PrometheusMetricsProvider{},
		}},
		{Name: "stackdriver", Provider: &meshconfig.MeshConfig_ExtensionProvider_Stackdriver{
			Stackdriver: &meshconfig.MeshConfig_ExtensionProvider_StackdriverProvider{},
		}},
		{Name: "envoy", Provider: &meshconfig.MeshConfig_ExtensionProvider_EnvoyFileAccessLog{
			EnvoyFileAccessLog: &meshconfig.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider{
				Path: "/dev/stdout",
			},
		}},
	}
}

// meshConfig finds the user's MeshConfig and lays it over the defaults.
func (r *reader) meshConfig(c *Config, file *File) {
	c.Mesh = DefaultMeshConfig()
	object := findMeshConfig(c.Objects)
	if file != nil {
		c.meshFrom = meshFile
		if object != nil {
			newChecker(
				object,
				&r.diags,
			).warnf("data.mesh", "is not used: the MeshConfig of %s wins", file.Name)
		}
		r.meshFile(c.Mesh, *file)
		return
	}
	if object == nil {
		return
	}
	c.meshFrom = meshConfigMap
	text := object.Body.(*corev1.ConfigMap).Data[meshKey]
	at := object.At("data.mesh")
	d := r.decoder(at.File, object.Ref())
	d.place = r.inside(object, text)
	r.overlay(
		c.Mesh,
		d,
		File{Name: at.File, Data: []byte(text)},
		(*path)(nil).field("data").field("mesh"),
	)
}

func findMeshConfig(objects []*Object) *Object {
	i := slices.IndexFunc(objects, func(o *Object) bool {
		cm, ok := o.Body.(*corev1.ConfigMap)
		return ok && o.Namespace == rootNamespace && o.Name == meshName && cm.Data[meshKey] != ""
	})
	if i < 0 {
		return nil
	}
	return objects[i]
}

func (r *reader) meshFile(mesh *meshconfig.MeshConfig, f File) {
	r.files = append(r.files, f.Name)
	r.overlay(mesh, r.decoder(f.Name, "MeshConfig"), f, nil)
}

// overlay lays what the user wrote over the defaults, as istiod does (pkg/config/mesh/mesh.go
// ApplyMeshConfig): a field replaces its default, but defaultConfig merges field by field, and
// extensionProviders by name.
func (r *reader) overlay(mesh *meshconfig.MeshConfig, d *decoder, f File, p *path) {
	budget, count := aliasBudget, 0
	for doc, bad := range documents(f) {
		if bad == nil {
			bad = bounded(doc, &budget)
		}
		if bad == nil && count > 0 {
			bad = &Diagnostic{
				Place: Place{File: f.Name, Line: doc.root.Line, Column: doc.root.Column},
				Msg:   "a MeshConfig is one document; this is another",
			}
		}
		if bad != nil {
			bad.Object, bad.Field = d.object, p.String()
			if d.place != nil {
				bad.Place = d.place(bad.Place)
			}
			r.add(*bad)
			continue
		}
		count++
		r.overlayDocument(mesh, d, deref(doc.root), p)
	}
}

func (r *reader) overlayDocument(
	mesh *meshconfig.MeshConfig,
	d *decoder,
	root *yaml.Node,
	p *path,
) {
	d.fields = fields
	before := len(r.diags)
	d.message(root, mesh.ProtoReflect(), p)
	known := slices.Clone(r.diags[before:])
	mesh.DefaultConfig = defaultProxyConfig()
	if _, config := child(root, "defaultConfig"); config != nil {
		quiet := *d
		quiet.diags, quiet.meant = &[]Diagnostic{}, &[]string{} // they were reported above
		quiet.message(deref(config), mesh.DefaultConfig.ProtoReflect(), p)
	}
	r.checkMeshConfig(mesh, d, root, known, p)
	mesh.ExtensionProviders = mergeProviders(defaultProviders(), mesh.ExtensionProviders)
	slices.Sort(mesh.TrustDomainAliases)
	mesh.TrustDomainAliases = slices.Compact(mesh.TrustDomainAliases)
}

func mergeProviders(
	base, add []*meshconfig.MeshConfig_ExtensionProvider,
) []*meshconfig.MeshConfig_ExtensionProvider {
	for _, a := range add {
		i := slices.IndexFunc(base, func(b *meshconfig.MeshConfig_ExtensionProvider) bool {
			return a.Name == b.Name
		})
		if i >= 0 {
			base[i] = a
		} else if !slices.Contains(base, a) {
			base = append(base, a)
		}
	}
	return base
}

// inside maps places in the text of data.mesh to places in the file. Only a literal block ("|")
// keeps the lines of its text; what is quoted or folded is placed at its start.
func (r *reader) inside(o *Object, text string) func(Place) Place {
	at := o.At("data.mesh")
	_, data := child(o.root, "data")
	_, scalar := child(deref(data), meshKey)
	scalar = deref(scalar)
	if scalar.Style&yaml.LiteralStyle == 0 {
		return func(Place) Place { return at }
	}
	indent := 0
	lines := bytes.Split(r.data[at.File], []byte("\n"))
	for i, line := range strings.Split(text, "\n") {
		if trimmed := strings.TrimLeft(line, " "); trimmed != "" && scalar.Line+i < len(lines) {
			raw := lines[scalar.Line+i]
			indent = len(raw) - len(bytes.TrimLeft(raw, " ")) - (len(line) - len(trimmed))
			break
		}
	}
	return func(p Place) Place {
		return Place{File: at.File, Line: scalar.Line + p.Line, Column: p.Column + max(0, indent)}
	}
}

// checkMeshConfig validates what was decoded.
func (r *reader) checkMeshConfig(
	mesh *meshconfig.MeshConfig, d *decoder, root *yaml.Node, known []Diagnostic, p *path,
) {
	var found []Diagnostic
	c := &checker{ref: d.object, prefix: p.String(), diags: &found, at: func(field string) Place {
		place := locate(d.file, root, field)
		if d.place != nil {
			place = d.place(place)
		}
		return place
	}}
	c.meshConfig(mesh)
	r.diags = append(r.diags, withoutEchoes(known, found, *d.meant)...)
}
