package remote

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// Client talks to one lab.
type Client struct{ http *http.Client }

// NewClient returns a client whose connections dial makes. Each call has its own: a deadline of a
// pipe in memory (grpc's bufconn) may come late, and would end the next call on the connection.
func NewClient(dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx)
		},
		DisableKeepAlives: true,
	}}}
}

// Unix returns a client of the lab behind a socket file.
func Unix(path string) *Client {
	return NewClient(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	})
}

// do sends one call; the caller closes the answer's body.
func (c *Client) do(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fmt.Errorf("the lab does not answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var p problem
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		return nil, fmt.Errorf("the lab answers %s", resp.Status)
	}
	if p.Invalid {
		return nil, &InvalidError{p.Error}
	}
	return nil, errors.New(p.Error)
}

// call sends one call and decodes its answer.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	body, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, body)
		return err
	}
	return json.NewDecoder(body).Decode(out)
}

// Info asks which lab answers.
func (c *Client) Info(ctx context.Context) (i Info, err error) {
	return i, c.call(ctx, "GET", "/info", nil, &i)
}

// Apply adds and replaces objects, in a namespace those that name none; it returns when every proxy
// has ACKed.
func (c *Client) Apply(
	ctx context.Context, namespace string, files []File,
) (a Applied, err error) {
	return a, c.call(ctx, "POST", "/apply", change{namespace, files}, &a)
}

// Delete removes objects, in a namespace those that name none; it returns when every proxy has
// ACKed.
func (c *Client) Delete(
	ctx context.Context, namespace string, files []File,
) (a Applied, err error) {
	return a, c.call(ctx, "POST", "/delete", change{namespace, files}, &a)
}

// Objects lists the configuration in effect, and the pods that run.
func (c *Client) Objects(ctx context.Context) (o []Object, err error) {
	return o, c.call(ctx, "GET", "/objects", nil, &o)
}

// Proxies tells what each proxy was sent and what it ACKed.
func (c *Client) Proxies(ctx context.Context) (p []topology.ProxyStatus, err error) {
	return p, c.call(ctx, "GET", "/proxies", nil, &p)
}

// Snapshot returns what a workload's proxy was given, by kind: listeners, routes, clusters,
// endpoints, each a JSON array of Envoy's own JSON.
func (c *Client) Snapshot(
	ctx context.Context, workload string,
) (s map[string][]json.RawMessage, err error) {
	return s, c.call(ctx, "GET", "/snapshot?workload="+url.QueryEscape(workload), nil, &s)
}

// Down ends the lab and returns when nothing is left of it.
func (c *Client) Down(ctx context.Context) error { return c.call(ctx, "POST", "/down", nil, nil) }

// Request sends requests and emits their results in the order of completion.
func (c *Client) Request(
	ctx context.Context, s request.Spec, emit func(request.Result) error,
) error {
	body, err := c.do(ctx, "POST", "/request", s)
	if err != nil {
		return err
	}
	defer body.Close()
	return lines(body, func(b []byte) error {
		var l struct {
			request.Result
			Problem string `json:"problem"`
		}
		if err := json.Unmarshal(b, &l); err != nil {
			return err
		}
		if l.Problem != "" {
			return errors.New(l.Problem)
		}
		return emit(l.Result)
	})
}

// Load drives a load; progress is told on the way. When ctx ends the load does, and what was seen
// by then is the answer.
func (c *Client) Load(
	ctx context.Context, l Load, progress func(sent int64),
) (end LoadEvent, err error) {
	l.ID = uuid.NewString()
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stopped := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(stopped)
		if c.call(serving, "POST", "/stop", Load{ID: l.ID}, nil) != nil {
			cancel()
		}
	})
	defer func() {
		if !unhook() {
			<-stopped
		}
	}()
	body, err := c.do(serving, "POST", "/load", l)
	if err != nil {
		return end, err
	}
	defer body.Close()
	err = lines(body, func(b []byte) error {
		end = LoadEvent{}
		if err := json.Unmarshal(b, &end); err != nil {
			return err
		}
		if end.Error != "" {
			return errors.New(end.Error)
		}
		progress(end.Sent)
		return nil
	})
	if err == nil && end.Fortio == nil {
		err = errors.New("the lab ended before the load did")
	}
	return end, err
}

// lines hands on each line of a stream.
func lines(r io.Reader, f func([]byte) error) error {
	br := bufio.NewReader(r)
	for {
		b, err := br.ReadBytes('\n')
		if len(bytes.TrimSpace(b)) > 0 {
			if err := f(b); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
