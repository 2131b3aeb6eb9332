package istio

import (
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kind says what becomes of the objects of a kind.
type kind struct {
	name, group string
	versions    []string
	cluster     bool       // cluster-scoped
	body        func() any // nil: not carried out
	validate    func(*checker)
	notYet      string // not carried out: the way out, if there is one
	noEffect    string // left out without a word, because of this
}

var (
	v1     = []string{"v1"}
	istio3 = []string{"v1", "v1beta1", "v1alpha3"}
	istio2 = []string{"v1", "v1beta1"}
)

const (
	apps       = "apps"
	networking = "networking.istio.io"
	security   = "security.istio.io"
	gatewayAPI = "gateway.networking.k8s.io"
	rbac       = "rbac.authorization.k8s.io"

	noAPI     = "the lab has no API server for pods to ask"
	noScaling = "the lab does not scale by itself"
	noStorage = "the lab's apps keep nothing on disks"
	noLimits  = "the lab limits no resources"
)

// kinds is every kind that is known.
var kinds = []kind{
	{name: "Namespace", versions: v1, cluster: true, body: func() any { return &corev1.Namespace{} }},
	{name: "Service", versions: v1, body: func() any { return &corev1.Service{} }},
	{name: "Pod", versions: v1, body: func() any { return &corev1.Pod{} }},
	{name: "ServiceAccount", versions: v1, body: func() any { return &corev1.ServiceAccount{} }},
	{name: "Secret", versions: v1, body: func() any { return &corev1.Secret{} }},
	{name: "ConfigMap", versions: v1, body: func() any { return &corev1.ConfigMap{} }},
	{name: "Endpoints", versions: v1, body: func() any { return &corev1.Endpoints{} }},
	{name: "Deployment", group: apps, versions: v1, body: func() any { return &appsv1.Deployment{} }},
	{name: "StatefulSet", group: apps, versions: v1, body: func() any { return &appsv1.StatefulSet{} }},
	{name: "ReplicaSet", group: apps, versions: v1, body: func() any { return &appsv1.ReplicaSet{} }},
	{name: "EndpointSlice", group: "discovery.k8s.io", versions: v1,
		body: func() any { return &discoveryv1.EndpointSlice{} }},
	{name: "VirtualService", group: networking, versions: istio3,
		body: func() any { return &networkingv1alpha3.VirtualService{} }},
	{name: "DestinationRule", group: networking, versions: istio3,
		body: func() any { return &networkingv1alpha3.DestinationRule{} }},
	{name: "Gateway", group: networking, versions: istio3,
		body: func() any { return &networkingv1alpha3.Gateway{} }},
}

// KnownKinds lists the kinds that are carried out.
func KnownKinds() []string {
	var out []string
	for _, k := range kinds {
		if k.body != nil {
			out = append(out, k.name)
		}
	}
	return out
}

// kind finds the kind of an object, or reports why it has none.
func (c *checker) kind() *kind {
	o := c.object
	group, version, ok := strings.Cut(o.APIVersion, "/")
	if !ok {
		group, version = "", o.APIVersion
	}
	for i := range kinds {
		k := &kinds[i]
		if k.name == o.Kind && k.group == group && slices.Contains(k.versions, version) {
			return k
		}
	}
	c.errorf("kind", "unknown")
	return nil
}

func (c *checker) metadata(meta metav1.Object, k *kind) {
}
