package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// sample is one measurement of a row.
type sample struct {
	rps      float64
	cpu      float64 // ms per 1000 requests, all hops; 0 where it can not be read
	receiver float64 // the same of the receiver of their records
	times            // at paced requests a second
}

// up starts a row's hops, the last first.
func (t *target) up(ctx context.Context, backend string) (err error) {
	t.entry = backend
	if t.reporting != nil {
		if t.receiver, err = startRecords(ctx); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		t.start = t.reporting(t.receiver.addr)
	}
	for i := t.hops - 1; i >= 0; i-- {
		addr, err := freeAddr()
		if err != nil {
			return err
		}
		p, err := t.start(ctx, i, addr, t.entry)
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		t.running, t.entry = append(t.running, p), addr
	}
	return nil
}

// down ends the row's processes. A request without record would be an unfair advantage.
func (t *target) down() error {
	for _, p := range t.running {
		p.stop()
	}
	t.running = nil
	if t.receiver == nil {
		return nil
	}
	n, err := t.receiver.count()
	t.receiver = nil
	if want := t.requests * t.hops; err == nil && n < want {
		err = fmt.Errorf("%s: %d records of %d requests at %d hops", t, n, t.requests, t.hops)
	}
	return err
}

// cpu is the time that processes have run.
func cpuOf(all []*process) (sum time.Duration, ok bool) {
	ok = len(all) > 0
	for _, p := range all {
		c, known := cpu(p.cmd.Process.Pid)
		sum, ok = sum+c, ok && known
	}
	return sum, ok
}

// measureRate sends as many requests as can be.
func (t *target) measureRate(ctx context.Context, d time.Duration) error {
	var receiver []*process
	if t.receiver != nil {
		receiver = append(receiver, t.receiver.process)
	}
	before, _ := cpuOf(t.running)
	receiverBefore, _ := cpuOf(receiver)
	l, err := ask(ctx, t.entry, d)
	if err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	after, ok := cpuOf(t.running)
	s := sample{rps: float64(l.requests) / l.took.Seconds()}
	each := func(d time.Duration) float64 { return d.Seconds() * 1e6 / float64(l.requests) }
	if ok {
		s.cpu = each(after - before)
	}
	if receiverAfter, ok := cpuOf(receiver); ok {
		s.receiver = each(receiverAfter - receiverBefore)
	}
	t.requests += l.requests
	t.samples = append(t.samples, s)
	return nil
}

// measureTimes completes a sample with the times of paced requests.
func (t *target) measureTimes(ctx context.Context, round int, d time.Duration) (err error) {
	s := &t.samples[round]
	if s.times, err = askPaced(ctx, t.entry, d); err != nil {
		return fmt.Errorf("%s: %w", t, err)
	}
	t.requests += s.times.requests
	return nil
}

// benchProxies measures the rows in ABBA order.
func benchProxies(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "mesh-lab-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &lab{dir: dir}
	if b.credentials, err = newCredentials(); err != nil {
		return err
	}
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
		defer func() { err = errors.Join(err, t.down()) }()
		if err := t.up(ctx, addr); err != nil {
			return err
		}
		warm, err := ask(ctx, t.entry, 300*time.Millisecond)
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		t.requests += warm.requests
	}
	if err := measureAll(ctx, rows, o); err != nil {
		return err
	}
	printRows(rows)
	return nil
}

// measureAll takes all rates first and then all times: what the system still has to do behind a row
// that kept a core busy would be in the times of the next.
func measureAll(ctx context.Context, rows []*target, o options) error {
	rounds := 6
	if o.short {
		rounds = 2
	}
	each := func(f func(t *target, round int) error) error {
		for i := range rounds {
			order := slices.Clone(rows)
			if i%2 == 1 {
				slices.Reverse(order)
			}
			for _, t := range order {
				if err := f(t, i); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := each(func(t *target, _ int) error {
		return t.measureRate(ctx, time.Second)
	}); err != nil {
		return err
	}
	return each(func(t *target, round int) error {
		if t.handshakes {
			return nil
		}
		return t.measureTimes(ctx, round, time.Second)
	})
}
