package main

import (
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// printRows prints medians; ratios are medians of those taken round by round.
func printRows(rows []*target) {
	n := len(rows[0].samples)
	fmt.Printf("\nGET of %d bytes, %d connections, as fast as they can; median of %d samples in "+
		"ABBA order\n", bodySize, connections, n)
	printRates(rows)
	fmt.Printf("\nthe same at %d requests/s; what a row adds to no proxy, round by round\n", paced)
	printTimes(rows)
	fmt.Println("\nmemory of all hops of a row, MB; own is what no other process shares")
	printMemory(rows)
}

func table() *tabwriter.Writer {
	return tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
}

// find returns the row of a program with as many hops as t; nil when it is not there.
func find(rows []*target, name string, t *target) *target {
	i := slices.IndexFunc(rows, func(r *target) bool { return r.name == name && r.hops == t.hops })
	if i < 0 {
		return nil
	}
	return rows[i]
}

// ratio is the median, over the rounds, of t's value to that of another row.
func (t *target) ratio(other *target, of func(sample) float64) string {
	if other == nil {
		return "-"
	}
	var all []float64
	for i, s := range t.samples {
		all = append(all, of(s)/of(other.samples[i]))
	}
	return fmt.Sprintf("%.2f", median(all))
}

func (t *target) median(of func(sample) float64) float64 {
	var all []float64
	for _, s := range t.samples {
		all = append(all, of(s))
	}
	return median(all)
}

func printRates(rows []*target) {
	rate := func(s sample) float64 { return s.rps }
	busy := func(s sample) float64 { return s.cpu }
	w := table()
	fmt.Fprint(w, "\t\tCPU ms\trequests/s\t: ReverseProxy\t\t: Envoy + records\t\treceiver\t\n"+
		"\trequests/s\tper 1000\tper core\trequests/s\tCPU\trequests/s\tCPU\tCPU ms\t\n")
	for _, t := range rows {
		fmt.Fprintf(w, "%s\t%.0f\t", t, t.median(rate))
		if t.hops == 0 {
			fmt.Fprint(w, "\t\t\t\t\t\t\t\n")
			continue
		}
		cost := t.median(busy)
		fmt.Fprintf(w, "%.1f\t%.0f\t", cost, 1e6/cost)
		for _, name := range []string{reverseProxy, envoyRecords} {
			other := find(rows, name, t)
			fmt.Fprintf(w, "%s\t%s\t", t.ratio(other, rate), t.ratio(other, busy))
		}
		if r := t.median(func(s sample) float64 { return s.receiver }); r > 0 {
			fmt.Fprintf(w, "%.1f", r)
		}
		fmt.Fprint(w, "\t\n")
	}
	w.Flush()
}

// printTimes prints what each row adds to the times without proxy.
func printTimes(rows []*target) {
	none := rows[0]
	w := table()
	fmt.Fprint(w, "\tµs\t\tadded\t\t: Envoy + records\t\t\n\tp50\tp99\tp50\tp99\tp50\tp99\t\n")
	for _, t := range rows {
		p50 := func(s sample) float64 { return micro(s.p50) }
		p99 := func(s sample) float64 { return micro(s.p99) }
		if t.handshakes {
			continue
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t", t, t.median(p50), t.median(p99))
		if t.hops == 0 {
			fmt.Fprint(w, "\t\t\t\t\n")
			continue
		}
		fmt.Fprintf(w, "%.0f\t%.0f\t", median(t.added(none, p50)), median(t.added(none, p99)))
		other := find(rows, envoyRecords, t)
		for _, of := range []func(sample) float64{p50, p99} {
			if other == nil {
				fmt.Fprint(w, "-\t")
				continue
			}
			fmt.Fprintf(w, "%.2f\t", median(t.added(none, of))/median(other.added(none, of)))
		}
		fmt.Fprint(w, "\n")
	}
	w.Flush()
}

func micro(d time.Duration) float64 { return float64(d) / 1e3 }

// added is how much more t's value is than without proxy, for each round.
func (t *target) added(none *target, of func(sample) float64) (all []float64) {
	for i, s := range t.samples {
		all = append(all, of(s)-of(none.samples[i]))
	}
	return all
}

func printMemory(rows []*target) {
	w := table()
	fmt.Fprint(w, "\tRSS\tPSS\town\tRSS : Envoy + records\town : Envoy + records\t\n")
	for _, t := range rows {
		m, ok := t.memory()
		if t.hops == 0 || !ok {
			continue
		}
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t", t, mega(m.rss), mega(m.pss), mega(m.own))
		other := find(rows, envoyRecords, t)
		if other == nil {
			fmt.Fprint(w, "-\t-\t\n")
			continue
		}
		o, _ := other.memory()
		fmt.Fprintf(w, "%.2f\t%.2f\t\n", mega(m.rss)/mega(o.rss), mega(m.own)/mega(o.own))
	}
	w.Flush()
}

func mega(n int64) float64 { return float64(n) / (1 << 20) }

// memory is what a process has, in bytes.
type memory struct {
	rss int64
	pss int64 // with its part of what it shares
	own int64 // shared with nobody
}

// memory is that of all hops.
func (t *target) memory() (sum memory, ok bool) {
	for _, p := range t.running {
		m, ok := memoryOf(p.cmd.Process.Pid)
		if !ok {
			return sum, false
		}
		sum.rss, sum.pss, sum.own = sum.rss+m.rss, sum.pss+m.pss, sum.own+m.own
	}
	return sum, true
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
