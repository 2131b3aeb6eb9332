package around_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/around"
	"github.com/mesh-lab/mesh-lab/sampleapps/model"
)

// ticker is the time of a synctest bubble.
type ticker struct{}

func (ticker) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

// with puts a model around an app.
func with(t *testing.T, vars map[string]string, inner http.HandlerFunc) http.Handler {
	t.Helper()
	m, errs := model.Read(vars)
	if errs != nil {
		t.Fatal(errs)
	}
	h, err := around.Handler(m, app.Env{Clock: ticker{}, Seed: 7, Vars: vars}, inner)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// hello is an app.
func hello(w http.ResponseWriter, _ *http.Request) { app.Text(w, http.StatusOK, "hello\n") }

// get asks a handler.
func get(ctx context.Context, h http.Handler, path string, headers ...string) (int, string) {
	r := httptest.NewRequest(http.MethodGet, path, nil).WithContext(ctx)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// TestLatency lets an answer take its time; health checks take none.
func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := with(t, map[string]string{"MESHLAB_LATENCY": "20ms"}, hello)
		for path, want := range map[string]time.Duration{
			"/": 20 * time.Millisecond, "/health": 0, "/health/ready": 0, "/health/live": 0,
		} {
			began := time.Now()
			status, body := get(t.Context(), h, path)
			if took := time.Since(began); took != want || status != 200 || body != "hello\n" {
				t.Errorf("%s: %d %q after %v, want %v", path, status, body, took, want)
			}
		}
	})
}

// TestErrors has a share of the answers fail, after their time; health checks do not.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reached := 0
		h := with(t, map[string]string{
			"MESHLAB_ERRORS": "500:25% 503:25%", "MESHLAB_LATENCY": "1s",
		}, func(w http.ResponseWriter, r *http.Request) { reached++; hello(w, r) })
		seen, began := map[string]int{}, time.Now()
		const n = 400
		for range n {
			status, body := get(t.Context(), h, "/")
			seen[fmt.Sprint(status, " ", body)]++
		}
		if took := time.Since(began); took != n*time.Second {
			t.Errorf("%d answers took %v", n, took)
		}
		for answer, want := range map[string]int{
			"200 hello\n": n / 2,
			"500 failed with 500, as MESHLAB_ERRORS has it\n": n / 4,
			"503 failed with 503, as MESHLAB_ERRORS has it\n": n / 4,
		} {
			// Always the same draws; 45 is four and a half standard deviations or more.
			if got := seen[answer]; got < want-45 || got > want+45 || len(seen) != 3 {
				t.Errorf("%d times %q of %v", got, answer, seen)
			}
		}
		if reached != seen["200 hello\n"] {
			t.Errorf("the app was reached %d times", reached)
		}
		for range 100 {
			if status, _ := get(t.Context(), h, "/health"); status != 200 {
				t.Fatalf("a health check got %d", status)
			}
		}
	})
}

// batch sends n requests in one moment, the k-th as the k-th, and returns when each has ended.
func batch(t *testing.T, h http.Handler, n int) (ended []time.Duration, status []int) {
	t.Helper()
	ended, status = make([]time.Duration, n), make([]int, n)
	var wg sync.WaitGroup
	began := time.Now()
	for k := range n {
		wg.Go(func() {
			status[k], _ = get(t.Context(), h, fmt.Sprintf("/%d", k))
			ended[k] = time.Since(began)
		})
		synctest.Wait() // it has arrived
	}
	wg.Wait()
	return ended, status
}

// TestConcurrency lets two at a time work on a batch, in the order of arrival.
func TestConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		h := with(t, map[string]string{
			"MESHLAB_CONCURRENCY": "2", "MESHLAB_LATENCY": "20ms",
		}, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			order = append(order, r.URL.Path)
			mu.Unlock()
			hello(w, r)
		})
		ended, status := batch(t, h, 20)
		for k, at := range ended {
			if want := time.Duration(k/2+1) * 20 * time.Millisecond; at != want || status[k] != 200 {
				t.Errorf("request %d: %d after %v, want %v", k, status[k], at, want)
			}
		}
		for i := 0; i < len(order); i += 2 { // two end in the same moment
			pair := map[string]bool{order[i]: true, order[i+1]: true}
			if !pair[fmt.Sprintf("/%d", i)] || !pair[fmt.Sprintf("/%d", i+1)] {
				t.Fatalf("worked on as %v", order)
			}
		}
	})
}

