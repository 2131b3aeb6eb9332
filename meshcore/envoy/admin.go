package envoy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// maxSocketPath is how long a unix socket's path may be on macOS, which allows less than Linux.
const maxSocketPath = 103

// adminAddress chooses an admin socket: abstract on Linux, where it leaves no file and dir may be
// as deep as it likes; elsewhere a short name in dir.
func adminAddress(goos, dir string) (string, error) {
	name := "admin-" + strings.ToLower(rand.Text()[:12])
	if goos == "linux" {
		return "@mesh-lab-envoy-" + name, nil
	}
	path := filepath.Join(dir, name)
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("the path of Envoy's admin socket would have %d bytes, at most %d "+
			"are possible: %s; use a directory with a shorter path", len(path), maxSocketPath, path)
	}
	return path, nil
}

// stem makes a name fit for files: a pod's name alone may have as many bytes as a file's.
func stem(name string) string {
	const most = 200
	if name = strings.ReplaceAll(name, "/", "_"); len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:most] + "-" + hex.EncodeToString(sum[:6])
}

// dialing returns a client whose every request goes to one unix socket.
func dialing(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
}

// Admin is an Envoy's admin interface, wherever the Envoy runs.
type Admin struct {
	name   string
	client *http.Client
}

// NewAdmin returns the admin interface that dial leads to; name is for errors: POD.NAMESPACE.
func NewAdmin(name string, dial func(context.Context) (net.Conn, error)) *Admin {
	return &Admin{name, &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}}
}

// Close ends idle connections to it.
func (p *Admin) Close() { p.client.CloseIdleConnections() }

// Ask asks it: Ask(ctx, "GET", "/clusters?format=json"). An answer that is no success is an error
// with its text.
func (p *Admin) Ask(ctx context.Context, method, path string) ([]byte, error) {
	body, err := p.ask(ctx, method, path)
	if err != nil {
		return nil, fmt.Errorf("the envoy of %s: %s %s: %w", p.name, method, path, err)
	}
	return body, nil
}

func (p *Admin) ask(ctx context.Context, method, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://admin"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := p.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// Stats returns the counters and gauges whose names match filter, a regular expression.
func (p *Admin) Stats(ctx context.Context, filter string) (map[string]uint64, error) {
	path := "/stats?format=json&filter=" + url.QueryEscape(filter)
	body, err := p.Ask(ctx, http.MethodGet, path)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Stats []struct {
			Name  string
			Value any // a number; a text of a text readout; absent at the entry of the histograms
		}
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.UseNumber()
	if err := d.Decode(&answer); err != nil {
		return nil, fmt.Errorf("the envoy of %s: %s: %w", p.name, path, err)
	}
	out := map[string]uint64{}
	for _, s := range answer.Stats {
		if n, ok := s.Value.(json.Number); ok {
			var v uint64
			if _, err := fmt.Sscan(n.String(), &v); err != nil {
				return nil, fmt.Errorf("the envoy of %s: %s is %s", p.name, s.Name, n)
			}
			out[s.Name] = v
		}
	}
	return out, nil
}

// Serves says whether the proxy serves: its listeners are open.
func (p *Admin) Serves(ctx context.Context) bool {
	_, err := p.ask(ctx, http.MethodGet, "/ready")
	return err == nil
}

// Admin asks the admin interface: Admin(ctx, "GET", "/clusters?format=json"). An answer that is no
// success is an error with its text.
func (p *Process) Admin(ctx context.Context, method, path string) ([]byte, error) {
	return p.admin().Ask(ctx, method, path)
}

// Stats returns the counters and gauges whose names match filter, a regular expression.
func (p *Process) Stats(ctx context.Context, filter string) (map[string]uint64, error) {
	return p.admin().Stats(ctx, filter)
}

func (p *Process) admin() *Admin { return &Admin{p.options.Name, p.client} }

// Ready returns when the proxy serves: its listeners are open. The error is that of ctx, or says
// how the process ended before.
func (p *Process) Ready(ctx context.Context) error {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		if p.admin().Serves(ctx) {
			return nil
		}
		select {
		case <-t.C:
		case <-p.exited:
			return p.Err()
		case <-ctx.Done():
			return fmt.Errorf("the envoy of %s is not ready: %w", p.options.Name, ctx.Err())
		}
	}
}
