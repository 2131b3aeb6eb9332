package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

const (
	batchEvery  = 100 * time.Millisecond
	lookEvery   = 5    // batches between two looks at the proxies
	batchMost   = 1000 // records of requests in a batch; of more, one request in so many is kept
	rememberMax = 4000 // records of the past in the first batch
)

// Follower follows a mesh for one watcher.
type Follower struct {
	mesh   topology.Mesh
	tap    *feed.Tap
	cancel func()
	tick   *time.Ticker
	n      int

	config  *istio.Config
	pods    string
	proxies []feed.Proxy
	first   *feed.Batch
}

// Follow begins to follow a mesh; Close ends it.
func Follow(m topology.Mesh, info Info) *Follower {
	f := &Follower{mesh: m, tap: feed.NewTap(batchMost), tick: time.NewTicker(batchEvery)}
	past := m.Recorder().Snapshot()
	f.cancel = m.Recorder().Subscribe(f.tap)
	f.first = &feed.Batch{
		At: m.Clock().Now(), Every: 1, Changes: past.Changes, Faults: past.Faults,
		Requests: past.Requests[max(0, len(past.Requests)-rememberMax):],
		Lab: &feed.Lab{Name: info.Name, Topology: info.Topology, Proxy: info.Proxy,
			Seed: info.Seed},
	}
	for _, p := range past.Pushes {
		if p.Nack != "" {
			f.first.Pushes = append(f.first.Pushes, p)
		}
	}
	f.look(f.first)
	return f
}

// Close ends it.
func (f *Follower) Close() {
	f.cancel()
	f.tick.Stop()
}

// Next waits until it is time for a batch.
func (f *Follower) Next(ctx context.Context) (*feed.Batch, error) {
	if b := f.first; b != nil {
		f.first = nil
		return b, nil
	}
	select {
	case <-f.tick.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b := f.tap.Take(f.mesh.Clock().Now())
	f.look(&b)
	return &b, nil
}

// look adds the configuration and the proxies where they have changed.
func (f *Follower) look(b *feed.Batch) {
	c, reg := f.mesh.Config(), f.mesh.Registry()
	if pods := signature(reg); c != f.config || pods != f.pods {
		f.config, f.pods = c, pods
		b.Config = feed.Describe(c, reg)
	}
	if f.n++; f.n%lookEvery != 1 {
		return
	}
	if now := proxies(f.mesh.Proxies()); !reflect.DeepEqual(now, f.proxies) {
		f.proxies, b.Proxies = now, now
	}
}

// signature changes when pods come, go, or are ready.
func signature(reg *translate.Registry) string {
	var b strings.Builder
	for _, p := range reg.Pods {
		fmt.Fprintf(&b, "%s %s %t\n", p.Name, p.IP, p.Ready)
	}
	return b.String()
}

func proxies(all []topology.ProxyStatus) []feed.Proxy {
	var out []feed.Proxy
	for _, p := range all {
		x := feed.Proxy{Node: p.Node}
		for _, t := range slices.Sorted(maps.Keys(p.Types)) {
			s := p.Types[t]
			x.Types = append(x.Types, feed.TypeState{Type: t, Sent: s.Sent, Acked: s.Acked,
				Nack: s.Nack})
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b feed.Proxy) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// handleWatch tells what happens, batch by batch. A client that reads slowly gets
// fewer requests, not later ones.
func (s *Server) handleWatch(w http.ResponseWriter, r *http.Request) {
	flush, ok := w.(http.Flusher)
	if !ok {
		refuse(w, fmt.Errorf("this connection can not stream"), false)
		return
	}
	f := Follow(s.mesh, s.info)
	defer f.Close()
	out := feed.NewWriter(w)
	for {
		b, err := f.Next(r.Context())
		if err != nil {
			return // the client went away, or the lab ends
		}
		if out.Write(b) != nil {
			return
		}
		flush.Flush()
	}
}

// Watch hands on what happens in the lab, batch by batch, until ctx or the lab ends.
func (c *Client) Watch(ctx context.Context, take func(*feed.Batch) error) error {
	body, err := c.do(ctx, "GET", "/watch", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	in := feed.NewReader(body)
	for {
		b, err := in.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := take(b); err != nil {
			return err
		}
	}
}

var (
	_ observe.PushWatcher  = (*feed.Tap)(nil)
	_ observe.FaultWatcher = (*feed.Tap)(nil)
)
