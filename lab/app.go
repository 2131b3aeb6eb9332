package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/sampleapps"
	"github.com/mesh-lab/mesh-lab/sampleapps/app"
	"github.com/mesh-lab/mesh-lab/sampleapps/model"
)

// appFlags are those of an app that runs alone.
type appFlags struct {
	version, listen string
	env             []string
}

func appCommand(e *env) *cobra.Command {
	var f appFlags
	c := &cobra.Command{
		Use:   "app NAME",
		Short: "Run one bundled app alone, as a plain server on this machine",
		Long: `app runs one of the bundled apps without a mesh, on the machine's own network: a
line on stdout for each request. Its own calls go to where its variables say. Ctrl-C and SIGTERM
let requests under way end, and exit 0; once more ends at once.`,
		Example: `  mesh-lab app recommendation --version v2
  mesh-lab app reviews --version v2 --listen 127.0.0.1:9080 --env RATINGS_HOSTNAME=localhost`,
		Args: wants(1, 1, "which one? `mesh-lab apps` lists them"),
		ValidArgsFunction: cobra.FixedCompletions(servers(),
			cobra.ShellCompDirectiveNoFileComp),
		RunE: func(c *cobra.Command, args []string) error {
			return e.serveApp(c.Context(), args[0], &f)
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.version, "version", "", "the app's `VERSION`, as a pod's label says it: v2")
	fs.StringVar(&f.listen, "listen", "",
		"`HOST:PORT` to serve on (default: 127.0.0.1 and the app's own port)")
	fs.StringArrayVar(&f.env, "env", nil, "`NAME=VALUE` of a variable of the app (docs/apps.md)")
	return c
}

// servers lists the apps that serve something.
func servers() []string {
	var names []string
	for _, a := range sampleapps.Apps() {
		if a.Port != 0 {
			names = append(names, a.Name)
		}
	}
	return names
}

// serveApp serves one app until it is told to end.
func (e *env) serveApp(ctx context.Context, name string, f *appFlags) error {
	a, ok := sampleapps.Lookup(name)
	if !ok {
		return usage("app: %w", runner.NoApp(name, servers()))
	}
	if err := a.Missing(); err != nil {
		return usage("app: %w", err)
	}
	if a.Port == 0 {
		return usage("app: %s serves nothing: it is a client in a mesh. "+
			"Requests are sent from it: mesh-lab request --app %s --from %s URL", name, name, name)
	}
	alone, err := f.pod(a)
	if err != nil {
		return err
	}
	seed, err := e.seed()
	if err != nil {
		return err
	}
	alone.Seed = clock.Sub(seed, "app", name)
	ctx, closed := context.WithCancel(ctx)
	defer closed()
	alone.Closed, alone.Log = ctx, e.log
	h, err := a.Start(alone)
	if err = errors.Join(append(model.Unknown(alone.Vars), err)...); err != nil {
		return usage("app %s: %w", name, err)
	}
	behaves, _ := model.Read(alone.Vars) // Start has read it
	if !alone.Wait(ctx, behaves.Startup) {
		return ctx.Err()
	}
	at := cmp.Or(f.listen, fmt.Sprintf("127.0.0.1:%d", a.Port))
	l, err := listen(at)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.err, "%s %s listens on http://%s\n", name, alone.AppVersion(), l.Addr())
	srv := app.NewServer(&logged{Handler: h, env: e}, a.HTTP2, e.log)
	failed := make(chan error, 1)
	go func() { failed <- app.Serve(srv, l, l.Addr().(*net.TCPAddr).Port) }()
	return e.untilTold(ctx, srv, failed)
}

// untilTold lets a server run until a signal comes, and then end what is under way.
func (e *env) untilTold(ctx context.Context, srv *http.Server, failed <-chan error) error {
	told, tell := context.WithCancel(ctx)
	now, hurry := context.WithCancel(ctx)
	defer tell()
	defer hurry()
	again := func() {
		if told.Err() != nil {
			hurry()
		}
		tell()
	}
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		e.signals.take(sig, again)
	}
	select {
	case err := <-failed:
		return environment(err)
	case <-told.Done():
		fmt.Fprintln(e.err, "ending with what is under way (once more: at once)")
	}
	if srv.Shutdown(now) != nil {
		return &exitError{exitInterrupted, srv.Close()}
	}
	return nil
}

// pod makes what an app is given from outside of what the flags say.
func (f *appFlags) pod(a sampleapps.App) (app.Env, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	vars := map[string]string{"HOSTNAME": host}
	for _, kv := range f.env {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return app.Env{}, usage("--env %q: want NAME=VALUE", kv)
		}
		if k == model.Ready || k == model.ReadyAfter {
			return app.Env{}, usage("--env %s: only in a mesh are there endpoints that are ready "+
				"or not", k)
		}
		vars[k] = v
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	return app.Env{
		Pod: vars["HOSTNAME"], Workload: a.Name, Namespace: "default", Version: f.version,
		Vars: vars, Clock: clock.NewReal(),
		Client: app.Client(transport),
	}, nil
}

// listen opens a socket and says what to do when it can not be had.
func listen(at string) (net.Listener, error) {
	if _, port, err := net.SplitHostPort(at); err != nil {
		return nil, usage("--listen %q: %w; want HOST:PORT, as 127.0.0.1:9080", at, err)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, usage("--listen %q: %q is no port; want 0 (any that is free) to 65535",
			at, port)
	}
	l, err := net.Listen("tcp", at)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, environment(fmt.Errorf("%w: end what listens there, or choose another "+
			"with --listen HOST:PORT (port 0: any that is free)", err))
	case errors.Is(err, syscall.EACCES):
		return nil, environment(fmt.Errorf("%w: this port needs rights; choose one above 1023 "+
			"with --listen HOST:PORT", err))
	}
	return l, environment(err)
}

// logged writes one line for each request that its handler has answered.
type logged struct {
	http.Handler
	env *env
	mu  sync.Mutex
}

// Take leaves connections to an app that takes them.
func (g *logged) Take(l net.Listener, port int) net.Listener {
	if t, ok := g.Handler.(app.Taker); ok {
		return t.Take(l, port)
	}
	return l
}

// ServeHTTP logs also what ends in a panic: a connection that the app breaks off.
func (g *logged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	s := &app.Writer{ResponseWriter: w}
	defer func() {
		status := strconv.Itoa(cmp.Or(s.Status, http.StatusOK))
		if p := recover(); p != nil {
			status = "-"
			defer panic(p)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		fmt.Fprintf(g.env.out, "%s %s %s %.1fms\n", r.Method, r.RequestURI, status,
			float64(time.Since(began).Microseconds())/1000)
	}()
	g.Handler.ServeHTTP(s, r)
}
