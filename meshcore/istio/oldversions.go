package istio

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// oldVersion is an API version that Kubernetes has removed and that tutorials still show. Its
// objects are read as those of today's version, which has the same fields.
type oldVersion struct {
	apiVersion, removed string // and the version of Kubernetes without it
	group, kinds        string // where they are today
	// selects says that a workload without a selector has the labels of its pods as one.
	// https://kubernetes.io/docs/reference/using-api/deprecation-guide/#deployment-v116
	selects bool
}

var oldVersions = []oldVersion{
	{"extensions/v1beta1", "1.16", apps, "DaemonSet Deployment ReplicaSet", true},
	{"extensions/v1beta1", "1.16", "networking.k8s.io", "NetworkPolicy", false},
	{"extensions/v1beta1", "1.16", "policy", "PodSecurityPolicy", false},
	{"extensions/v1beta1", "1.22", "networking.k8s.io", "Ingress", false},
	{"apps/v1beta1", "1.16", apps, "Deployment StatefulSet", true},
	{"apps/v1beta2", "1.16", apps, "DaemonSet Deployment ReplicaSet StatefulSet", false},
	{"networking.k8s.io/v1beta1", "1.22", "networking.k8s.io", "Ingress IngressClass", false},
	{"batch/v1beta1", "1.25", "batch", "CronJob", false},
}

// modernize reads an object of an old version as one of today's, and says so; nil: it is none.
func (c *checker) modernize() *kind {
	o := c.object
	i := slices.IndexFunc(oldVersions, func(v oldVersion) bool {
		return v.apiVersion == o.APIVersion && slices.Contains(strings.Fields(v.kinds), o.Kind)
	})
	if i < 0 {
		return nil
	}
	old := oldVersions[i]
	for j := range kinds {
		k := &kinds[j]
		if k.name != o.Kind || k.group != old.group {
			continue
		}
		if k.body != nil {
			c.warnf("apiVersion", "Kubernetes %s removed %s; it is read as %s",
				old.removed, o.APIVersion, k.apiVersion())
		}
		o.APIVersion, o.selects = k.apiVersion(), old.selects
		return k
	}
	panic("istio: " + old.group + " has no kind " + o.Kind)
}

// modern makes the body of an object of an old version one of today's.
func (o *Object) modern() {
	var version *string
	var selector **metav1.LabelSelector
	var template *corev1.PodTemplateSpec
	switch b := o.Body.(type) {
	case *appsv1.Deployment:
		version, selector, template = &b.APIVersion, &b.Spec.Selector, &b.Spec.Template
	case *appsv1.ReplicaSet:
		version, selector, template = &b.APIVersion, &b.Spec.Selector, &b.Spec.Template
	case *appsv1.StatefulSet:
		version, selector, template = &b.APIVersion, &b.Spec.Selector, &b.Spec.Template
	default:
		return
	}
	*version = o.APIVersion
	if o.selects && *selector == nil {
		*selector = &metav1.LabelSelector{MatchLabels: template.Labels}
	}
}
