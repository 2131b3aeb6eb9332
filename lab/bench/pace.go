package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"fortio.org/fortio/periodic"
	"fortio.org/log"
)

// paced is how many requests a second are sent when it is times that are measured: far less than
// any proxy can serve, so that no time is spent in queues.
const paced = 1000

// times are what requests took.
type times struct {
	requests int
	p50, p99 time.Duration
}

// askPaced sends paced requests a second, evenly spread, and tells how long they took.
func askPaced(ctx context.Context, addr string, d time.Duration) (t times, err error) {
	p := command(ctx, loadCore, self(), "pace", addr, d.String())
	out, err := p.cmd.Output()
	if err != nil {
		return t, fmt.Errorf("pace: %w %s", err, p.log.String())
	}
	_, err = fmt.Sscan(string(out), &t.requests, (*int64)(&t.p50), (*int64)(&t.p99))
	return t, err
}

// pacer is one connection of the load.
type pacer struct {
	*client
	took   []time.Duration
	failed error
}

// Run sends one request, for fortio.
func (p *pacer) Run(context.Context, periodic.ThreadID) (ok bool, details string) {
	if p.failed != nil {
		return false, ""
	}
	began := time.Now()
	p.failed = p.ask()
	p.took = append(p.took, time.Since(began))
	return p.failed == nil, ""
}

// pace has fortio's periodic runner send requests and prints how many, and percentiles of what they
// took, in nanoseconds.
func pace(args []string) error {
	d, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	log.SetLogLevelQuiet(log.Critical)
	r := periodic.NewPeriodicRunner(&periodic.RunnerOptions{
		RunType: "bench", QPS: paced, NumThreads: connections, Uniform: true, Duration: d,
		Resolution: 1e-6, Out: io.Discard,
	})
	defer r.Options().ReleaseRunners()
	var pacers []*pacer
	for i := range connections {
		c, err := dial(args[0])
		if err != nil {
			return err
		}
		defer c.Close()
		pacers = append(pacers, &pacer{client: c})
		r.Options().Runners[i] = pacers[i]
	}
	r.Run()
	var all []time.Duration
	for i, p := range pacers {
		if p.failed != nil {
			return fmt.Errorf("connection %d: %w", i, p.failed)
		}
		all = append(all, p.took...)
	}
	slices.Sort(all)
	at := func(q float64) int64 { return int64(all[int(q*float64(len(all)-1))]) }
	fmt.Println(len(all), at(0.5), at(0.99))
	return nil
}
