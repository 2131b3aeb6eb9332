package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/part"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// foreign says whether a pod's app is the user's own: none of its images stands for a bundled app.
func foreign(s *translate.Pod, unknown string) (corev1.Container, bool) {
	if s.Role == translate.Gateway || unknown != "" {
		return corev1.Container{}, false
	}
	if _, _, err := embedded.Bundled(s, ""); err == nil {
		return corev1.Container{}, false
	}
	c := firstContainer(s)
	return c, c.Image != "" && s.Annotations["mesh-lab.dev/app"] == ""
}

// checkForeign warns of what a container of the user's own does not have in the lab.
func checkForeign(s *translate.Pod, c corev1.Container) []istio.Diagnostic {
	if s.Object == nil {
		return nil
	}
	warn := func(msg string) istio.Diagnostic {
		return istio.Diagnostic{Severity: istio.Warning, Object: s.Object.Ref(),
			Place: s.Object.At("metadata.name"), Msg: msg}
	}
	var out []istio.Diagnostic
	if len(c.VolumeMounts) > 0 {
		out = append(out, warn(fmt.Sprintf("container %s: its volumes are not mounted in Docker",
			c.Name)))
	}
	if len(s.Containers) > 1 {
		out = append(out, warn(fmt.Sprintf("only container %s of its %d runs in Docker", c.Name,
			len(s.Containers))))
	}
	if r := c.ReadinessProbe; r != nil && r.HTTPGet == nil && r.TCPSocket == nil {
		out = append(out, warn(fmt.Sprintf("container %s: only readiness probes by httpGet and "+
			"tcpSocket are carried out; it is ready when its first port takes connections",
			c.Name)))
	}
	if none := withoutEffect(c); none != "" {
		out = append(out, warn(fmt.Sprintf("container %s: %s: of no effect in Docker", c.Name,
			none)))
	}
	return append(out, embedded.Unfilled(s, c)...)
}

// withoutEffect names what a container of the user's own has, and what is not carried out.
func withoutEffect(c corev1.Container) string {
	var has []string
	for name, is := range map[string]bool{
		"livenessProbe": c.LivenessProbe != nil, "startupProbe": c.StartupProbe != nil,
		"lifecycle": c.Lifecycle != nil, "securityContext": c.SecurityContext != nil,
	} {
		if is {
			has = append(has, name)
		}
	}
	slices.Sort(has)
	return strings.Join(has, ", ")
}

// pullPatience bounds how long an image may take to come.
const pullPatience = 10 * time.Minute

// startForeign starts an image of the user's own as the manifest says; Docker pulls it. Until it is
// ready, the pod is no endpoint.
func (p *pod) startForeign(ctx context.Context, s *translate.Pod, c corev1.Container) error {
	p.w.driver.progress("image " + c.Image)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pullPatience)
	defer cancel()
	stop := context.AfterFunc(p.w.mesh.Ended(), cancel)
	defer stop()
	if err := p.w.engine.Have(ctx, c.Image, c.ImagePullPolicy); err != nil {
		return fmt.Errorf("%s: %w", imagePlace(s, c), err)
	}
	p.becomes = make(chan struct{})
	p.w.mesh.HoldBack(s.ID())
	from := s.ID() + "/" + c.Name
	vars := environment(c, embedded.Vars(s, c))
	var err error
	p.app, err = p.w.lab.Start(ctx, engine.Spec{
		Pod: s.ID(), Part: "app", Image: c.Image, Dir: c.WorkingDir,
		Entrypoint: expandAll(c.Command, vars), Cmd: expandAll(c.Args, vars),
		Env: vars, Join: p.infra, Keep: true,
		Line: func(line []byte, _ bool) {
			if log := p.w.spec.OwnLog; log.Take != nil && log.All {
				log.Take(from, line)
			}
		},
	})
	if err != nil {
		return err
	}
	go p.probe(c)
	return nil
}

// imagePlace is where a manifest names the image of a container.
func imagePlace(s *translate.Pod, c corev1.Container) string {
	if s.Object == nil {
		return s.ID()
	}
	i := slices.IndexFunc(s.Containers, func(x corev1.Container) bool { return x.Name == c.Name })
	field := embedded.TemplateField(s, fmt.Sprintf("spec.containers[%d].image", i))
	at := s.Object.At(field)
	return fmt.Sprintf("%s:%d:%d: %s %s", at.File, at.Line, at.Column, s.Object.Ref(), field)
}

