// Command bench measures mesh-lab and prints it side by side with what else there is, all in one
// run: `make bench`. Ratios between rows of one run mean something; absolute numbers belong to one
// machine on one day.
//
//	load (core 0) ─▶ hop 1 ─▶ hop 2 (core 1) ─▶ backend (core 0)     each a process of its own
//
// The sidecars, ours and Envoy's, are given the same file, which holds what the translator makes
// for a client and a server pod: the hops differ in nothing but the program. Ours record every
// request; the rows with records are Envoys that report theirs to a receiver, on core 0.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// options are the command line.
type options struct {
	short bool
	only  string
}

func main() {
	var o options
	flag.BoolVar(&o.short, "short", false, "fewer and shorter samples")
	flag.StringVar(&o.only, "only", "", "one part: proxies, apply, memory, start or watch")
	flag.Parse()
	if flag.NArg() > 0 {
		if err := play(flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// parts are what is measured, in order.
var parts = []struct {
	name string
	run  func(context.Context, options) error
}{
	{"proxies", benchProxies}, {"apply", benchApply},
	{"memory", benchMemory}, {"start", benchStart}, {"watch", benchWatch},
}

func bench(ctx context.Context, o options) error {
	fmt.Printf("%s/%s, %d cores, %s\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
		runtime.Version())
	if others := loadAverage(); others != "" {
		fmt.Printf("load average before this run %s: where others are busy, CPU per request "+
			"holds, requests/s and times do not\n", others)
	}
	for _, p := range parts {
		if o.only != "" && o.only != p.name {
			continue
		}
		if err := p.run(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return ctx.Err()
}

// roles are what this program can be when it starts itself.
var roles = map[string]func(args []string) error{
	"backend": backend, "sidecar": sidecar, "reverse": reverse, "load": load, "mesh": mesh,
	"pinned": pinned, "pace": pace, "records": records,
}

func play(args []string) error {
	r := roles[args[0]]
	if r == nil {
		return fmt.Errorf("no role %q", args[0])
	}
	return r(args[1:])
}
