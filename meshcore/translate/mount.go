package translate

import (
	"cmp"
	"encoding/json"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// Annotations with which the injector gives the proxy's container volumes of its own.
const (
	volumeAnnotation = "sidecar.istio.io/userVolume"
	mountAnnotation  = "sidecar.istio.io/userVolumeMount"
)

// proxyContainer is the name of the proxy's container.
const proxyContainer = "istio-proxy"

// fileTree finds the files of Secrets and ConfigMaps.
type fileTree map[string]map[string][]byte // by "Kind NAMESPACE/NAME", then by key

func newFileTree(c *istio.Config) fileTree {
	out := fileTree{}
	for _, o := range c.Objects {
		switch body := o.Body.(type) {
		case *corev1.Secret:
			files := map[string][]byte{}
			for key, data := range body.Data {
				files[key] = data
			}
			for key, text := range body.StringData {
				files[key] = []byte(text)
			}
			out[o.Ref()] = files
		case *corev1.ConfigMap:
			files := map[string][]byte{}
			for key, text := range body.Data {
				files[key] = []byte(text)
			}
			for key, data := range body.BinaryData {
				files[key] = data
			}
			out[o.Ref()] = files
		}
	}
	return out
}

// read returns what the proxy of a pod finds at a path in its container: a file of a Secret or a
// ConfigMap that is mounted there. The mount with the longest path wins.
func (t fileTree) read(p *Pod, file string) (data []byte, ok bool) {
	file = path.Clean(file)
	volumes, mounts := proxyMounts(p)
	longest := -1
	for _, m := range mounts {
		at := path.Clean(m.MountPath)
		below, inside := strings.CutPrefix(file, strings.TrimSuffix(at, "/")+"/")
		switch {
		case len(at) <= longest:
			continue
		case file == at && m.SubPath != "":
			below = ""
		case !inside:
			continue
		}
		longest = len(at)
		data, ok = t.volumeFile(p.Namespace, volumes, m.Name, path.Join(m.SubPath, below))
	}
	return data, ok
}

// proxyMounts lists the volumes of a pod and those mounts that are the proxy's own: what the
// application mounts the proxy does not see.
func proxyMounts(p *Pod) ([]corev1.Volume, []corev1.VolumeMount) {
	volumes := p.Volumes
	var mounts []corev1.VolumeMount
	for _, c := range p.Containers {
		if c.Name == proxyContainer || p.Role == Gateway && isProxyImage(c.Image) {
			mounts = append(mounts, c.VolumeMounts...)
		}
	}
	ofVolume := func(v *corev1.Volume) *string { return &v.Name }
	ofMount := func(m *corev1.VolumeMount) *string { return &m.Name }
	volumes = slices.Concat(volumes, named(p.Annotations[volumeAnnotation], ofVolume))
	return volumes, append(mounts, named(p.Annotations[mountAnnotation], ofMount)...)
}

// named reads an annotation of volumes or mounts: a JSON list of them, or an object of them by
// name. What is neither is nothing: the annotation's checker has said so.
func named[T any](text string, name func(*T) *string) []T {
	var list []T
	if json.Unmarshal([]byte(text), &list) == nil {
		return list
	}
	byName := map[string]T{}
	if json.Unmarshal([]byte(text), &byName) != nil {
		return nil
	}
	for key, item := range byName {
		*name(&item) = cmp.Or(*name(&item), key)
		list = append(list, item)
	}
	return list
}

// volumeFile returns a file of a volume.
func (t fileTree) volumeFile(
	ns string, volumes []corev1.Volume, name, file string,
) (data []byte, ok bool) {
	for _, v := range volumes {
		if v.Name != name {
			continue
		}
		if s := v.Secret; s != nil {
			return t.file("Secret "+ns+"/"+s.SecretName, s.Items, file)
		}
		if m := v.ConfigMap; m != nil {
			return t.file("ConfigMap "+ns+"/"+m.Name, m.Items, file)
		}
		if v.Projected == nil {
			return nil, false
		}
		for _, src := range v.Projected.Sources {
			if s := src.Secret; s != nil && !ok {
				data, ok = t.file("Secret "+ns+"/"+s.Name, s.Items, file)
			}
			if m := src.ConfigMap; m != nil && !ok {
				data, ok = t.file("ConfigMap "+ns+"/"+m.Name, m.Items, file)
			}
		}
		return data, ok
	}
	return nil, false
}

// file returns a key of an object under the path that items give it; without items a key is its own
// path.
func (t fileTree) file(ref string, items []corev1.KeyToPath, file string) ([]byte, bool) {
	key := file
	if len(items) > 0 {
		key = ""
		for _, i := range items {
			if path.Clean(i.Path) == file {
				key = i.Key
			}
		}
	}
	data, ok := t[ref][key]
	return data, ok
}
