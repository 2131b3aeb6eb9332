package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"fortio.org/fortio/fhttp"
	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/lab/remote"
)

// fortioFlags are fortio's flags as it spells them; its defaults are its own.
type fortioFlags struct {
	src                   source
	lab, qps, percentiles string
	jsonFile, logLevel    string
	resolution            float64
	l                     remote.Load
	allowInitialErrors    bool
	keepalive             bool
}

func loadCommand(e *env) *cobra.Command {
	var f fortioFlags
	c := &cobra.Command{
		Use:   "load --from WORKLOAD [fortio's flags] URL",
		Short: "Drive fortio load from inside the mesh, and see the split by destination version",
		Long: `Drives fortio load as a workload, through its own sidecar, and prints fortio's report
and how the requests were split by destination version. The flags are fortio's: -c -qps -t -n -H
-json -r -p ...`,
		Example: `  mesh-lab load --from curl -c 8 -qps 500 -t 10s http://customer:8080/
  mesh-lab load --app customer --from curl -c 4 -qps 0 -n 1000 http://customer:8080/`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return e.load(c, &f, args[0]) },
	}
	sourceFlags(c, &f.src)
	labFlag(c, &f.lab)
	fl := c.Flags()
	fl.StringVar(&f.l.From, "from", "", "WORKLOAD[.NAMESPACE], or outside")
	fl.StringVar(&f.l.Gateway, "gateway", "", "for outside: the gateway")
	fl.IntVarP(&f.l.Connections, "connections", "c", 4, "connections")
	fl.StringVar(&f.qps, "qps", "8", "queries per second of all connections; 0 or max: no limit")
	fl.DurationVarP(&f.l.Duration, "time", "t", 5*time.Second, "how long; 0: until Ctrl-C")
	fl.Int64VarP(&f.l.Requests, "count", "n", 0, "exactly so many requests in place of a time")
	fl.StringArrayVarP(&f.l.Headers, "header", "H", nil, "header 'name: value'")
	fl.StringVarP(&f.l.Method, "method", "X", "", "method")
	fl.StringVar(&f.l.Body, "payload", "", "body")
	fl.DurationVar(&f.l.Timeout, "timeout", fhttp.HTTPReqTimeOutDefaultValue, "of one request")
	fl.StringVarP(&f.percentiles, "percentiles", "p", "50,75,90,99,99.9", "percentiles to print")
	fl.Float64VarP(&f.resolution, "resolution", "r", 0.0001, "of the histogram, in seconds")
	fl.BoolVar(&f.l.Uniform, "uniform", false, "spread the connections' requests evenly")
	fl.BoolVar(&f.l.Jitter, "jitter", false, "vary the intervals by 10 %")
	fl.BoolVar(&f.l.NoCatchUp, "nocatchup", false, "do not catch up after a slow answer")
	fl.BoolVar(&f.keepalive, "keepalive", true, "keep connections")
	fl.StringVar(&f.l.Labels, "labels", "", "labels of the result")
	fl.StringVar(&f.jsonFile, "json", "", "write fortio's result to FILE, - for stdout")
	fl.StringVar(&f.logLevel, "loglevel", "Info", "fortio's; Warning and above print no histogram")
	fl.BoolVar(&f.allowInitialErrors, "allow-initial-errors", true, "as fortio; always so here")
	return c
}

// longFlags lets fortio's users write its flags as they do: -qps 0, -loglevel Warning.
func longFlags(c *cobra.Command, args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		if a == "--" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(a, "-"), "=")
		if strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && len(name) > 1 &&
			c.Flags().Lookup(name) != nil {
			out[i] = "-" + a
		}
	}
	return out
}

