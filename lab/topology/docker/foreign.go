package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/part"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

// foreign says whether a pod's app is the user's own: none of its images stands for a bundled app.
func (w *world) foreign(s *translate.Pod) (corev1.Container, bool) {
	if s.Role == translate.Gateway || w.spec.UnknownImage != "" {
		return corev1.Container{}, false
	}
	if _, _, err := embedded.Bundled(s, ""); err == nil {
		return corev1.Container{}, false
	}
	c := firstContainer(s)
	return c, c.Image != "" && s.Annotations["mesh-lab.dev/app"] == ""
}

// startForeign starts an image of the user's own; Docker pulls it.
func (p *pod) startForeign(ctx context.Context, s *translate.Pod, c corev1.Container) error {
	return fmt.Errorf("image %q: not there yet", c.Image)
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
	h := &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return p.w.door.Dial(ctx, p.Spec().IP, at)
		}}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://app/ports",
		bytes.NewReader(text))
	if err != nil {
		return err
	}
	r, err := h.RoundTrip(q)
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
