package istio

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// podsOf returns the labels and annotations of the pods that an object is or makes.
func podsOf(o *Object) (labels, annotations map[string]string, ok bool) {
	switch body := o.Body.(type) {
	case *corev1.Pod:
		return body.Labels, body.Annotations, true
	case *appsv1.Deployment:
		return body.Spec.Template.Labels, body.Spec.Template.Annotations, true
	case *appsv1.ReplicaSet:
		return body.Spec.Template.Labels, body.Spec.Template.Annotations, true
	case *appsv1.StatefulSet:
		return body.Spec.Template.Labels, body.Spec.Template.Annotations, true
	}
	return nil, nil, false
}
