package lab

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fortio.org/fortio/fhttp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mesh-lab/mesh-lab/lab/remote"
)

// fortioFlags are fortio's flags as it spells them; its defaults are its own.
type fortioFlags struct {
	src                   source
	lab, qps, percentiles string
	jsonFile, logLevel    string
	contentType, user     string
	resolution            float64
	l                     remote.Load
	token                 string
	allowInitialErrors    bool
	insecure              bool
	keepalive, quiet      bool
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
		Args: wants(1, 1, "which URL?"),
		RunE: func(c *cobra.Command, args []string) error { return e.load(c, &f, args[0]) },
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		for _, f := range otherFlags {
			if said := err.Error(); strings.HasSuffix(said, "unknown flag: --"+f) ||
				strings.HasSuffix(said, "in -"+f) {
				return usage("fortio's -%s is not carried out; `%s -h` lists what is",
					f, c.CommandPath())
			}
		}
		return usage("%v; `%s -h` lists the flags", err, c.CommandPath())
	})
	sourceFlags(c, &f.src)
	labFlag(c, &f.lab)
	f.add(c.Flags())
	return c
}

// add adds fortio's flags, and who sends.
func (f *fortioFlags) add(fl *pflag.FlagSet) {
	l := &f.l
	fl.StringVar(&l.From, "from", "", "`WORKLOAD[.NAMESPACE]`, or outside")
	fl.StringVar(&l.Gateway, "gateway", "", "for outside: the gateway, `NAME[.NAMESPACE]`")
	fl.IntVarP(&l.Connections, "connections", "c", 4, "`NUMBER` of connections")
	fl.StringVar(&f.qps, "qps", "8", "`QUERIES` per second of all connections; 0 or max: no limit")
	fl.DurationVarP(&l.Duration, "time", "t", 5*time.Second, "`HOW LONG`; 0: until Ctrl-C")
	fl.Int64VarP(&l.Requests, "count", "n", 0, "exactly so `MANY` requests in place of a time")
	fl.StringArrayVarP(&l.Headers, "header", "H", nil, "header `'NAME: VALUE'`")
	fl.StringVarP(&l.Method, "method", "X", "", "`METHOD` (default GET, or POST with a payload)")
	fl.StringVar(&l.Body, "payload", "", "`BODY` of each request")
	fl.DurationVar(&l.Timeout, "timeout", fhttp.HTTPReqTimeOutDefaultValue,
		"`DURATION` of a request")
	fl.StringVarP(&f.percentiles, "percentiles", "p", "50,75,90,99,99.9", "`PERCENTILES` to print")
	fl.Float64VarP(&f.resolution, "resolution", "r", 0.0001, "`SECONDS` of a histogram's bucket")
	fl.BoolVar(&l.Uniform, "uniform", false, "spread the connections' requests evenly")
	fl.BoolVar(&l.Jitter, "jitter", false, "vary the intervals by 10 %")
	fl.BoolVar(&l.NoCatchUp, "nocatchup", false, "do not catch up after a slow answer")
	fl.BoolVar(&f.keepalive, "keepalive", true, "keep connections")
	fl.BoolVar(&f.quiet, "quiet", false, "as -loglevel Error")
	fl.StringVar(&f.contentType, "content-type", "", "`TYPE` of the payload")
	fl.StringVar(&f.user, "user", "", "`USER:PASSWORD` for basic authentication")
	fl.BoolVarP(&f.insecure, "https-insecure", "k", false,
		"as fortio; always so here, unless -cacert is given")
	secureFlags(fl, &l.TLS)
	fl.StringVar(&f.token, "token", "", "send `TOKEN` as Authorization: Bearer; @FILE reads a file")
	fl.StringVar(&l.Labels, "labels", "", "`LABELS` of the result")
	fl.StringVar(&f.jsonFile, "json", "", "write fortio's result to `FILE`, - for stdout")
	fl.StringVar(&f.logLevel, "loglevel", "Info", "`LEVEL`; above Info no histogram is printed")
	fl.BoolVar(&f.allowInitialErrors, "allow-initial-errors", true, "as fortio; always so here")
}

// otherFlags are flags of fortio's that are not carried out.
var otherFlags = []string{
	"a", "abort-on", "access-log-file", "calc-qps", "compression",
	"connection-reuse", "data-dir", "gomaxprocs", "grpc", "h2", "halfclose", "healthservice",
	"http1.0", "log-errors", "mtls", "nc-dont-stop-on-eof", "offset",
	"payload-file", "payload-size", "ping", "profile", "resolve", "s", "sequential-warmup",
	"static-dir",
	"stdclient", "streaming", "sync", "udp-timeout", "unix-socket", "warmup-one-by-one",
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
			(c.Flags().Lookup(name) != nil || c.Flags().ShorthandLookup(name[:1]) == nil ||
				slices.Contains(otherFlags, name)) {
			out[i] = "-" + a
		}
	}
	return out
}

func (e *env) load(c *cobra.Command, f *fortioFlags, url string) (err error) {
	if err := f.complete(url); err != nil {
		return err
	}
	token, err := e.readToken(f.token)
	if err == nil {
		err = e.readTLS(&f.l.TLS)
	}
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if token != "" {
		f.l.Headers = append(f.l.Headers, "Authorization: Bearer "+token)
	}
	client, closeLab, err := e.lab(c.Context(), f.src, f.lab)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, environment(closeLab())) }()
	tty := isTerminal(e.err)
	begun := sync.OnceFunc(func() { e.log.Info("load is under way", "from", f.l.From) })
	end, err := client.Load(c.Context(), f.l, func(sent int64) {
		begun()
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

// complete checks the flags and makes a load of them.
func (f *fortioFlags) complete(url string) (err error) {
	l := &f.l
	l.URL, l.KeepAlive = url, f.keepalive
	l.Resolution = time.Duration(f.resolution * float64(time.Second))
	if f.qps != "max" {
		if l.QPS, err = strconv.ParseFloat(f.qps, 64); err != nil || !(l.QPS >= 0) {
			return usage("-qps %q: want a number, 0 or max", f.qps)
		}
	}
	for p := range strings.SplitSeq(f.percentiles, ",") {
		v, err := strconv.ParseFloat(strings.TrimSpace(p), 64)
		if err != nil || !(v >= 0 && v <= 100) {
			return usage("-p %q: want percentages, such as 50,99,99.9", f.percentiles)
		}
		l.Percentiles = append(l.Percentiles, v)
	}
	switch {
	case l.Connections < 1:
		return usage("-c %d: want at least 1", l.Connections)
	case l.Resolution <= 0 || l.Timeout <= 0:
		return usage("-r and -timeout: want positive values")
	case l.Requests < 0 || l.Duration < 0:
		return usage("-n and -t: want positive values; -t 0 runs until Ctrl-C")
	case l.Requests > 0:
		l.Duration = 0
	case l.Duration == 0:
		l.Duration = -1 // fortio: until stopped
	}
	if f.contentType != "" {
		l.Headers = append(l.Headers, "Content-Type: "+f.contentType)
	}
	if f.user != "" {
		user := base64.StdEncoding.EncodeToString([]byte(f.user))
		l.Headers = append(l.Headers, "Authorization: Basic "+user)
	}
	if f.quiet {
		f.logLevel = "Error"
	}
	return nil
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
