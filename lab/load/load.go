// Package load drives fortio from inside the mesh: a workload's requests, through its own sidecar,
// with fortio's pacing, percentiles, histogram and result JSON.
package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"fortio.org/fortio/fhttp"
	"fortio.org/fortio/periodic"
	"fortio.org/fortio/stats"
	"fortio.org/log"

	"github.com/mesh-lab/mesh-lab/lab/tlsclient"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Plan is what to send.
type Plan struct {
	Step    string   // name of the step, for the records
	From    string   // pod ID, or topology.Outside
	URL     string   // http://host:port/path, or https://
	Connect string   // HOST:PORT to connect to in place of the URL's
	Method  string   // GET, or POST with a body
	Body    string   //
	Headers []string // "name: value"
	// Vary returns the headers of the n-th request, counted from 0, in place of Headers; nil: all
	// requests are alike, and fortio's fast client sends them.
	Vary        func(n int64) []string
	QPS         float64       // of all connections together; 0: as fast as they can
	Connections int           // 4, as fortio
	Requests    int64         // exactly so many; 0: Duration counts
	Duration    time.Duration //
	Timeout     time.Duration // of one request; 3 s, as fortio
	Percentiles []float64     // 50 75 90 99 99.9
	Resolution  time.Duration // of the histogram; 0.1 ms
	Uniform     bool
	Jitter      bool
	NoCatchUp   bool
	KeepAlive   bool              // false: a new connection for each request
	TLS         tlsclient.Options // of https://
	Labels      string
	RunID       int64
	// Cut, when set, is called before requests under way are broken off, because the load was
	// interrupted and they take too long. What proxies record after it is not the mesh's doing.
	Cut func()
}

// Result is fortio's own, which `fortio report` opens.
type Result = fhttp.HTTPRunnerResults

// DefaultResolution is the histogram's: fortio's own 1 ms turns percentiles of a local mesh into
// fiction.
const DefaultResolution = 100 * time.Microsecond

// Defaults fills in what fortio would.
func (p Plan) Defaults() Plan {
	if p.Connections <= 0 {
		p.Connections = 4
	}
	if p.Requests > 0 && int64(p.Connections) > p.Requests {
		p.Connections = int(p.Requests)
	}
	if p.Timeout <= 0 {
		p.Timeout = fhttp.HTTPReqTimeOutDefaultValue
	}
	if len(p.Percentiles) == 0 {
		p.Percentiles = []float64{50, 75, 90, 99, 99.9}
	}
	if p.Resolution <= 0 {
		p.Resolution = DefaultResolution
	}
	return p
}

// Generator is a load that can be stopped.
type Generator struct {
	plan    Plan
	mesh    topology.Mesh
	tls     *tls.Config // of https://, else nil
	stop    *periodic.Aborter
	threads []*thread
	release func()
	done    chan struct{} // closed when Run has come to its end
	broken  atomic.Bool   // requests under way were broken off
	next    atomic.Int64  // number of the next request
	sent    atomic.Int64
}

// ports are the default ports of what a load may speak.
var ports = map[string]string{"http": "80", "https": "443"}

// New prepares a load: it opens the socket that the plan's sidecar captures. Close it after Run.
func New(m topology.Mesh, p Plan) (*Generator, error) {
	p = p.Defaults()
	u, err := url.Parse(p.URL)
	if err != nil || ports[u.Scheme] == "" || u.Host == "" {
		return nil, fmt.Errorf("load: URL %q: want http://host[:port]/path, or https://", p.URL)
	}
	address := p.Connect
	if address == "" {
		address = u.Host
		if u.Port() == "" {
			address += ":" + ports[u.Scheme]
		}
	}
	g := &Generator{plan: p, mesh: m, stop: periodic.NewAborter(), done: make(chan struct{})}
	if u.Scheme == "https" {
		issuer, _ := m.(tlsclient.Issuer)
		if g.tls, err = p.TLS.Config(issuer, u.Hostname(), "http/1.1"); err != nil {
			return nil, fmt.Errorf("load: %w", err)
		}
	} else if p.TLS.Used() {
		return nil, errors.New("load: sni, cacert, cert, key and identity are for https://")
	}
	network, at, release, err := m.Capture(p.From, address)
	if err != nil {
		return nil, fmt.Errorf("load: from %s to %s: %w", p.From, address, err)
	}
	g.release = sync.OnceFunc(release)
	log.SetLogLevelQuiet(log.Critical) // what fails is in the records
	for i := range p.Connections {
		t, err := g.thread(i, network, at)
		if err != nil {
			g.Close()
			return nil, fmt.Errorf("load: %w", err)
		}
		g.threads = append(g.threads, t)
	}
	return g, nil
}

// Sent returns how many requests have ended so far.
func (g *Generator) Sent() int64 { return g.sent.Load() }

// Stop ends the load early; requests under way are finished.
func (g *Generator) Stop() { g.stop.Abort(false) }

// grace is how long requests under way may take when a load is interrupted.
const grace = time.Second

// Interrupt ends the load now and returns when it has ended: requests under way get a second, then
// they are broken off, and not counted.
func (g *Generator) Interrupt() {
	g.Stop()
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-g.done:
	case <-t.C:
		if g.plan.Cut != nil {
			g.plan.Cut()
		}
		g.broken.Store(true)
		g.release()
		<-g.done
	}
}

