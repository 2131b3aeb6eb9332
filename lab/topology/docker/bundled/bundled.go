// Package bundled is a bundled app as a process of its own, in a pod's name space: it listens where
// its Config says, and on what it is told later; what it sends leaves through the kernel, which
// hands it to the sidecar.
package bundled

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/sampleapps"
	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/model"
)

// Config says which app, and what it knows of its pod. It is JSON, for the process.
type Config struct {
	App       string            `json:"app"` // its bundled name
	Image     string            `json:"image"`
	Pod       string            `json:"pod"`
	Workload  string            `json:"workload"`
	Namespace string            `json:"namespace"`
	Version   string            `json:"version,omitempty"`
	Host      string            `json:"host,omitempty"`
	Vars      map[string]string `json:"vars,omitempty"`
	Seed      uint64            `json:"seed"`
	Ports     []uint16          `json:"ports,omitempty"` // where it listens
	// Told is where it is told of more ports: POST /ports with a JSON list. Loopback only.
	Told string `json:"told,omitempty"`
}

// process is one app that runs.
type process struct {
	server *http.Server
	serve  sync.WaitGroup

	mu    sync.Mutex
	begun bool     // STARTUP is over
	ports []uint16 // where it listens, or will
}

// Main runs an app until ctx ends. It listens when its STARTUP is over.
func Main(ctx context.Context, c Config, log *slog.Logger) error {
	a, ok := sampleapps.Lookup(c.App)
	if !ok {
		return fmt.Errorf("no app %q is bundled", c.App)
	}
	real := clock.NewReal()
	transport := &http.Transport{
		MaxIdleConnsPerHost: 256, DisableCompression: true, IdleConnTimeout: 90 * time.Second,
	}
	defer transport.CloseIdleConnections()
	handler, err := a.Start(app.Env{
		Pod: c.Pod, Workload: c.Workload, Namespace: c.Namespace, Version: c.Version,
		Vars: c.Vars, Image: c.Image, Host: c.Host, Clock: real, Log: log, Closed: ctx,
		Seed: c.Seed, Client: app.Client(transport),
	})
	if err != nil {
		return err
	}
	behaves, _ := model.Read(c.Vars) // Start has read it
	p := &process{}
	if handler != nil {
		p.server = app.NewServer(handler, a.HTTP2, log)
		defer func() { p.server.Close(); p.serve.Wait() }()
	}
	if err := p.listen(ctx, c.Ports); err != nil {
		return err
	}
	begin := func() {
		if err := p.begin(ctx); err != nil {
			log.Error("does not listen", "err", err)
		}
	}
	if behaves.Startup > 0 {
		defer real.AfterFunc(behaves.Startup, begin)()
	} else if err := p.begin(ctx); err != nil {
		return err
	}
	return p.told(ctx, c.Told)
}

// begin has it listen.
func (p *process) begin(ctx context.Context) error {
	p.mu.Lock()
	p.begun = true
	ports := p.ports
	p.ports = nil
	p.mu.Unlock()
	return p.listen(ctx, ports)
}

// listen has it serve on further ports, once it has begun.
func (p *process) listen(ctx context.Context, ports []uint16) error {
	if p.server == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, port := range ports {
		if slices.Contains(p.ports, port) {
			continue
		}
		p.ports = append(p.ports, port)
		if !p.begun {
			continue
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.serve.Go(func() {
			app.Serve(p.server, l, int(port)) //nolint:errcheck // it ends with the server
		})
	}
	return errors.Join(errs...)
}

// told waits for the end, and meanwhile for more ports.
func (p *process) told(ctx context.Context, at string) error {
	if at == "" {
		<-ctx.Done()
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", at)
	if err != nil {
		return err
	}
	h := &http.Server{ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var ports []uint16
			err := json.NewDecoder(r.Body).Decode(&ports)
			if err == nil {
				err = p.listen(context.WithoutCancel(r.Context()), ports)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		})}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
