package own_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mesh-lab/mesh-lab/lab/own"
)

// TestParse reads annotations.
func TestParse(t *testing.T) {
	const command, forward = own.CommandAnnotation, own.ForwardAnnotation
	probe := func(h corev1.ProbeHandler) corev1.Container {
		return corev1.Container{ReadinessProbe: &corev1.Probe{ProbeHandler: h}}
	}
	from := func(s corev1.EnvVarSource) corev1.Container {
		return corev1.Container{Env: []corev1.EnvVar{{Name: "A", ValueFrom: &s}}}
	}
	tests := []struct {
		in    map[string]string
		c     corev1.Container
		ports string
		want  string // what it is, or the end of the error
	}{
		{in: map[string]string{"other": "x"}, want: "none"},
		{in: map[string]string{command: "python3 app.py"}, want: "python3 app.py in /m"},
		{in: map[string]string{command: "a", own.DirAnnotation: "x/y"}, want: "a in /m/x/y"},
		{in: map[string]string{command: "a", own.DirAnnotation: "/x"}, want: "a in /x"},
		{in: map[string]string{forward: "localhost:3000"}, want: "0=localhost:3000"},
		{in: map[string]string{forward: ":3000"}, want: "0=localhost:3000"},
		{in: map[string]string{forward: "3000"}, want: "0=localhost:3000"},
		{in: map[string]string{forward: "10.0.0.7:80"}, want: "0=10.0.0.7:80"},
		{in: map[string]string{forward: "[::1]:80"}, want: "0=[::1]:80"},
		{
			in:    map[string]string{forward: "8080=localhost:3000, 9090=3001"},
			ports: "none",
			want:  "8080=localhost:3000 9090=localhost:3001",
		},
		{in: map[string]string{forward: "8080=3000"}, want: "8080=localhost:3000"},
		{in: map[string]string{forward: "9090=3001"},
			want: "9090 is no port of the pod's containers; they have [8080]"},
		{
			in:   map[string]string{forward: "3000", command: "a"},
			want: "forward-to: mesh-lab.dev/command is there, too: a pod has one of them",
		},
		{
			in:   map[string]string{forward: "3000", "mesh-lab.dev/app": "echo"},
			want: "forward-to: mesh-lab.dev/app: echo is there, too: a pod has one of them",
		},
		{
			in:   map[string]string{own.DirAnnotation: "x"},
			want: "command-dir: means nothing without mesh-lab.dev/command",
		},
		{in: map[string]string{command: " "}, want: `is empty; write a command such as "python3 app.py"`},
		{in: map[string]string{command: "a 'b"}, want: "what needs a shell is written as sh -c '...'"},
		{in: map[string]string{command: "a | b"}, want: "what needs a shell is written as sh -c '...'"},
		{in: map[string]string{command: "a && b"}, want: "what needs a shell is written as sh -c '...'"},
		{in: map[string]string{command: "a $(b)"}, want: "what needs a shell is written as sh -c '...'"},
		{
			in:   map[string]string{command: "A=1 b"},
			want: `begins with "A=1": write variables under the container's env`,
		},
		{
			in: map[string]string{command: "a"}, ports: "none",
			want: "the command itself listens on $PORT",
		},
		{in: map[string]string{forward: ""}, want: `"" is no address; write localhost:3000, or ` +
			"8080=localhost:3000,9090=localhost:3001 for several ports"},
		{in: map[string]string{forward: "http://localhost:3000"}, want: "for several ports"},
		{in: map[string]string{forward: "localhost"}, want: "for several ports"},
		{in: map[string]string{forward: "localhost:0"}, want: "for several ports"},
		{in: map[string]string{forward: "localhost:70000"}, want: "for several ports"},
		{in: map[string]string{forward: "web=3000"}, want: `"web" is no port; write 8080=localhost:3000`},
		{
			in:   map[string]string{forward: "3000,3001"},
			want: "one port leads to one address; write 8080=localhost:3000,9090=localhost:3001",
		},
		{
			in:   map[string]string{forward: "3000,80=3001"},
			want: "say for each address which port leads to it, such as 8080=localhost:3000",
		},
		{
			in: map[string]string{command: "a"},
			c:  probe(corev1.ProbeHandler{GRPC: &corev1.GRPCAction{}}),
			want: "containers[0].readinessProbe.grpc: is not carried out for a service of your own; " +
				"write httpGet, tcpSocket or exec",
		},
		{
			in: map[string]string{command: "a"},
			c: probe(corev1.ProbeHandler{
				TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("web")}}),
			want: `port "web" is none of the container's ports`,
		},
		{in: map[string]string{command: "a"}, c: probe(corev1.ProbeHandler{}),
			want: "says not how; write httpGet, tcpSocket or exec"},
		{
			in: map[string]string{forward: "3000"},
			c: probe(corev1.ProbeHandler{
				Exec: &corev1.ExecAction{Command: []string{"true"}}}),
			want: "where mesh-lab.dev/forward-to leads; write httpGet or tcpSocket",
		},
		{
			in: map[string]string{command: "a"},
			c: from(corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['app']"}}),
			want: "a in /m",
		},
		{
			in: map[string]string{command: "a"},
			c: from(corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.hostIP"}}),
			want: "spec.serviceAccountName, status.podIP",
		},
		{
			in:   map[string]string{command: "a"},
			c:    from(corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{}}),
			want: "of these the lab fills fieldRef only; write the value of A",
		},
	}
	for _, test := range tests {
		ports := []uint16{8080}
		if test.ports == "none" {
			ports = nil
		}
		s, err := own.Parse(test.in, test.c, ports, "/m")
		got := "none"
		switch {
		case err != nil:
			got = err.Error()
		case s != nil && s.Command != "":
			got = s.Command + " in " + s.Dir
		case s != nil:
			got = describe(s)
		}
		if err == nil && got != test.want || !strings.HasSuffix(got, test.want) {
			t.Errorf("%v: %s, want %s", test.in, got, test.want)
		}
	}
}

