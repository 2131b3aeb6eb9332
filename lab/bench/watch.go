package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/tui"
	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// hops are the services that each request of the measurement goes through.
var hops = []string{"curl", "customer", "preference", "recommendation"}

// flowing are batches of a tenth of a second each: 100 requests, with the records of their six
// proxies.
func flowing(n int) *feed.Batch {
	at := clock.Instant(n+1) * clock.Instant(100*time.Millisecond)
	b := &feed.Batch{At: at, Every: 1}
	draw := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range 100 {
		id := fmt.Sprintf("5f1e7a52-6d55-4c5e-9d1b-%012d", n*100+i)
		version := fmt.Sprint("v", 1+draw.IntN(10)/9)
		took := time.Duration(12e6 + 2e6*draw.NormFloat64())
		for h := range 3 {
			r := observe.Request{
				ID: id, Start: at - clock.Instant(i)*1e6 - clock.Instant(took), Duration: took,
				Reporter: observe.Source, Protocol: "HTTP/1.1", Proxy: hops[h] + "-0.default",
				Workload: hops[h], Namespace: "default", Method: "GET", Path: "/", Status: 200,
				Authority: hops[h+1] + ":8080", UserAgent: "fortio.org/fortio-1.69.5",
				Cluster:  "outbound|8080||" + hops[h+1] + ".default.svc.cluster.local",
				Upstream: "10.244.0.9:8080", Listener: "0.0.0.0_8080", Route: "default",
				Dest: observe.Workload{Pod: hops[h+1] + "-0", Service: hops[h+1],
					Workload: hops[h+1], Version: version, Namespace: "default"},
				Details: "via_upstream", Local: "10.96.0.7:8080", BytesSent: 123,
				Draw: draw.Uint64(), Remote: fmt.Sprint("10.244.0.3:", 40000+i),
			}
			r.Attempts = []observe.Attempt{{Cluster: r.Cluster, Upstream: r.Upstream,
				Pod: r.Dest.Pod, Version: version, Status: 200, Start: r.Start, Duration: took}}
			in := r
			in.Reporter, in.Workload, in.Attempts = observe.Destination, hops[h+1], nil
			b.Requests = append(b.Requests, r, in)
			took = took * 2 / 3
		}
	}
	return b
}

// benchWatch measures what a frame of the terminal UI costs.
func benchWatch(_ context.Context, o options) error {
	frames := 600
	if o.short {
		frames = 100
	}
	var stream bytes.Buffer
	out := feed.NewWriter(&stream)
	for n := range frames {
		if err := out.Write(flowing(n)); err != nil {
			return err
		}
	}
	each := stream.Len() / frames
	fmt.Printf("\nmesh-lab watch at 200×60, 1000 requests/s of 6 records each (%d kB/s on the "+
		"wire), 10 frames a second\n", each/100)
	w := table()
	fmt.Fprint(w, "screen\tdraw, ms\tworst\tread, ms\tworst\tCPU of a core\t"+
		"bytes a frame\tworst\t\n")
	for _, x := range []struct{ name, keys string }{{"Overview", "1"}, {"Service", "2"},
		{"Requests", "3"}, {"Requests, filtered to none", "/to:nobody"}} {
		err := watchRow(w, x.name, x.keys, feed.NewReader(bytes.NewReader(stream.Bytes())), frames)
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

// watchRow measures one screen, to which keys lead.
func watchRow(w io.Writer, name, keys string, in *feed.Reader, frames int) error {
	s, sink, err := tui.NewSink(200, 60)
	if err != nil {
		return err
	}
	defer s.Fini()
	app, shown := tui.NewApp(nil, "", false, true), tui.NewFrames(s, false)
	for _, k := range keys {
		app.Key(tui.Key(string(k)))
	}
	shown.Show(app.Draw) // the whole screen, once
	var read, draw, written []float64
	runtime.GC()
	before, known := cpu(os.Getpid())
	for range frames {
		sink.Written = 0
		began := time.Now()
		b, err := in.Read()
		if err != nil {
			return err
		}
		app.Take(b)
		taken := time.Now()
		shown.Show(app.Draw)
		read = append(read, float64(taken.Sub(began))/1e6)
		draw = append(draw, float64(time.Since(taken))/1e6)
		written = append(written, float64(sink.Written))
	}
	core := "–"
	if after, ok := cpu(os.Getpid()); ok && known {
		core = fmt.Sprintf("%.1f %%", 100*float64(after-before)/float64(frames)/1e8)
	}
	_, err = fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t%.0f\t%.0f\t\n", name,
		median(draw), slices.Max(draw), median(read), slices.Max(read), core, median(written),
		slices.Max(written))
	return err
}
