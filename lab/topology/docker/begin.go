package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/part"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/tunnel"
	"github.com/mesh-lab/mesh-lab/meshcore/observe/sent"
)

// Bounds of what Docker may take: of a machine that has much else to do, too.
const (
	closePatience = 2 * time.Minute
	startPatience = 3 * time.Minute
)

// begin makes images, the network, and what all pods have in common.
func (w *world) begin(ctx context.Context) error {
	w.begun = make(chan struct{})
	w.token = rand.Text()
	if err := w.images(ctx); err != nil {
		return err
	}
	w.driver.progress("starting the control plane and DNS")
	var err error
	if w.lab, err = w.engine.NewLab(ctx); err != nil {
		return err
	}
	// Each knows the addresses of all: they start at once.
	failed := make(chan error, 3)
	go func() { failed <- w.startHub(ctx) }()
	go func() { failed <- w.startNames(ctx) }()
	go func() { failed <- w.startControl(ctx) }()
	if err := errors.Join(<-failed, <-failed, <-failed); err != nil {
		return err
	}
	if err := w.door.Wait(ctx, part.DNSIP); err != nil {
		return fmt.Errorf("the lab's DNS: %w\n%s", err, w.names.Tail(ctx, 10))
	}
	err = w.door.Call(ctx, netip.Addr{}, "able to hold", nil, nil)
	if err != nil {
		w.unheld = fmt.Errorf("docker: the kernel can not queue packets, which delay, jitter, "+
			"bandwidth, reset and half-open links need (NFQUEUE): %w", err)
	}
	return w.control.join(ctx)
}

// images makes those that are not there yet.
func (w *world) images(ctx context.Context) error {
	i, err := w.engine.Part(ctx)
	if err != nil {
		return err
	}
	w.driver.progress("images")
	var made bool
	if w.image, made, err = w.engine.Ensure(ctx, i); err != nil {
		return err
	}
	w.log.Info("image of the lab's parts", "image", w.image, "made", made)
	if w.driver.Proxy != "envoy" {
		return nil
	}
	i, pull, version, err := w.engine.Envoy(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", topology.ErrEnvoy, err)
	}
	if w.envoy = pull; pull == "" {
		w.envoy, made, err = w.engine.Ensure(ctx, i)
	}
	w.log.Info("image of Envoy", "image", w.envoy, "made", made, "version", version)
	return err
}

// startPart starts a container of the lab's own image.
func (w *world) startPart(
	ctx context.Context, kind string, config any, s engine.Spec,
) (*engine.Container, error) {
	text, err := part.Encode(config)
	if err != nil {
		return nil, err
	}
	s.Image, s.Cmd = w.image, []string{"part", kind}
	s.Env = map[string]string{part.Variable: text}
	if kind != "hub" { // all of the lab's connections pass it
		// A worker each, as the Envoys have it. Go's threads otherwise look for work from each
		// other whenever a message comes: with some twenty processes that costs more than the work.
		s.Env["GOMAXPROCS"] = "1"
	}
	if s.Part == "" {
		s.Part = kind
	}
	if s.Line == nil {
		s.Line = w.said(s)
	}
	return w.lab.Start(ctx, s)
}

// said logs what a part of the lab writes.
func (w *world) said(s engine.Spec) func([]byte, bool) {
	return func(line []byte, _ bool) {
		w.log.Debug(string(line), "pod", s.Pod, "part", s.Part)
	}
}

// startHub starts the lab's door, and goes through it.
func (w *world) startHub(ctx context.Context) error {
	c, err := w.startPart(ctx, "hub",
		part.Hub{IP: part.HubIP, Token: w.token, Outside: topology.OutsideAddr},
		engine.Spec{NetAdmin: true, Publish: []engine.Published{{Port: part.HubPort}}})
	if err != nil {
		return err
	}
	w.hub = c
	at, err := c.Port(ctx, part.HubPort)
	if err != nil {
		return errors.Join(err, errors.New(c.Tail(ctx, 10)))
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		w.door, err = tunnel.Dial(ctx, at.String(), w.token, w.clock)
		if err == nil {
			break
		}
		select { // Docker's own proxy listens before the hub does
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the hub at %s does not answer: %w\n%s", at, err, c.Tail(ctx, 10))
		}
	}
	if w.envoy != "" {
		w.startReports()
	} else {
		w.told = sent.NewReceiver(sent.ReceiverOptions{
			Sink: w.rec, Token: w.token, Instant: w.door.Instant, AccessLog: w.accessLog,
			Lost: func(node string, n uint64) {
				w.log.Warn("records are lost", "pod", node, "records", n)
			},
		})
	}
	w.served.Go(w.accept)
	return nil
}

// accept takes what comes from inside.
func (w *world) accept() {
	for {
		h, c, err := w.door.Accept()
		if err != nil {
			return
		}
		switch h.Op {
		case tunnel.OpRecords:
			if w.told == nil {
				c.Close()
				continue
			}
			w.served.Go(func() {
				if _, err := w.told.Serve(c); err != nil && w.mesh.Ended().Err() == nil {
					w.log.Warn("records of a proxy", "err", err)
				}
			})
		case tunnel.OpReports:
			if w.reports == nil {
				c.Close()
				continue
			}
			w.reports.take(c)
		default:
			c.Close()
		}
	}
}

// accessLog hands a line of a proxy on. Pods have no disks that anybody reads: a line for a file
// goes where the others go.
func (w *world) accessLog(node, _ string, line []byte) {
	if take := w.spec.AccessLog; take != nil {
		take(node, line)
	}
}

// startNames starts the lab's DNS.
func (w *world) startNames(ctx context.Context) (err error) {
	w.names, err = w.startPart(ctx, "dns", part.DNS{IP: part.DNSIP, Token: w.token},
		engine.Spec{NetAdmin: true, Sysctls: lowPorts})
	return err
}

// lowPorts has everybody bind every port, as in a pod of Kubernetes.
var lowPorts = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"}

// lines is a socket that takes connections from the door.
type lines struct {
	conns chan net.Conn
	done  chan struct{}
}

func newLines() *lines { return &lines{make(chan net.Conn), make(chan struct{})} }

// take hands a connection to who accepts.
func (l *lines) take(c net.Conn) {
	select {
	case l.conns <- c:
	case <-l.done:
		c.Close()
	}
}

// Accept waits for a connection.
func (l *lines) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends it.
func (l *lines) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

// Addr is nobody's.
func (l *lines) Addr() net.Addr { return &net.TCPAddr{} }
