package app

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// Client is an app's Client over a transport: redirects are answers, which no sample app follows.
func Client(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// Call is an outgoing GET.
type Call struct {
	URL    string
	Header http.Header
	// Timeout is from dialing to the end of the answer, on the app's clock; 0: none.
	Timeout time.Duration
	// Fresh says that it gets a connection of its own, which is closed behind it.
	Fresh bool
}

// ErrTimeout is why a call failed whose Timeout is over.
var ErrTimeout = errors.New("timed out")

// Call makes a call; ctx ends it early. An answer of any status is no error.
func (e *Env) Call(ctx context.Context, c Call) (*Reply, error) {
	if c.Timeout > 0 {
		timed, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		stop := e.Clock.AfterFunc(c.Timeout, func() { cancel(ErrTimeout) })
		defer stop()
		ctx = timed
	}
	out, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return nil, err
	}
	out.Header = c.Header
	out.Close = c.Fresh
	reply, err := e.do(out)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return reply, err
}

// Life is a context that ends with the pod: for calls that go on when the caller has gone away.
func (e *Env) Life() context.Context {
	if e.Closed == nil {
		return context.Background()
	}
	return e.Closed
}

// Get is an outgoing GET with headers of its own and those of the incoming request that keep a
// trace together.
func (e *Env) Get(in *http.Request, url string, headers http.Header) (*Reply, error) {
	copyTrace(headers, in.Header)
	return e.Call(in.Context(), Call{URL: url, Header: headers})
}

// Post is an outgoing POST of plain text; the rest is as with Get.
func (e *Env) Post(in *http.Request, url, body string, headers http.Header) (*Reply, error) {
	out, err := http.NewRequestWithContext(in.Context(), http.MethodPost, url,
		strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	out.Header = headers
	out.Header.Set("Content-Type", "text/plain")
	copyTrace(out.Header, in.Header)
	return e.do(out)
}

// Reply is an answer, read to its end.
type Reply struct {
	Status int
	Body   string
}

func (e *Env) do(out *http.Request) (*Reply, error) {
	res, err := e.Client.Do(out)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	return &Reply{res.StatusCode, string(body)}, nil
}
