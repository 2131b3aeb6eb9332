package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
)

// target is a row: a chain of hops in front of the backend.
type target struct {
	name string
	hops int
	// start runs hop i (0 is the client's side) at addr in front of to; nil for no hop.
	start func(ctx context.Context, i int, addr, to string) (*process, error)
	base  string // the row to compare with

	entry   string
	running []*process
	samples []measured
}

// measured is one sample of a row.
type measured struct {
	rps float64
	cpu float64 // ms per 1000 requests, all hops; 0 where it can not be read
}

// lab is where the rows' files are.
type lab struct{ dir string }

// targets lists the rows that can be had here, and says what is missing.
func (b *lab) targets(ctx context.Context) (rows []*target, missing []string) {
	rows = []*target{{name: "no proxy"}}
	add := func(name string, start func(context.Context, int, string, string) (*process, error)) {
		rows = append(rows,
			&target{name: name, hops: 1, start: start, base: "ReverseProxy, 1 hop"},
			&target{name: name, hops: 2, start: start, base: "ReverseProxy, 2 hops"})
	}
	add("mesh-lab sidecar", b.ours)
	add("ReverseProxy", func(ctx context.Context, _ int, addr, to string) (*process, error) {
		return startRole(ctx, proxyCore, "reverse", addr, to)
	})
	if p, err := exec.LookPath("nginx"); err == nil {
		add("nginx", b.nginx(p))
	} else {
		missing = append(missing, "nginx")
	}
	if p, err := exec.LookPath("haproxy"); err == nil {
		add("HAProxy", b.haproxy(p))
	} else {
		missing = append(missing, "haproxy")
	}
	if e, err := envoy.Locate(ctx); err == nil {
		add("Envoy sidecar", b.envoy(e.Path))
	} else {
		missing = append(missing, "envoy ("+envoy.Ways[0]+"; `mesh-lab doctor` says more)")
	}
	for _, t := range rows {
		if t.hops > 0 {
			t.name += fmt.Sprintf(", %d hop%s", t.hops, strings.Repeat("s", t.hops-1))
		}
	}
	return rows, missing
}

// file writes the resources of hop i.
func (b *lab) file(i int, addr, to string) (string, error) {
	client, server, err := snapshots()
	if err != nil {
		return "", err
	}
	_, port, _ := strings.Cut(addr, ":")
	file := filepath.Join(b.dir, port+".json")
	if i == 0 {
		return file, writeOutbound(file, client, addr, to)
	}
	return file, writeInbound(file, server, addr, to)
}

func (b *lab) ours(ctx context.Context, i int, addr, to string) (*process, error) {
	file, err := b.file(i, addr, to)
	if err != nil {
		return nil, err
	}
	return startRole(ctx, proxyCore, "sidecar", file)
}

func (b *lab) envoy(binary string) func(context.Context, int, string, string) (*process, error) {
	return func(ctx context.Context, i int, addr, to string) (*process, error) {
		file, err := b.file(i, addr, to)
		if err != nil {
			return nil, err
		}
		return startServer(ctx, addr, binary, "-c", file, "--concurrency", "1",
			"--disable-hot-restart", "-l", "error")
	}
}

func (b *lab) nginx(binary string) func(context.Context, int, string, string) (*process, error) {
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

func (b *lab) haproxy(binary string) func(context.Context, int, string, string) (*process, error) {
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

// up starts a row's hops, the last first.
func (t *target) up(ctx context.Context, backend string) error {
	t.entry = backend
	for i := t.hops - 1; i >= 0; i-- {
		addr, err := freeAddr()
		if err != nil {
			return err
		}
		p, err := t.start(ctx, i, addr, t.entry)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		t.running, t.entry = append(t.running, p), addr
	}
	return nil
}

func (t *target) down() {
	for _, p := range t.running {
		p.stop()
	}
	t.running = nil
}

// cpu is the time that the hops have run.
func (t *target) cpu() (sum time.Duration, ok bool) {
	ok = len(t.running) > 0
	for _, p := range t.running {
		c, known := cpu(p.cmd.Process.Pid)
		sum, ok = sum+c, ok && known
	}
	return sum, ok
}

// measure takes one sample.
func (t *target) measure(ctx context.Context, d time.Duration) error {
	before, _ := t.cpu()
	s, err := ask(ctx, t.entry, d)
	if err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	after, ok := t.cpu()
	m := measured{rps: float64(s.requests) / s.took.Seconds()}
	if ok {
		m.cpu = (after - before).Seconds() * 1000 / (float64(s.requests) / 1000)
	}
	t.samples = append(t.samples, m)
	return nil
}

// benchProxies measures the rows in ABBA order.
func benchProxies(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "mesh-lab-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &lab{dir: dir}
	rows, missing := b.targets(ctx)
	if len(missing) > 0 {
		fmt.Println("not here, so not compared:", strings.Join(missing, ", "))
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	app, err := startRole(ctx, loadCore, "backend", addr)
	if err != nil {
		return err
	}
	defer app.stop()
	for _, t := range rows {
		defer t.down()
		if err := t.up(ctx, addr); err != nil {
			return err
		}
		if _, err := ask(ctx, t.entry, 300*time.Millisecond); err != nil { // warm
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	rounds := 4
	if o.short {
		rounds = 2
	}
	for i := range rounds {
		order := slices.Clone(rows)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, t := range order {
			if err := t.measure(ctx, time.Second); err != nil {
				return err
			}
		}
	}
	printRows(rows)
	return nil
}

// printRows prints medians, and ratios of medians taken round by round.
func printRows(rows []*target) {
	base := map[string]*target{}
	for _, t := range rows {
		base[t.name] = t
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Printf("\nGET of %d bytes, %d connections, median of %d samples in ABBA order\n", bodySize,
		connections, len(rows[0].samples))
	fmt.Fprintln(w, "\t\tCPU ms\trequests/s\tto ReverseProxy:\t\t\t\n"+
		"\trequests/s\tper 1000\tper core\trequests/s\tCPU\tRSS MB\t")
	for _, t := range rows {
		rate := median(t.samples, func(m measured) float64 { return m.rps })
		busy := median(t.samples, func(m measured) float64 { return m.cpu })
		fmt.Fprintf(w, "%s\t%.0f\t", t.name, rate)
		if t.hops == 0 {
			fmt.Fprintln(w, "\t\t\t\t\t")
			continue
		}
		var times, cost []float64
		for i, m := range t.samples {
			other := base[t.base].samples[i]
			times, cost = append(times, m.rps/other.rps), append(cost, m.cpu/other.cpu)
		}
		identity := func(f float64) float64 { return f }
		fmt.Fprintf(w, "%.1f\t%.0f\t%.2f\t%.2f\t%s\t\n", busy, 1e6/busy, median(times, identity),
			median(cost, identity), t.memory())
	}
	w.Flush()
}

// memory is the resident memory of all hops.
func (t *target) memory() string {
	var sum int64
	for _, p := range t.running {
		n, ok := rss(p.cmd.Process.Pid)
		if !ok {
			return "-"
		}
		sum += n
	}
	return fmt.Sprintf("%.0f", float64(sum)/(1<<20))
}

func median[T any](all []T, of func(T) float64) float64 {
	var v []float64
	for _, a := range all {
		v = append(v, of(a))
	}
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
