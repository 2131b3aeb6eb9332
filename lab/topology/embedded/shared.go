package embedded

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/sampleapps"
)

// Bundled finds the app of a pod, and its container: by annotation, by its containers' images, or
// the stand-in for images that are unknown. Other topologies run the same apps.
func Bundled(s *translate.Pod, unknown string) (sampleapps.App, corev1.Container, error) {
	return bundled(s, unknown)
}

// Vars is the environment of a bundled app's container. What can not be filled is not set.
func Vars(s *translate.Pod, c corev1.Container) map[string]string { return varsOf(s, c) }

// Unfilled warns of variables of a container that can not be filled.
func Unfilled(s *translate.Pod, c corev1.Container) []istio.Diagnostic { return unfilled(s, c) }

// TemplateField is where a field of a pod is in the object that makes the pod.
func TemplateField(s *translate.Pod, field string) string { return templateField(s, field) }

// AppPorts are the ports that an app listens on: those of its containers, or its own.
func AppPorts(s *translate.Pod, own int) []uint16 { return appPorts(s, own) }

// IsOwn says whether a pod has a service of the user's own on this machine (mesh-lab.dev/run,
// mesh-lab.dev/forward), and by which annotation.
func IsOwn(s *translate.Pod) (annotation string, ok bool) {
	spec, err := ownSpec(s)
	if spec == nil || err != nil {
		return "", false
	}
	return annotationOf(spec), true
}
