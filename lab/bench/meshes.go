package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
)

// split is a VirtualService and subsets whose weights every sidecar must learn.
func split(v1 int) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server, namespace: default}
spec:
  hosts: [server]
  http:
    - route:
        - {destination: {host: server}, weight: %d}
        - {destination: {host: svc-0}, weight: %d}
`, v1, 100-v1)
}

// benchApply measures the time from an apply to the last ACK of 100 sidecars.
func benchApply(ctx context.Context, o options) error {
	applies := 200
	if o.short {
		applies = 50
	}
	yaml := services(14, 7)
	first, err := read(yaml + split(50))
	if err != nil {
		return err
	}
	m, err := embedded.Driver{}.Up(ctx, topology.Spec{Config: first, Seed: 1})
	if err != nil {
		return err
	}
	stop := profile()
	defer stop()
	defer m.Close(context.WithoutCancel(ctx)) //nolint:errcheck // the numbers are there
	var all []time.Duration
	total := 0
	before, _ := cpu(os.Getpid())
	for i := range applies {
		c, err := read(yaml + split(i%100))
		if err != nil {
			return err
		}
		began := time.Now()
		a, err := m.Apply(ctx, c)
		if err != nil {
			return err
		}
		all, total = append(all, time.Since(began)), a.Proxies
	}
	after, _ := cpu(os.Getpid())
	slices.Sort(all)
	at := func(q float64) time.Duration {
		return all[min(len(all)-1, int(q*float64(len(all))))].Round(100 * time.Microsecond)
	}
	fmt.Printf("\napply of a VirtualService to the last ACK of %d sidecars, %d times: "+
		"p50 %v, p99 %v, max %v; CPU %v each\n", total, applies, at(0.5), at(0.99), at(1),
		((after - before) / time.Duration(applies)).Round(100*time.Microsecond))
	return nil
}

// mesh is a mesh of n pods that says what it needs: resident memory and heap in bytes, and what its
// Envoys, if it has any, share with nobody.
func mesh(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	c, err := read(services(10, n))
	if err != nil {
		return err
	}
	d := embedded.Driver{Proxy: args[1]}
	m, err := d.Up(context.Background(), topology.Spec{Config: c, Seed: 1})
	if err != nil {
		return err
	}
	for range 3 {
		runtime.GC()
	}
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	r, _ := rss(os.Getpid())
	fmt.Println(len(m.Proxies()), r, s.HeapAlloc+s.StackInuse, children())
	return m.Close(context.Background())
}

// size is what a mesh said.
type size struct {
	n                 int
	rss, heap, envoys float64
}

func sizeOf(ctx context.Context, replicas int, proxy string) (s size, err error) {
	p := command(ctx, anyCore, self(), "mesh", strconv.Itoa(replicas), proxy)
	out, err := p.cmd.Output()
	if err != nil {
		return s, fmt.Errorf("%w\n%s", err, p.log.String())
	}
	_, err = fmt.Sscan(string(out), &s.n, &s.rss, &s.heap, &s.envoys)
	return s, err
}

// benchMemory compares a mesh with few sidecars and one with a hundred more, and with one whose
// sidecars are Envoys.
func benchMemory(ctx context.Context, _ options) error {
	few, err := sizeOf(ctx, 1, "meshcore")
	if err != nil {
		return err
	}
	many, err := sizeOf(ctx, 11, "meshcore")
	if err != nil {
		return err
	}
	more := float64(many.n - few.n)
	each := (many.rss - few.rss) / more
	fmt.Printf("\nmemory of each sidecar beyond %d (with its app, 12 services): %.0f KB resident, "+
		"%.0f KB heap and stacks; %d sidecars need %.0f MB\n", few.n, each/1024,
		(many.heap-few.heap)/more/1024, many.n, many.rss/(1<<20))
	if _, err := envoy.Locate(ctx); err != nil {
		return nil // the proxies' part has said so
	}
	real, err := sizeOf(ctx, 1, "envoy")
	if err != nil {
		return err
	}
	theirs := real.envoys / float64(real.n)
	fmt.Printf("memory of each of %d Envoys in the same mesh that no other process shares: "+
		"%.0f KB, of which our sidecar is %.3f\n", real.n, theirs/1024, each/theirs)
	return nil
}

// benchStart measures the time from the start of the built binary to the verdict of the first
// scenario, with either data plane.
func benchStart(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "mesh-lab-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "mesh-lab")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/mesh-lab/mesh-lab")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	planes := []string{"meshcore"}
	if _, err := envoy.Locate(ctx); err == nil {
		planes = append(planes, "envoy")
	}
	runs := 5
	if o.short {
		runs = 3
	}
	all := map[string][]time.Duration{}
	for range runs {
		for _, p := range planes {
			took, err := canary(ctx, binary, p)
			if err != nil {
				return err
			}
			all[p] = append(all[p], took)
		}
	}
	fmt.Printf("\nstart of the binary to the verdict of canary.yaml, %d runs\n", runs)
	for _, p := range planes {
		slices.Sort(all[p])
		fmt.Printf("  --proxy %-8s  median %v, slowest %v\n", p, all[p][runs/2], all[p][runs-1])
	}
	return nil
}

// canary runs the scenario once.
func canary(ctx context.Context, binary, proxy string) (time.Duration, error) {
	began := time.Now()
	out, err := exec.CommandContext(ctx, binary, "run", "canary", "--proxy", proxy).CombinedOutput()
	took := time.Since(began)
	if err != nil || !strings.Contains(string(out), "PASS") {
		return 0, errors.Join(fmt.Errorf("canary did not pass with --proxy %s", proxy), err,
			errors.New(string(out)))
	}
	return took.Round(time.Millisecond), nil
}
