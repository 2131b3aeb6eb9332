// Package own puts services that the user is writing into a lab: a command that the lab starts and
// watches, or an address where something answers already, and the proxies through which such a
// service reaches the mesh. It knows nothing of how the mesh is run.
package own

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"mvdan.cc/sh/v3/shell"
)

// The annotations of a pod template that make a pod's service the user's own.
const (
	CommandAnnotation = "mesh-lab.dev/command"     // words as a shell has them; $PORT is the lab's
	DirAnnotation     = "mesh-lab.dev/command-dir" // where the command runs
	ForwardAnnotation = "mesh-lab.dev/forward-to"  // HOST:PORT, or PORT=HOST:PORT,...
)

// Spec says what answers in a pod.
type Spec struct {
	Command string   // empty: it is Forward
	Dir     string   // of the command
	Ports   []uint16 // that the pod's containers declare
	// Forward has HOST:PORT by the container's port; port 0 stands for every one.
	Forward map[uint16]string
	Probe   Probe
}

// ProblemError is what is wrong with a field of a pod: an annotation by its name, or a field of the
// pod's spec by its path.
type ProblemError struct{ Annotation, Field, Msg string }

// Error names the field.
func (p *ProblemError) Error() string { return cmp.Or(p.Annotation, p.Field) + ": " + p.Msg }

func annotation(name, format string, args ...any) error {
	return &ProblemError{Annotation: name, Msg: fmt.Sprintf(format, args...)}
}

// Parse reads the annotations of a pod, and the readiness probe of its first container; nil without
// such an annotation. ports are what the pod's containers declare; dir is where a command runs that
// says nothing else, and what its folder is relative to. Errors are ProblemErrors.
func Parse(
	annotations map[string]string, c corev1.Container, ports []uint16, dir string,
) (*Spec, error) {
	command, isCommand := annotations[CommandAnnotation]
	forward, isForward := annotations[ForwardAnnotation]
	in, hasDir := annotations[DirAnnotation]
	switch {
	case isCommand && isForward:
		return nil, annotation(ForwardAnnotation,
			"%s is there, too: a pod has one of them", CommandAnnotation)
	case hasDir && !isCommand:
		return nil, annotation(DirAnnotation, "means nothing without %s", CommandAnnotation)
	case !isCommand && !isForward:
		return nil, nil
	}
	if app, ok := annotations["mesh-lab.dev/app"]; ok {
		name := CommandAnnotation
		if isForward {
			name = ForwardAnnotation
		}
		return nil, annotation(name, "mesh-lab.dev/app: %s is there, too: "+
			"a pod has one of them", app)
	}
	s := &Spec{Command: command, Dir: dir, Ports: slices.Clone(ports)}
	if filepath.IsAbs(in) {
		s.Dir = in
	} else if in != "" {
		s.Dir = filepath.Join(dir, in)
	}
	var err error
	if isForward {
		s.Forward, err = forwards(forward)
		if err == nil {
			err = s.checkForward()
		}
	} else {
		err = s.checkCommand()
	}
	if err != nil {
		return nil, err
	}
	if err := checkEnv(c); err != nil {
		return nil, err
	}
	s.Probe, err = readProbe(c, isForward)
	return s, err
}

// checkForward wants ports that the pod has: nothing would ever come for others.
func (s *Spec) checkForward() error {
	for _, port := range slices.Sorted(maps.Keys(s.Forward)) {
		if port != 0 && len(s.Ports) > 0 && !slices.Contains(s.Ports, port) {
			return annotation(ForwardAnnotation,
				"%d is no port of the pod's containers; they have %d", port, s.Ports)
		}
	}
	return nil
}