// environment has variables be expanded that name those before them, as Kubernetes does.
func environment(c corev1.Container, vars map[string]string) map[string]string {
	out := maps.Clone(vars)
	known := maps.Clone(vars)
	for _, e := range c.Env {
		delete(known, e.Name)
	}
	for _, e := range c.Env {
		if value, ok := vars[e.Name]; ok {
			out[e.Name] = expand(value, known)
			known[e.Name] = out[e.Name]
		}
	}
	return out
}

// expandAll has each of a command's words be expanded; nil stays nil.
func expandAll(words []string, vars map[string]string) []string {
	out := slices.Clone(words)
	for i, w := range out {
		out[i] = expand(w, vars)
	}
	return out
}

// reference is $(NAME), or a dollar that is written twice.
var reference = regexp.MustCompile(`\$\$|\$\([^)]*\)`)

// expand replaces $(NAME) by the variable's value; where there is none it stays, and $$ is a dollar
// (Kubernetes, third_party/forked/golang/expansion).
func expand(text string, vars map[string]string) string {
	return reference.ReplaceAllStringFunc(text, func(found string) string {
		if found == "$$" {
			return "$"
		}
		if value, ok := vars[found[2:len(found)-1]]; ok {
			return value
		}
		return found
	})
}

// probe watches whether a service of the user's own is ready, as its readiness probe says, or as
// long as its first port takes connections.
func (p *pod) probe(c corev1.Container) {
	period := time.Second
	if r := c.ReadinessProbe; r != nil && r.PeriodSeconds > 0 {
		period = time.Duration(r.PeriodSeconds) * time.Second
	}
	ready, first := false, true
	for p.ended.Err() == nil {
		now := p.probed(c, period)
		if now != ready {
			ready = now
			err := p.w.mesh.SetReady(p.ended, p, ready)
			if err != nil && p.ended.Err() == nil && p.w.mesh.Ended().Err() == nil {
				p.w.log.Warn("not all proxies know whether a pod is ready", "pod", p.Spec().ID(),
					"err", err)
			}
			if ready && first {
				first = false
				close(p.becomes)
			}
		}
		pause := period
		if first {
			pause = min(period, firstPause)
		}
		select {
		case <-time.After(pause):
		case <-p.ended.Done():
		}
	}
}

// firstPause is how often a service that has not been ready yet is looked at.
const firstPause = 100 * time.Millisecond

// probed looks once, in the pod's own network.
func (p *pod) probed(c corev1.Container, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(p.ended, patience)
	defer cancel()
	var h *corev1.HTTPGetAction
	port := uint16(0)
	if len(c.Ports) > 0 {
		port = uint16(c.Ports[0].ContainerPort)
	}
	if r := c.ReadinessProbe; r != nil {
		h = r.HTTPGet
		if h != nil {
			port = portOf(c, h.Port)
		} else if r.TCPSocket != nil {
			port = portOf(c, r.TCPSocket.Port)
		}
	}
	if port == 0 {
		return true // it says of no port that it listens there
	}
	at := netip.AddrPortFrom(localhost, port).String()
	if h == nil {
		conn, err := p.w.door.Dial(ctx, p.Spec().IP, at)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+h.Path, nil)
	if err != nil {
		return false
	}
	for _, header := range h.HTTPHeaders {
		q.Header.Set(header.Name, header.Value)
	}
	r, err := p.inside(at).RoundTrip(q)
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode >= 200 && r.StatusCode < 400
}

// portOf is the number of a port of a container.
func portOf(c corev1.Container, p intstr.IntOrString) uint16 {
	for _, cp := range c.Ports {
		if p.Type == intstr.String && cp.Name == p.StrVal {
			return uint16(cp.ContainerPort)
		}
	}
	return uint16(p.IntVal)
}

// inside is HTTP to an address in the pod's network.
func (p *pod) inside(at string) *http.Transport {
	return &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return p.w.door.Dial(ctx, p.Spec().IP, at)
		}}
}

// listenOn has the app listen on further ports.
func (p *pod) listenOn(ctx context.Context, ports []uint16) error {
	if len(ports) == 0 {
		return nil
	}
	text, err := json.Marshal(ports)
	if err != nil {
		return err
	}
	at := netip.AddrPortFrom(localhost, part.AppPort).String()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://app/ports",
		bytes.NewReader(text))
	if err != nil {
		return err
	}
	r, err := p.inside(at).RoundTrip(q)
	if err != nil {
		return fmt.Errorf("the app of %s is to listen on %v: %w", p.Spec().ID(), ports, err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		var b bytes.Buffer
		b.ReadFrom(r.Body) //nolint:errcheck // the status says enough
		return errors.New(strings.TrimSpace(b.String()))
	}
	return nil
}

// anyBroken says whether a part of the pod is killed or paused.
func (p *pod) anyBroken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.broken {
		if n > 0 {
			return true
		}
	}
	return false
}