func describe(s *own.Spec) string {
	var out []string
	for _, p := range slices.Sorted(maps.Keys(s.Forward)) {
		out = append(out, strings.TrimSpace(strings.Join([]string{itoa(p), s.Forward[p]}, "=")))
	}
	return strings.Join(out, " ")
}

func itoa(p uint16) string { return strconv.Itoa(int(p)) }

// TestFind says what is missing.
func TestFind(t *testing.T) {
	for _, test := range []struct{ command, dir, want string }{
		{"sh", "/", ""},
		{"no-such-program x", "/", `"no-such-program": executable file not found in $PATH`},
		{"./own_test.go", ".", "permission denied"},
		{"./gone", ".", "no such file or directory"},
		{"sh", "/no/such/folder", "command-dir: stat /no/such/folder: no such file or directory"},
		{"sh", "own_test.go", "own_test.go is no folder"},
	} {
		dir, err := filepath.Abs(test.dir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&own.Spec{Command: test.command, Dir: dir}).Find()
		got := ""
		if err != nil {
			got = err.Error()
		}
		if !strings.HasSuffix(got, test.want) || test.want == "" && got != "" {
			t.Errorf("%s in %s: %q, want %q", test.command, test.dir, got, test.want)
		}
	}
}

// TestEnviron: the container's variables are above the lab's, which are above the user's.
func TestEnviron(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://company")
	t.Setenv("MINE", "kept")
	env := own.Environ(own.Pod{Name: "a-0", Labels: map[string]string{"version": "v2"}},
		corev1.Container{Env: []corev1.EnvVar{
			{Name: "NO_PROXY", Value: "*"},
			{Name: "V", ValueFrom: &corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['version']"}}},
		}}, "127.0.0.1:20001",
		own.ServiceVariables([]own.Upstream{
			{Service: "my-reviews", Namespace: "d", PortName: "http-web", Local: "127.0.0.1:20002"},
			{Service: "my-reviews", Namespace: "d", Local: "127.0.0.1:20003"},
			{Service: "far", Namespace: "other", Local: "127.0.0.1:20004"},
		}, "d"))
	got := map[string]string{}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		got[name] = value
	}
	for name, want := range map[string]string{
		"HTTP_PROXY": "http://127.0.0.1:20001", "https_proxy": "http://127.0.0.1:20001",
		"no_proxy": "localhost,127.0.0.1,::1", "NO_PROXY": "*", "MINE": "kept", "V": "v2",
		"POD_NAME": "a-0", "HOSTNAME": "a-0", "MY_REVIEWS_SERVICE_HOST": "127.0.0.1",
		"MY_REVIEWS_SERVICE_PORT": "20002", "MY_REVIEWS_SERVICE_PORT_HTTP_WEB": "20002",
		"FAR_SERVICE_HOST": "",
	} {
		if got[name] != want {
			t.Errorf("%s = %q, want %q", name, got[name], want)
		}
	}
}
