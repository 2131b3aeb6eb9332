package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
)

// start runs hop i (0 is the client's side) of a row at addr in front of to.
type start func(ctx context.Context, i int, addr, to string) (*process, error)

// target is a row: a chain of hops in front of the backend.
type target struct {
	name  string // of the program
	hops  int
	start start // nil for no hop
	// reporting makes start for hops that report to a receiver of records, which the row then
	// has; nil: they do not.
	reporting func(receiver string) start

	// handshakes: each request is a handshake, of which there can not be paced many a second; the
	// row has no times.
	handshakes bool

	entry    string
	running  []*process
	receiver *receiver
	requests int // asked for
	samples  []sample
}

// The rows that others are compared with.
const (
	reverseProxy = "ReverseProxy"
	envoyRecords = "Envoy sidecar + records"
)

// String is the row's name.
func (t *target) String() string {
	if t.hops == 0 {
		return t.name
	}
	return fmt.Sprintf("%s, %d hop%s", t.name, t.hops, strings.Repeat("s", t.hops-1))
}

// lab is where the rows' files are.
type lab struct {
	dir         string
	credentials credentials
}

// targets lists the rows that can be had here, and says what is missing.
func (b *lab) targets(ctx context.Context) (rows []*target, missing []string) {
	rows = []*target{{name: "no proxy"}}
	add := func(t target) {
		for t.hops = 1; t.hops <= 2; t.hops++ {
			row := t
			rows = append(rows, &row)
		}
	}
	secured := func(name string, start func(security) start) {
		rows = append(rows, &target{name: name + " + mTLS", hops: 2, start: start(mutual)},
			&target{name: name + " + mTLS, a connection each", hops: 2,
				handshakes: true, start: start(anew)})
	}
	add(target{name: "mesh-lab sidecar", start: b.ours(plain)})
	secured("mesh-lab sidecar", b.ours)
	if e, err := envoy.Locate(ctx); err == nil {
		add(target{name: "Envoy sidecar", start: b.envoy(e.Path, "", plain)})
		secured("Envoy sidecar", func(s security) start { return b.envoy(e.Path, "", s) })
		add(target{name: envoyRecords, reporting: func(receiver string) start {
			return b.envoy(e.Path, receiver, plain)
		}})
	} else {
		missing = append(missing, "envoy ("+envoy.Ways[0]+"; `mesh-lab doctor` says more)")
	}
	add(target{name: reverseProxy,
		start: func(ctx context.Context, _ int, addr, to string) (*process, error) {
			return startRole(ctx, proxyCore, "reverse", addr, to)
		}})
	if p, err := exec.LookPath("nginx"); err == nil {
		add(target{name: "nginx", start: b.nginx(p)})
	} else {
		missing = append(missing, "nginx")
	}
	if p, err := exec.LookPath("haproxy"); err == nil {
		add(target{name: "HAProxy", start: b.haproxy(p)})
	} else {
		missing = append(missing, "haproxy")
	}
	return rows, missing
}

// file writes the resources of hop i.
func (b *lab) file(i int, addr, to string, how security) (string, error) {
	client, server, err := snapshots()
	if err != nil {
		return "", err
	}
	_, port, _ := strings.Cut(addr, ":")
	file := filepath.Join(b.dir, port+".json")
	if i == 0 {
		return file, b.writeOutbound(file, client, addr, to, how)
	}
	return file, b.writeInbound(file, server, addr, to, how)
}

func (b *lab) ours(how security) start {
	return func(ctx context.Context, i int, addr, to string) (*process, error) {
		file, err := b.file(i, addr, to, how)
		if err != nil {
			return nil, err
		}
		return startRole(ctx, proxyCore, "sidecar", file)
	}
}

// envoy runs the real Envoy with the file that ours is given, reporting to a receiver, if any.
func (b *lab) envoy(binary, receiver string, how security) start {
	return func(ctx context.Context, i int, addr, to string) (*process, error) {
		file, err := b.file(i, addr, to, how)
		if err == nil && receiver != "" {
			err = instrument(file, fmt.Sprint("hop-", i), receiver)
		}
		if err != nil {
			return nil, err
		}
		return startServer(ctx, addr, binary, "-c", file, "--concurrency", "1",
			"--disable-hot-restart", "-l", "error")
	}
}

func (b *lab) nginx(binary string) start {
	return func(ctx context.Context, _ int, addr, to string) (*process, error) {
		_, port, _ := strings.Cut(addr, ":")
		prefix := filepath.Join(b.dir, "nginx-"+port)
		config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s.pid; error_log stderr crit;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 100000000;
 client_body_temp_path %[1]s.1; proxy_temp_path %[1]s.2; fastcgi_temp_path %[1]s.3;
 uwsgi_temp_path %[1]s.4; scgi_temp_path %[1]s.5;
 upstream up { server %[3]s; keepalive 1000; keepalive_requests 100000000; }
 server { listen %[2]s; location / {
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
  proxy_pass http://up; } } }`, prefix, addr, to)
		if err := os.WriteFile(prefix+".conf", []byte(config), 0o600); err != nil {
			return nil, err
		}
		return startServer(ctx, addr, binary, "-c", prefix+".conf")
	}
}

func (b *lab) haproxy(binary string) start {
	return func(ctx context.Context, _ int, addr, to string) (*process, error) {
		_, port, _ := strings.Cut(addr, ":")
		file := filepath.Join(b.dir, "haproxy-"+port+".cfg")
		config := fmt.Sprintf(`global
 nbthread 1
defaults
 mode http
 timeout client 60s
 timeout server 60s
 timeout connect 5s
 http-reuse always
frontend in
 bind %s
 default_backend up
backend up
 server s %s
`, addr, to)
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, err
		}
		return startServer(ctx, addr, binary, "-db", "-f", file)
	}
}