// TestQueue refuses at once what finds no room, and has room again later.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := with(t, map[string]string{
			"MESHLAB_CONCURRENCY": "1", "MESHLAB_QUEUE": "2", "MESHLAB_LATENCY": "1s",
		}, hello)
		for range 2 {
			ended, status := batch(t, h, 5)
			wantStatus := []int{200, 200, 200, 503, 503}
			wantEnded := []time.Duration{1e9, 2e9, 3e9, 0, 0}
			if !reflect.DeepEqual(status, wantStatus) || !reflect.DeepEqual(ended, wantEnded) {
				t.Errorf("%v after %v, want %v after %v", status, ended, wantStatus, wantEnded)
			}
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { get(t.Context(), h, "/") })
		}
		synctest.Wait()
		const want = "overloaded: 1 requests at work and 2 waiting are all that " +
			"MESHLAB_CONCURRENCY and MESHLAB_QUEUE allow\n"
		if _, body := get(t.Context(), h, "/"); body != want {
			t.Errorf("refused with %q", body)
		}
		if status, _ := get(t.Context(), h, "/health"); status != 200 {
			t.Errorf("a health check got %d", status)
		}
		wg.Wait()
	})
}

// TestLeaving has clients leave while they work and while they wait: both places are free again.
func TestLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reached := 0
		h := with(t, map[string]string{
			"MESHLAB_CONCURRENCY": "1", "MESHLAB_QUEUE": "1", "MESHLAB_LATENCY": "1m",
		}, func(w http.ResponseWriter, r *http.Request) { reached++; hello(w, r) })
		for range 3 {
			ctx, leave := context.WithCancel(t.Context())
			go get(ctx, h, "/works")
			synctest.Wait()
			go get(ctx, h, "/waits")
			synctest.Wait()
			if status, _ := get(t.Context(), h, "/"); status != 503 {
				t.Fatalf("%d, want both places taken", status)
			}
			leave()
			synctest.Wait()
		}
		if ended, status := batch(t, h, 2); reached != 2 || ended[1] != 2*time.Minute {
			t.Errorf("%v after %v; the app was reached %d times", status, ended, reached)
		}
	})
}

// pipes is a network of pipes in memory, so that it has a bubble's time.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }
func (p pipes) DialContext(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p <- server
	return client, nil
}

// TestBodyWhileWaiting: a client with a body that leaves while it waits is noticed, and one that
// stays has its body read by the app.
func TestBodyWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := with(t, map[string]string{
			"MESHLAB_CONCURRENCY": "1", "MESHLAB_LATENCY": "1m", "MESHLAB_REMEMBER": "10",
		}, func(w http.ResponseWriter, r *http.Request) {
			body, _ := app.Body(r)
			app.Text(w, http.StatusOK, body)
		})
		p := make(pipes)
		server := &http.Server{Handler: h}
		go server.Serve(p) //nolint:errcheck // ends with the test
		transport := &http.Transport{DialContext: p.DialContext}
		defer server.Close()
		defer transport.CloseIdleConnections()
		post := func(ctx context.Context, path string, got *string) {
			r, _ := http.NewRequestWithContext(ctx, "POST", "http://app"+path,
				strings.NewReader("text"))
			res, err := transport.RoundTrip(r)
			if err != nil {
				*got = "left"
				return
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			*got = string(body)
		}
		var first, second string
		var stays sync.WaitGroup
		stays.Go(func() { post(t.Context(), "/stays", &first) })
		synctest.Wait()
		ctx, leave := context.WithCancel(t.Context())
		go post(ctx, "/leaves", &second)
		synctest.Wait()
		leave()
		synctest.Wait()
		left := around.Caller{Path: "/leaves", UserAgent: "Go-http-client/1.1", Count: 1}
		if rows := seen(t, h).Callers; len(rows) != 1 || rows[0] != left || second != "left" {
			t.Errorf("who leaves gets %q; remembered %+v", second, rows)
		}
		stays.Wait()
		synctest.Wait()
		if rows := seen(t, h).Callers; len(rows) != 2 || rows[1].Status != 200 || first != "text" {
			t.Errorf("who stays gets %q; remembered %+v", first, rows)
		}
	})
}

func seen(t *testing.T, h http.Handler) around.Callers {
	t.Helper()
	status, body := get(t.Context(), h, around.CallersPath)
	var c around.Callers
	if err := json.Unmarshal([]byte(body), &c); err != nil || status != 200 {
		t.Fatalf("%d %q: %v", status, body, err)
	}
	return c
}

const clientCert = `By=spiffe://a/ns/x/sa/proxy;Hash=1;Subject="CN=other,O=\"x;y\"";` +
	`URI=spiffe://a/ns/x/sa/first,By=spiffe://a/ns/x/sa/me;Hash=2;Subject="";URI=spiffe://a/ns/x/sa/curl`