// Close closes the connections and the socket.
func (g *Generator) Close() {
	for _, t := range g.threads {
		t.client.Close()
	}
	g.release()
}

// Run sends the load until it is done or stopped, or ctx ends, which interrupts it. It is called
// once.
func (g *Generator) Run(ctx context.Context) (*Result, error) {
	p := g.plan
	o := periodic.RunnerOptions{
		RunType: "HTTP", QPS: p.QPS, Duration: p.Duration, NumThreads: p.Connections,
		Percentiles: p.Percentiles, Resolution: p.Resolution.Seconds(), Out: io.Discard,
		Labels: p.Labels, Exactly: p.Requests, Jitter: p.Jitter, Uniform: p.Uniform,
		NoCatchUp: p.NoCatchUp, RunID: p.RunID, Stop: g.stop,
	}
	if p.QPS <= 0 {
		o.QPS = -1 // fortio: as fast as possible
	}
	if p.Requests > 0 {
		o.Duration = 0
	}
	r := periodic.NewPeriodicRunner(&o)
	defer r.Options().ReleaseRunners()
	for i := range r.Options().NumThreads {
		r.Options().Runners[i] = g.threads[i]
	}
	interrupted := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() { defer close(interrupted); g.Interrupt() })
	out := &Result{RunnerResults: r.Run(), RetCodes: map[int]int64{}, IPCountMap: map[string]int{}}
	close(g.done)
	if !unhook() {
		<-interrupted
	}
	out.URL, out.NumConnections = p.URL, 1
	g.gather(out)
	return out, nil
}

// gather adds up what the threads counted, as fortio's HTTP runner does.
func (g *Generator) gather(out *Result) {
	sizes, heads := stats.NewHistogram(0, 100), stats.NewHistogram(0, 5)
	connects := stats.NewHistogram(0, g.plan.Resolution.Seconds())
	for _, t := range g.threads {
		_, cs := t.client.GetIPAddress()
		out.Sockets = append(out.Sockets, cs.Count)
		out.SocketCount += cs.Count
		connects.Transfer(cs)
		for code, n := range t.codes {
			out.RetCodes[code] += n
		}
		sizes.Transfer(t.sizes)
		heads.Transfer(t.heads)
	}
	out.Sizes, out.HeaderSizes = sizes.Export(), heads.Export()
	out.ConnectionStats = connects.Export().CalcPercentiles(g.plan.Percentiles)
}

// thread is one connection of the load, as fortio runs it.
type thread struct {
	g      *Generator
	client fetcher
	codes  map[int]int64
	sizes  *stats.Histogram
	heads  *stats.Histogram
	clock  clock.Clock
	record observe.Client
}

// fetcher is what a thread needs of fortio's clients.
type fetcher interface {
	StreamFetch(ctx context.Context) (code int, size int64, head uint)
	GetIPAddress() (*stats.Occurrence, *stats.Histogram)
	Close()
}

func (g *Generator) thread(id int, network, at string) (*thread, error) {
	t := &thread{
		g: g, codes: map[int]int64{}, sizes: stats.NewHistogram(0, 100),
		heads: stats.NewHistogram(0, 5), clock: g.mesh.Clock(),
		record: observe.Client{Step: g.plan.Step, From: g.plan.From},
	}
	if g.plan.Vary != nil || g.tls != nil { // fortio's fast client speaks plain text alone
		t.client = newVarying(g, network, at)
		return t, nil
	}
	c, err := g.fast(id, network, at)
	t.client = c
	return t, err
}

// fast makes fortio's fast client.
func (g *Generator) fast(id int, network, at string) (fetcher, error) {
	p := g.plan
	o := fhttp.NewHTTPOptions(p.URL)
	o.ID, o.HTTPReqTimeOut, o.DisableKeepAlive = id, p.Timeout, !p.KeepAlive
	o.MethodOverride = p.Method
	o.Resolution = p.Resolution.Seconds()
	if p.Body != "" {
		o.Payload = []byte(p.Body)
	}
	if network != "unix" {
		return nil, fmt.Errorf("capture by %s is not carried out", network)
	}
	o.UnixDomainSocket, o.NoResolveEachConn = at, true
	o.NoResolveEachConn = true // else a second connection goes to the URL's host, past the mesh
	for _, h := range p.Headers {
		if err := o.AddAndValidateExtraHeader(h); err != nil {
			return nil, err
		}
	}
	c, err := fhttp.NewFastClient(o)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, errors.New("fortio made no client")
	}
	return c, nil
}

// Run sends one request; false for statuses that fortio counts as errors.
func (t *thread) Run(ctx context.Context, _ periodic.ThreadID) (bool, string) {
	t.record.Start = t.clock.Now()
	code, size, head := t.client.StreamFetch(ctx)
	t.record.Duration = t.clock.Now().Sub(t.record.Start)
	if code <= 0 && t.g.broken.Load() {
		return false, ""
	}
	t.codes[code]++
	t.sizes.Record(float64(size))
	t.heads.Record(float64(head))
	t.record.Status, t.record.Error = code, ""
	if code <= 0 { // fortio's -1: the socket failed
		t.record.Status, t.record.Error = 0, "reset"
		if t.record.Duration >= t.g.plan.Timeout {
			t.record.Error = "timeout"
		}
	}
	t.g.mesh.Recorder().Client(&t.record)
	t.g.sent.Add(1)
	return code >= 200 && code < 300, ""
}
