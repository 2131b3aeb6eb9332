package own

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Pod is what a service learns of the pod that it is.
type Pod struct {
	Name, Namespace, IP, ServiceAccount string
	Labels, Annotations                 map[string]string
}

// fieldKey is a label or an annotation, as fieldRef names it.
var fieldKey = regexp.MustCompile(`^metadata\.(labels|annotations)\['(.+)'\]$`)

// field returns the value of a fieldRef (kubernetes.io, Downward API).
func (p Pod) field(path string) (string, bool) {
	if m := fieldKey.FindStringSubmatch(path); m != nil {
		if m[1] == "labels" {
			return p.Labels[m[2]], true
		}
		return p.Annotations[m[2]], true
	}
	switch path {
	case "metadata.name":
		return p.Name, true
	case "metadata.namespace":
		return p.Namespace, true
	case "spec.serviceAccountName":
		return p.ServiceAccount, true
	case "status.podIP":
		return p.IP, true
	}
	return "", false
}

// Value returns the value of a container's variable; a problem, whose field is below the variable,
// says that the lab can not fill it.
func (p Pod) Value(e corev1.EnvVar) (string, *ProblemError) {
	if e.ValueFrom == nil {
		return e.Value, nil
	}
	if e.ValueFrom.FieldRef == nil {
		return "", &ProblemError{Field: "valueFrom", Msg: "of these the lab fills fieldRef only; " +
			"write the value of " + e.Name}
	}
	value, ok := p.field(e.ValueFrom.FieldRef.FieldPath)
	if !ok {
		return "", &ProblemError{Field: "valueFrom.fieldRef.fieldPath", Msg: fmt.Sprintf(
			"%q is not carried out; one of metadata.name, metadata.namespace, "+
				"metadata.labels['KEY'], metadata.annotations['KEY'], "+
				"spec.serviceAccountName, status.podIP", e.ValueFrom.FieldRef.FieldPath)}
	}
	return value, nil
}

// checkEnv refuses variables that the lab can not fill.
func checkEnv(c corev1.Container) error {
	for i, e := range c.Env {
		if _, p := (Pod{}).Value(e); p != nil {
			p.Field = fmt.Sprintf("containers[0].env[%d].%s", i, p.Field)
			return p
		}
	}
	return nil
}

// Environ returns what a command finds in its environment, ports aside: the user's own variables,
// what a pod knows of itself, the way into the mesh (proxy is HOST:PORT; services are as
// ServiceVariables has them), and, above these, the container's.
func Environ(p Pod, c corev1.Container, proxy string, services []string) []string {
	env := os.Environ()
	if _, set := os.LookupEnv("PYTHONUNBUFFERED"); !set {
		env = append(env, "PYTHONUNBUFFERED=1") // or Python keeps its lines until there are many
	}
	env = append(env, "HOSTNAME="+p.Name, "POD_NAME="+p.Name, "POD_NAMESPACE="+p.Namespace,
		"POD_IP="+p.IP)
	env = slices.Concat(env, ProxyVariables(proxy), services)
	for _, e := range c.Env {
		value, _ := p.Value(e) // checkEnv has seen it
		env = append(env, e.Name+"="+value)
	}
	return env
}

// ProxyVariables are how programs are told of a proxy: in both spellings, for some know one alone.
func ProxyVariables(at string) []string {
	const near = "localhost,127.0.0.1,::1"
	url := "http://" + at
	return []string{
		"HTTP_PROXY=" + url, "http_proxy=" + url, "HTTPS_PROXY=" + url, "https_proxy=" + url,
		"NO_PROXY=" + near, "no_proxy=" + near,
	}
}

// notInNames is what has no place in the name of a variable.
var notInNames = regexp.MustCompile(`[^A-Z0-9_]`)

// variable makes a variable's name as Kubernetes makes it of a Service's.
func variable(name string) string {
	return notInNames.ReplaceAllString(strings.ToUpper(name), "_")
}

// ServiceVariables are Kubernetes' own of the Services in the pod's namespace
// (pkg/kubelet/envvars), leading to the local ports of upstreams.
func ServiceVariables(upstreams []Upstream, namespace string) []string {
	var env []string
	seen := map[string]bool{}
	for _, u := range upstreams {
		if u.Namespace != namespace || u.Service == "" {
			continue
		}
		name := variable(u.Service)
		host, port, _ := strings.Cut(u.Local, ":")
		if !seen[name] {
			seen[name] = true
			env = append(env, name+"_SERVICE_HOST="+host, name+"_SERVICE_PORT="+port)
		}
		if u.PortName != "" {
			env = append(env, name+"_SERVICE_PORT_"+variable(u.PortName)+"="+port)
		}
	}
	return env
}

// portVariables tell a command where to listen: PORT is the first of its ports, and PORT_8080 the
// one for the container's port 8080.
func portVariables(ports []uint16, local map[uint16]uint16) []string {
	env := []string{"PORT=" + strconv.Itoa(int(local[ports[0]]))}
	for _, p := range ports {
		env = append(env, fmt.Sprintf("PORT_%d=%d", p, local[p]))
	}
	return env
}

// lookup finds a variable of an environment: the last one counts.
func lookup(env []string, name string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], name+"="); ok {
			return v
		}
	}
	return ""
}
