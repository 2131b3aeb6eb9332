package plane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// ErrDown is what a control plane that has been taken away answers.
var ErrDown = errors.New("the control plane is down")

// Client is the lab's end.
type Client struct {
	token string
	clock clock.Clock
	sink  control.Sink
	http  *http.Client

	mu    sync.Mutex
	known []control.NodeStatus // when it could last be asked
	stop  context.CancelFunc   // of the reader of pushes; nil: none runs
	ended chan struct{}
	shift time.Duration // from the Server's clock to the lab's
}

// NewClient returns the lab's end of the Server that dial leads to. Its pushes go to sink, with
// instants of the lab's clock.
func NewClient(
	token string, c clock.Clock, sink control.Sink,
	dial func(context.Context) (net.Conn, error),
) *Client {
	return &Client{token: token, clock: c, sink: sink, http: &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dial(ctx)
			},
			MaxIdleConnsPerHost: 4,
		},
	}}
}

// Join waits until the Server answers, and hears from then on what it pushes.
func (c *Client) Join(ctx context.Context) error {
	c.Leave()
	var offset time.Duration
	for {
		var err error
		if offset, err = c.offset(ctx); err == nil {
			break
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the control plane does not answer: %w", err)
		}
	}
	hear, cancel := context.WithCancel(context.Background())
	r, err := c.do(hear, "GET", "/pushes", nil)
	if err != nil {
		cancel()
		return err
	}
	ended := make(chan struct{})
	c.mu.Lock()
	c.stop, c.ended, c.shift = cancel, ended, offset
	c.mu.Unlock()
	go func() {
		defer close(ended)
		defer r.Close()
		in := json.NewDecoder(r)
		for {
			var p observe.Push
			if in.Decode(&p) != nil {
				return // it has ended, or the lab has
			}
			p.At = p.At.Add(offset)
			if p.Acked != 0 {
				p.Acked = p.Acked.Add(offset)
			}
			c.sink.Push(p)
		}
	}()
	return nil
}

// Leave hears no more of it.
func (c *Client) Leave() {
	c.mu.Lock()
	stop, ended := c.stop, c.ended
	c.stop = nil
	c.mu.Unlock()
	if stop != nil {
		stop()
		<-ended
	}
	c.http.CloseIdleConnections()
}

// offset is what is to be added to the Server's instants.
func (c *Client) offset(ctx context.Context) (time.Duration, error) {
	before := c.clock.Now()
	var there clock.Instant
	if err := c.ask(ctx, "GET", "/now", nil, &there); err != nil {
		return 0, err
	}
	after := c.clock.Now()
	return before.Add(after.Sub(before) / 2).Sub(there), nil
}

// Set gives proxies their snapshots, as control.Server does. What a Server says it has done is
// known of it when Set returns.
func (c *Client) Set(
	ctx context.Context, snaps map[string]*xds.Snapshot, aside []string,
) (control.Result, error) {
	text, err := encode(snaps)
	if err != nil {
		return control.Result{}, err
	}
	path := "/set"
	if len(aside) > 0 {
		path += "?aside=" + url.QueryEscape(strings.Join(aside, ","))
	}
	var a answer
	if err := c.ask(ctx, "POST", path, text, &a); err != nil {
		return control.Result{}, err
	}
	switch {
	case a.Nack != nil:
		return a.Result, a.Nack
	case a.Error != "":
		return a.Result, errors.New(a.Error)
	}
	return a.Result, nil
}

// statusPatience bounds how long the books may take.
const statusPatience = 5 * time.Second

// Status returns the books: while the Server is away, those that it had when it was last asked,
// with nobody connected.
func (c *Client) Status() []control.NodeStatus {
	ctx, cancel := context.WithTimeout(context.Background(), statusPatience)
	defer cancel()
	var now []control.NodeStatus
	err := c.ask(ctx, "GET", "/status", nil, &now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.known = now
		return now
	}
	away := make([]control.NodeStatus, len(c.known))
	for i, n := range c.known {
		n.Connected = false
		away[i] = n
	}
	return away
}

// Close ends the connections.
func (c *Client) Close() error {
	c.Leave()
	return nil
}

// ask sends a request, and reads the answer.
func (c *Client) ask(ctx context.Context, method, path string, body []byte, out any) error {
	r, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := json.NewDecoder(r).Decode(out); err != nil {
		return fmt.Errorf("control plane: %w", cmpErr(ctx, err))
	}
	return nil
}

// cmpErr is the context's error, where that has ended.
func cmpErr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (c *Client) do(
	ctx context.Context, method, path string, body []byte,
) (io.ReadCloser, error) {
	q, err := http.NewRequestWithContext(ctx, method, "http://control"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Authorization", "Bearer "+c.token)
	r, err := c.http.Do(q)
	if err != nil {
		return nil, fmt.Errorf("control plane: %w", cmpErr(ctx, err))
	}
	if r.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 1000)) // the status says enough
		r.Body.Close()
		return nil, fmt.Errorf("control plane: %s: %s", r.Status, strings.TrimSpace(string(text)))
	}
	return r.Body, nil
}
