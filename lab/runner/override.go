package runner

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// override changes a workload's replicas, environment and model in a configuration of our own.
func override(c *istio.Config, w scenarios.Workload) error {
	found := false
	for i, o := range c.Objects {
		if o.Name != w.Name {
			continue
		}
		body, ok := withOverride(o.Body, w)
		if !ok {
			continue
		}
		changed := *o
		changed.Body = body
		c.Objects[i] = &changed
		found = true
	}
	if !found {
		return fmt.Errorf("no Deployment, StatefulSet or ReplicaSet %q", w.Name)
	}
	return nil
}

// withOverride returns a changed copy of a workload object.
func withOverride(body any, w scenarios.Workload) (any, bool) {
	var replicas **int32
	var template *corev1.PodTemplateSpec
	var out any
	switch b := body.(type) {
	case *appsv1.Deployment:
		b = b.DeepCopy()
		replicas, template, out = &b.Spec.Replicas, &b.Spec.Template, b
	case *appsv1.StatefulSet:
		b = b.DeepCopy()
		replicas, template, out = &b.Spec.Replicas, &b.Spec.Template, b
	case *appsv1.ReplicaSet:
		b = b.DeepCopy()
		replicas, template, out = &b.Spec.Replicas, &b.Spec.Template, b
	default:
		return nil, false
	}
	if w.Replicas != nil {
		n := int32(*w.Replicas)
		*replicas = &n
	}
	env := slices.Clone(w.Env)
	if w.Model != nil {
		env = append(env, w.Model.Env()...)
	}
	for i := range template.Spec.Containers {
		for _, e := range env {
			setEnv(&template.Spec.Containers[i], e.Name, e.Value)
		}
	}
	return out, true
}

func setEnv(c *corev1.Container, name, value string) {
	for i := range c.Env {
		if c.Env[i].Name == name {
			c.Env[i] = corev1.EnvVar{Name: name, Value: value}
			return
		}
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value})
}