// TestCallers remembers who called, alike requests in one row, and no more rows than it has room
// for.
func TestCallers(t *testing.T) {
	h := with(t, map[string]string{"MESHLAB_REMEMBER": "4"},
		func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/aborts":
				panic(http.ErrAbortHandler)
			case "/silent":
				return
			case "/flush":
				w.(http.Flusher).Flush()
				w.WriteHeader(http.StatusTeapot) // too late
				return
			}
			w.WriteHeader(http.StatusEarlyHints)
			app.Text(w, http.StatusNotFound, "")
		})
	cert := []string{"x-forwarded-client-cert", clientCert, "user-agent", "me"}
	for range 3 {
		get(t.Context(), h, "/a?x=1", cert...)
	}
	get(t.Context(), h, "/silent")
	get(t.Context(), h, "/flush")
	get(t.Context(), h, "/health")
	func() {
		defer func() { _ = recover() }()
		get(t.Context(), h, "/aborts", "x-forwarded-client-cert", `Hash=2;Subject="CN=a;b"`)
	}()
	get(t.Context(), h, "/one/too/many")
	get(t.Context(), h, "/a", cert...)
	want := around.Callers{Requests: 8, Forgotten: 1, Callers: []around.Caller{
		{Caller: "spiffe://a/ns/x/sa/curl", UserAgent: "me", Path: "/a", Status: 404, Count: 4},
		{Path: "/flush", Status: 200, Count: 1},
		{Path: "/silent", Status: 200, Count: 1},
		{Caller: "CN=a;b", Path: "/aborts", Count: 1},
	}}
	if got := seen(t, h); !reflect.DeepEqual(got, want) {
		t.Errorf("remembers %+v\n want %+v", got, want)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodDelete, around.CallersPath, nil))
	if got := seen(t, h); w.Code != 204 || got.Requests+got.Forgotten+len(got.Callers) != 0 {
		t.Errorf("%d; after it was told to forget: %+v", w.Code, got)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, around.CallersPath, nil))
	if w.Code != 405 {
		t.Errorf("POST gets %d", w.Code)
	}
}

// TestLongNames keeps of a name what has room.
func TestLongNames(t *testing.T) {
	h := with(t, map[string]string{"MESHLAB_REMEMBER": "4"}, hello)
	get(t.Context(), h, "/"+strings.Repeat("x", 5000))
	if got := seen(t, h).Callers[0].Path; len(got) != 256 {
		t.Errorf("keeps %d bytes", len(got))
	}
}

// TestTransparent: what has no model is not touched, connections of an app are still its own, and
// an app without requests can not have any modelled.
func TestTransparent(t *testing.T) {
	inner := &taker{}
	h, err := around.Handler(model.Model{Queue: model.Unbounded}, app.Env{}, inner)
	if err != nil || h != http.Handler(inner) {
		t.Errorf("without a model: %v, %v", h, err)
	}
	h, err = around.Handler(model.Model{Remember: 1}, app.Env{}, inner)
	if err != nil {
		t.Fatal(err)
	}
	h.(app.Taker).Take(nil, 80)
	if inner.port != 80 {
		t.Error("the app does not see its connections")
	}
	vars := map[string]string{"MESHLAB_REMEMBER": "1"}
	_, err = around.Handler(model.Model{Remember: 1}, app.Env{Vars: vars}, nil)
	const want = `env MESHLAB_REMEMBER = "1": it is of no use: the app serves nothing`
	if err == nil || err.Error() != want {
		t.Errorf("an app that serves nothing: %v, want %s", err, want)
	}
}

type taker struct{ port int }

func (t *taker) ServeHTTP(http.ResponseWriter, *http.Request) {}
func (t *taker) Take(l net.Listener, port int) net.Listener   { t.port = port; return l }

// TestUpgrade lets an app take a connection over.
func TestUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := with(t, map[string]string{"MESHLAB_REMEMBER": "4"},
			func(w http.ResponseWriter, _ *http.Request) {
				c, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
				c.Close()
			})
		p := make(pipes)
		server := &http.Server{Handler: h}
		go server.Serve(p) //nolint:errcheck // ends with the test
		defer server.Close()
		c, _ := p.DialContext(t.Context(), "", "")
		defer c.Close()
		go io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") //nolint:errcheck // seen below
		answer, err := io.ReadAll(c)
		synctest.Wait()
		if rows := seen(t, h).Callers; len(rows) != 1 || rows[0].Status != 101 {
			t.Errorf("%q, %v; remembers %+v", answer, err, rows)
		}
	})
}