// checkCommand wants a command line that can be split, and a port for what it serves.
func (s *Spec) checkCommand() error {
	words, err := s.words(func(string) string { return "1" })
	if err != nil {
		return err
	}
	switch {
	case len(words) == 0:
		return annotation(CommandAnnotation, `is empty; write a command such as "python3 app.py"`)
	case strings.Contains(words[0], "="):
		return annotation(CommandAnnotation, "begins with %q: write variables under the "+
			"container's env", words[0])
	case len(s.Ports) == 0:
		return annotation(CommandAnnotation, "the pod has no port: write the one under which the "+
			"mesh knows the service as ports: [{containerPort: 8080}] of its container; "+
			"the command itself listens on $PORT")
	}
	return nil
}

// words splits the command line as a shell does: quotes, backslashes and variables.
func (s *Spec) words(env func(string) string) ([]string, error) {
	words, err := shell.Fields(s.Command, env)
	if err != nil {
		return nil, annotation(CommandAnnotation, "%q: %v; what needs a shell is written as "+
			"sh -c '...'", s.Command, err)
	}
	return words, nil
}

// Find returns the program of a command, as it is found from the folder that it runs in.
func (s *Spec) Find() (string, error) {
	if i, err := os.Stat(s.Dir); err != nil {
		return "", fmt.Errorf("%s: %w", DirAnnotation, err)
	} else if !i.IsDir() {
		return "", annotation(DirAnnotation, "%s is no folder", s.Dir)
	}
	words, err := s.words(os.Getenv)
	if err != nil {
		return "", err
	}
	if len(words) == 0 {
		return "", annotation(CommandAnnotation, "%q comes to nothing", s.Command)
	}
	return s.find(words[0])
}

// find looks a program up.
func (s *Spec) find(name string) (string, error) {
	if strings.Contains(name, "/") && !filepath.IsAbs(name) {
		name = filepath.Join(s.Dir, name)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", CommandAnnotation, err)
	}
	return path, nil
}

// forwards reads "localhost:3000", ":3000", "3000", or "8080=localhost:3000,9090=localhost:3001".
func forwards(text string) (map[uint16]string, error) {
	out := map[uint16]string{}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		from, to, mapped := strings.Cut(part, "=")
		port := uint16(0)
		if mapped {
			var ok bool
			if port, ok = portNumber(strings.TrimSpace(from)); !ok {
				return nil, annotation(ForwardAnnotation,
					"%q: %q is no port; write 8080=localhost:3000", part, from)
			}
		} else {
			to = part
		}
		at, ok := hostPort(strings.TrimSpace(to))
		if !ok {
			return nil, annotation(ForwardAnnotation, "%q is no address; write localhost:3000, "+
				"or 8080=localhost:3000,9090=localhost:3001 for several ports", part)
		}
		if _, twice := out[port]; twice {
			return nil, annotation(ForwardAnnotation, "%q: one port leads to one address; write "+
				"8080=localhost:3000,9090=localhost:3001", text)
		}
		out[port] = at
	}
	if _, all := out[0]; all && len(out) > 1 {
		return nil, annotation(ForwardAnnotation, "%q: say for each address which port leads "+
			"to it, such as 8080=localhost:3000", text)
	}
	return out, nil
}

// hostPort completes an address of which only the port may be there.
func hostPort(text string) (string, bool) {
	if _, ok := portNumber(text); ok {
		return net.JoinHostPort("localhost", text), true
	}
	host, port, err := net.SplitHostPort(text)
	if _, ok := portNumber(port); err != nil || !ok || strings.ContainsAny(host, "/ \t") {
		return "", false
	}
	return net.JoinHostPort(cmp.Or(host, "localhost"), port), true
}

func portNumber(text string) (uint16, bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil && n > 0
}

// What is how a person knows the service: by its command, or by where it is.
func (s *Spec) What() string {
	if s.Command != "" {
		return s.Command
	}
	return strings.Join(s.addresses(), ", ")
}

// addresses are what a forward leads to, each once.
func (s *Spec) addresses() []string {
	var out []string
	for _, at := range s.Forward {
		if !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	return out
}
