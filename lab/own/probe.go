package own

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Probe is how a service is asked whether it is ready: the container's readiness probe, else
// whether its port takes connections.
type Probe struct {
	http *corev1.HTTPGetAction
	exec *corev1.ExecAction
	port uint16 // of the container; 0: the first, or with a forward every one
	all  bool   // every address of a forward must take connections

	after, period, timeout time.Duration
	successes, failures    int
	always                 bool // also of a service that is ready
}

// eager is how often a service is asked, at least, until it is ready.
const eager = 200 * time.Millisecond

// readProbe reads the readiness probe of a container, with Kubernetes' defaults
// (pkg/apis/core/v1/defaults.go, SetDefaults_Probe).
func readProbe(c corev1.Container, forward bool) (Probe, error) {
	r := c.ReadinessProbe
	if r == nil {
		return Probe{
			all: forward, period: time.Second, timeout: time.Second, successes: 1, failures: 1,
			always: forward, // a command that is gone says so by itself
		}, nil
	}
	p := Probe{
		http: r.HTTPGet, exec: r.Exec, always: true,
		after:     time.Duration(r.InitialDelaySeconds) * time.Second,
		period:    time.Duration(cmp.Or(r.PeriodSeconds, 10)) * time.Second,
		timeout:   time.Duration(cmp.Or(r.TimeoutSeconds, 1)) * time.Second,
		successes: int(cmp.Or(r.SuccessThreshold, 1)), failures: int(cmp.Or(r.FailureThreshold, 3)),
	}
	const field = "containers[0].readinessProbe"
	var at intstr.IntOrString
	switch {
	case r.GRPC != nil:
		return p, &ProblemError{Field: field + ".grpc",
			Msg: "is not carried out for a service of your own; write httpGet, tcpSocket or exec"}
	case r.Exec != nil && forward:
		return p, &ProblemError{Field: field + ".exec", Msg: "there is no container to run it in " +
			"where " + ForwardAnnotation + " leads; write httpGet or tcpSocket"}
	case r.Exec != nil && len(r.Exec.Command) == 0:
		return p, &ProblemError{Field: field + ".exec.command", Msg: "is empty"}
	case r.Exec != nil:
		return p, nil
	case r.HTTPGet != nil:
		at = r.HTTPGet.Port
	case r.TCPSocket != nil:
		at = r.TCPSocket.Port
	default:
		return p, &ProblemError{Field: field, Msg: "says not how; write httpGet, tcpSocket or exec"}
	}
	port, ok := containerPort(c, at)
	if !ok {
		return p, &ProblemError{Field: field, Msg: fmt.Sprintf(
			"port %q is none of the container's ports", at.String())}
	}
	p.port = port
	return p, nil
}

// containerPort finds a port of a container by its number or its name.
func containerPort(c corev1.Container, at intstr.IntOrString) (uint16, bool) {
	for _, p := range c.Ports {
		if p.Name != "" && p.Name == at.StrVal || p.ContainerPort == at.IntVal && at.StrVal == "" {
			return uint16(p.ContainerPort), true
		}
	}
	port, ok := portNumber(at.String())
	return port, ok && at.Type == intstr.Int
}

// ask says why the service is not ready.
func (s *Service) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Spec.Probe.timeout)
	defer cancel()
	p := s.o.Spec.Probe
	switch {
	case p.exec != nil:
		return s.askExec(ctx, p.exec.Command)
	case p.http != nil:
		return s.askHTTP(ctx, p)
	case p.all:
		for _, at := range s.o.Spec.addresses() {
			if err := touch(dialLocal(ctx, at)); err != nil {
				return err
			}
		}
		return nil
	}
	return touch(s.Dial(ctx, s.probed()))
}

// probed is the container's port that a probe asks.
func (s *Service) probed() uint16 {
	if s.o.Spec.Probe.port == 0 && len(s.o.Spec.Ports) > 0 {
		return s.o.Spec.Ports[0]
	}
	return s.o.Spec.Probe.port
}

// touch closes a connection that could be made.
func touch(c net.Conn, err error) error {
	if err == nil {
		c.Close()
	}
	return err
}

// askHTTP wants an answer from 200 to 399 (pkg/probe/http/http.go).
func (s *Service) askHTTP(ctx context.Context, p Probe) error {
	scheme := strings.ToLower(cmp.Or(string(p.http.Scheme), "http"))
	to := scheme + "://" + net.JoinHostPort("localhost", strconv.Itoa(int(p.port))) +
		"/" + strings.TrimPrefix(p.http.Path, "/")
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		return err
	}
	r.Header.Set("User-Agent", "kube-probe/mesh-lab")
	for _, h := range p.http.HTTPHeaders {
		if r.Header.Set(h.Name, h.Value); strings.EqualFold(h.Name, "host") {
			r.Host = h.Value
		}
	}
	res, err := s.prober.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return fmt.Errorf("its readiness probe %s is answered with %s", r.URL.RequestURI(),
			res.Status)
	}
	return nil
}

// askExec runs a program beside the command, in its environment.
func (s *Service) askExec(ctx context.Context, words []string) error {
	path, err := s.o.Spec.find(words[0])
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, path, words[1:]...)
	c.Dir, c.Env = s.o.Spec.Dir, slices.Concat(s.o.Env(), s.portEnv())
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with its own children
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("its readiness probe %q: %w: %s", strings.Join(words, " "), err,
			strings.TrimSpace(string(out)))
	}
	return nil
}
