// Package istio reads, defaults and validates the Kubernetes and Istio objects that mesh-lab
// carries out. Every problem is a Diagnostic with its place in the file; all problems are reported.
// Nothing is ignored: a kind or field is carried out, or has no effect here for a reason that a
// table gives (fields_*.go, kinds.go), or is an error.
//
//	text ─▶ documents (source.go) ─▶ yaml nodes with places ─▶ bounded (bounds.go)
//	                                        │
//	     fields_*.go: what is carried out ─▶├▶ message (decode_proto.go: istio.io/api)
//	                                        └▶ goValue (decode_go.go: k8s.io/api)
//	                                        │
//	             check_*.go: what istiod and the API server refuse ─▶ Config ─▶ CrossCheck
//
// It reads no files, and does not ask whether a configuration makes sense for a request: that is
// the translator's business.
package istio

import (
	"fmt"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
	meshconfig "istio.io/api/mesh/v1alpha1"
)

// Severity says whether a Diagnostic stops the run.
type Severity int

// The severities.
const (
	Error Severity = iota
	Warning
)

// Place is a position in a file; Line and Column count from 1.
type Place struct {
	File         string
	Line, Column int
}

// Diagnostic is one problem of a user's configuration.
type Diagnostic struct {
	Severity Severity
	Place    Place
	Object   string // "VirtualService default/reviews"; empty when the document is not an object
	Field    string // "spec.http[0].fault.delay.percentage.value"; empty for the whole object
	Msg      string // what is wrong; what would be right
}

// String prints a Diagnostic as "file:line:col: Kind ns/name field.path: what is wrong". It does
// not tell its severity.
func (d Diagnostic) String() string {
	s := fmt.Sprintf("%s:%d:%d: ", d.Place.File, d.Place.Line, d.Place.Column)
	if what := strings.TrimSpace(d.Object + " " + d.Field); what != "" {
		s += what + ": "
	}
	return s + d.Msg
}

// Object is one configuration object.
type Object struct {
	APIVersion, Kind    string
	Name, Namespace     string // Namespace is defaulted ("default"); empty for cluster-scoped kinds
	Labels, Annotations map[string]string
	Created             time.Time // metadata.creationTimestamp; zero when absent
	Order               int       // place in the input; the lower is the older if Created is equal
	// Body is *corev1.{Namespace,Service,Pod,ServiceAccount,Secret,ConfigMap,Endpoints},
	// *appsv1.{Deployment,StatefulSet,ReplicaSet}, *discoveryv1.EndpointSlice, or the spec message
	// of istio.io/api: *networkingv1alpha3.{VirtualService,DestinationRule,Gateway},
	// *securityv1.{AuthorizationPolicy,RequestAuthentication}.
	Body any

	file    string
	root    *yaml.Node // as written; nil when the object was not read
	selects bool       // of an old version, see oldVersion
}

// Ref returns "Kind ns/name".
func (o *Object) Ref() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// At returns the place of a field ("spec.http[0].route[1].weight"), or of its nearest parent that
// is in the file.
func (o *Object) At(path string) Place {
	if o.root == nil {
		return Place{}
	}
	return locate(o.file, o.root, path)
}

// Config is a set of objects in their input order, with the mesh configuration. It is immutable
// once built; Merge and Remove make new ones.
type Config struct {
	Objects []*Object
	Mesh    *meshconfig.MeshConfig // never nil: Istio's defaults, overlaid with the user's

	meshFrom meshSource
}

// Kind returns the objects of a kind, in input order.
func (c *Config) Kind(kind string) []*Object {
	var out []*Object
	for _, o := range c.Objects {
		if o.Kind == kind {
			out = append(out, o)
		}
	}
	return out
}
