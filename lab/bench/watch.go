package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gdamore/tcell/v2"

	"github.com/mesh-lab/mesh-lab/lab/tui"
	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// counted is a terminal that counts what is written to it.
type counted struct {
	bytes bytes.Buffer
	w, h  int
	over  chan struct{} // closed when nothing is to be read any more
}

func (c *counted) Start() error             { return nil }
func (c *counted) Stop() error              { return nil }
func (c *counted) Drain() error             { close(c.over); return nil }
func (c *counted) Close() error             { return nil }
func (c *counted) NotifyResize(func())      {}
func (c *counted) Read([]byte) (int, error) { <-c.over; return 0, io.EOF }
func (c *counted) Write(b []byte) (int, error) {
	return c.bytes.Write(b)
}

// WindowSize is the terminal's size.
func (c *counted) WindowSize() (tcell.WindowSize, error) {
	return tcell.WindowSize{Width: c.w, Height: c.h}, nil
}

// hops are the services that each request of the measurement goes through.
var hops = []string{"curl", "customer", "preference", "recommendation"}

// flowing is a batch of a tenth of a second, as it comes over the socket: 100 requests, each with
// the records of its six proxies.
func flowing(n int) []byte {
	at := clock.Instant(n+1) * clock.Instant(100*time.Millisecond)
	b := feed.Batch{At: at, Every: 1}
	for i := range 100 {
		id := fmt.Sprintf("5f1e7a52-6d55-4c5e-9d1b-%012d", n*100+i)
		for h := range 3 {
			version := fmt.Sprint("v", 1+i%10/9)
			r := observe.Request{
				ID: id, Start: at - clock.Instant(i)*1e6, Reporter: observe.Source,
				Duration: time.Duration(1+i%17) * time.Millisecond, Protocol: "HTTP/1.1",
				Proxy: hops[h] + "-0.default", Workload: hops[h], Namespace: "default",
				Method: "GET", Path: "/", Authority: hops[h+1] + ":8080", Status: 200,
				Cluster:  "outbound|8080||" + hops[h+1] + ".default.svc.cluster.local",
				Upstream: "10.244.0.9:8080", Listener: "0.0.0.0_8080",
				Dest: observe.Workload{Service: hops[h+1], Version: version, Namespace: "default"},
			}
			in := r
			in.Reporter, in.Workload = observe.Destination, hops[h+1]
			b.Requests = append(b.Requests, r, in)
		}
	}
	line, err := json.Marshal(b)
	if err != nil {
		panic(err) // plain values
	}
	return line
}

// benchWatch measures what a frame of the terminal UI costs.
func benchWatch(_ context.Context, o options) error {
	frames := 300
	if o.short {
		frames = 60
	}
	tty := &counted{w: 200, h: 60, over: make(chan struct{})}
	s, err := tcell.NewTerminfoScreenFromTty(tty)
	if err != nil {
		return err
	}
	if err := s.Init(); err != nil {
		return err
	}
	defer s.Fini()
	app := tui.NewApp(nil, "", false, true)
	var take, draw []float64
	var written []float64
	for n := range frames {
		line := flowing(n)
		began := time.Now()
		b := &feed.Batch{}
		if err := json.Unmarshal(line, b); err != nil {
			return err
		}
		app.Take(b)
		taken := time.Now()
		s.Clear()
		app.Draw(tui.NewCanvas(s, false))
		s.Show()
		take = append(take, float64(taken.Sub(began))/1e6)
		draw = append(draw, float64(time.Since(taken))/1e6)
		written = append(written, float64(tty.bytes.Len()))
		tty.bytes.Reset()
	}
	fmt.Println("\nmesh-lab watch at 200×60, 1000 requests/s of 6 records each, 10 frames a second")
	w := table()
	fmt.Fprint(w, "\tmedian\tworst\t\n")
	fmt.Fprintf(w, "drawing a frame, ms\t%.2f\t%.2f\t\n", median(draw), slices.Max(draw))
	fmt.Fprintf(w, "reading a tenth of a second, ms\t%.2f\t%.2f\t\n", median(take),
		slices.Max(take))
	fmt.Fprintf(w, "drawing, %% of a core\t%.1f\t\t\n", median(draw))
	fmt.Fprintf(w, "reading, %% of a core\t%.1f\t\t\n", median(take))
	fmt.Fprintf(w, "written a frame, bytes\t%.0f\t%.0f\t\n", median(written), slices.Max(written))
	return w.Flush()
}