func (e *env) load(c *cobra.Command, f *fortioFlags, url string) (err error) {
	l := f.l
	l.URL, l.KeepAlive = url, f.keepalive
	l.Resolution = time.Duration(f.resolution * float64(time.Second))
	if f.qps != "max" {
		if l.QPS, err = strconv.ParseFloat(f.qps, 64); err != nil || l.QPS < 0 {
			return usage("-qps %q: want a number, 0 or max", f.qps)
		}
	}
	for p := range strings.SplitSeq(f.percentiles, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(p), 64)
		if err != nil || v < 0 || v > 100 {
			return usage("-p %q: want percentages, such as 50,99,99.9", f.percentiles)
		}
		l.Percentiles = append(l.Percentiles, v)
	}
	if l.Connections < 1 {
		return usage("-c %d: want at least 1", l.Connections)
	}
	if l.Requests > 0 {
		l.Duration = 0
	}
	client, closeLab, err := e.lab(c.Context(), f.src, f.lab)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, environment(closeLab())) }()
	tty := isTerminal(e.err)
	end, err := client.Load(c.Context(), l, func(sent int64) {
		if tty {
			fmt.Fprintf(e.err, "\r%d requests", sent)
		}
	})
	if tty {
		fmt.Fprint(e.err, "\r\x1b[K")
	}
	if err != nil {
		return answered(err)
	}
	return e.printLoad(f, end)
}

// printLoad prints fortio's report and the split by version.
func (e *env) printLoad(f *fortioFlags, end remote.LoadEvent) error {
	if f.jsonFile == "-" {
		_, err := fmt.Fprintf(e.out, "%s\n", end.Fortio)
		return err
	}
	if f.jsonFile != "" {
		if err := os.WriteFile(f.jsonFile, end.Fortio, 0o644); err != nil {
			return environment(clean(err))
		}
	}
	var r fhttp.HTTPRunnerResults
	if err := json.Unmarshal(end.Fortio, &r); err != nil {
		return environment(err)
	}
	h := r.DurationHistogram
	if f.logLevel == "Info" || f.logLevel == "Verbose" || f.logLevel == "Debug" {
		h.Print(e.out, "Function Time")
	} else {
		fmt.Fprintf(e.out,
			"Aggregated Function Time : count %d avg %.6g +/- %.4g min %.6g max %.6g sum %.6g\n",
			h.Count, h.Avg, h.StdDev, h.Min, h.Max, h.Sum)
		for _, p := range h.Percentiles {
			fmt.Fprintf(e.out, "# target %g%% %.6g\n", p.Percentile, p.Value)
		}
	}
	fmt.Fprintf(e.out, "Sockets used: %d (for perfect keepalive, would be %d)\n", r.SocketCount,
		r.NumThreads)
	for _, code := range slices.Sorted(maps.Keys(r.RetCodes)) {
		n := r.RetCodes[code]
		fmt.Fprintf(e.out, "Code %3d : %d (%.1f %%)\n", code, n, 100*float64(n)/float64(h.Count))
	}
	fmt.Fprintf(e.out, "All done %d calls %.3f ms avg, %.1f qps\n",
		h.Count, 1000*h.Avg, r.ActualQPS)
	return e.printSplits(end.Splits)
}

// printSplits prints what each version received.
func (e *env) printSplits(splits []remote.Split) error {
	total := map[string]int64{}
	for _, s := range splits {
		total[s.Service] += s.Requests
	}
	w := e.table()
	fmt.Fprintln(w, "\nSERVICE\tVERSION\tREQUESTS\tSHARE\tSTATUS\tFLAGS")
	for _, s := range splits {
		fmt.Fprintf(w, "%s\t%s\t%d\t%.1f %%\t%s\t%s\n", s.Service, orDash(s.Version), s.Requests,
			100*float64(s.Requests)/float64(total[s.Service]), counts(s.Statuses), counts(s.Flags))
	}
	return w.Flush()
}

// counts prints "200:90 503:10".
func counts(m map[string]int64) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s:%d", k, m[k]))
	}
	return orDash(strings.Join(out, " "))
}
