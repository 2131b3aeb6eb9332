package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/test/bufconn"

	"github.com/mesh-lab/mesh-lab/lab/remote"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/engine"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/meshcore/incarnation"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/sampleapps"
)

// stateDir is where the sockets of labs that are up stand, for this user alone.
func stateDir() (string, error) {
	dir := os.Getenv("MESHLAB_STATE")
	if dir == "" {
		base := os.Getenv("XDG_RUNTIME_DIR")
		if base == "" {
			base = os.TempDir()
		}
		dir = filepath.Join(base, "mesh-lab-"+strconv.Itoa(os.Getuid()))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("state directory: %w; MESHLAB_STATE names another", clean(err))
	}
	if i, err := os.Stat(dir); err != nil || !ours(i) {
		return "", fmt.Errorf("state directory %s belongs to another user; "+
			"MESHLAB_STATE names another", dir)
	}
	return dir, nil
}

// ours says whether a file is this user's.
func ours(i fs.FileInfo) bool {
	s, ok := i.Sys().(*syscall.Stat_t)
	return !ok || int(s.Uid) == os.Geteuid()
}

// maxSocket bounds the path of a unix socket: macOS has room for 104 bytes, Linux for 108.
const maxSocket = 103

// socket is the path of a lab's socket.
func socket(lab string) (string, error) {
	if lab == "" || strings.ContainsAny(lab, "/\\ ") {
		return "", usage("--lab %q: want a word", lab)
	}
	dir, err := stateDir()
	if err != nil {
		return "", environment(err)
	}
	path := filepath.Join(dir, lab+".sock")
	if len(path) > maxSocket {
		return "", environment(fmt.Errorf("%s: the path is too long for a socket; "+
			"MESHLAB_STATE names a shorter directory", path))
	}
	return path, nil
}

// labFlag adds --lab, which names one of several labs.
func labFlag(c *cobra.Command, lab *string) {
	c.Flags().StringVar(lab, "lab", "default", "`NAME` of the lab, when several are up")
	c.RegisterFlagCompletionFunc("lab", //nolint:errcheck // the flag exists
		cobra.FixedCompletions(nil, cobra.ShellCompDirectiveNoFileComp))
}

// running returns a client of a lab that is up.
func running(ctx context.Context, lab string) (*remote.Client, error) {
	path, err := socket(lab)
	if err != nil {
		return nil, err
	}
	c := remote.Unix(path)
	if _, err := c.Info(ctx); err != nil {
		if errors.Is(err, fs.ErrNotExist) || isRefused(err) {
			return nil, usage("no lab is up (%s): start one with `mesh-lab up -f FILE` "+
				"or `mesh-lab up --app customer`", lab)
		}
		return nil, environment(err)
	}
	return c, nil
}

// seed parses --seed, or draws one.
func (e *env) seed() (uint64, error) {
	if e.flags.seed == "" {
		return uint64(time.Now().UnixNano()) & 0xffffff, nil
	}
	s, err := strconv.ParseUint(e.flags.seed, 16, 64)
	if err != nil {
		return 0, usage("--seed %q: want a hexadecimal number of at most 16 digits", e.flags.seed)
	}
	return s, nil
}

// driver returns what brings the mesh up, on the data plane that --proxy names. What a lab that was
// killed has left of its Envoys goes first.
func (e *env) driver() (topology.Driver, error) { return e.driverOf(e.flags.proxy) }

// envoyDir is where files of labs with real Envoys go.
func envoyDir(state string) string { return filepath.Join(state, "envoy") }

// driverOf is driver for a data plane.
func (e *env) driverOf(proxy string) (topology.Driver, error) {
	sweepSockets()
	if e.flags.topology == "docker" {
		return docker.Driver{Proxy: proxy, Note: e.note()}, nil
	}
	d := embedded.Driver{Proxy: proxy}
	if d.Proxy != "envoy" {
		return d, nil
	}
	state, err := stateDir()
	if err != nil {
		return nil, environment(err)
	}
	d.Dir = envoyDir(state)
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return nil, environment(clean(err))
	}
	e.sweepEnvoys(d.Dir, false)
	return d, nil
}

// sweepSockets removes the sockets that killed labs have left, where those are files.
func sweepSockets() {
	for _, d := range incarnation.Dirs(os.TempDir(), incarnation.Sockets) {
		os.RemoveAll(d) //nolint:errcheck // it may be another user's
	}
}

// sweepEnvoys ends the Envoys that killed labs have left, and removes their files; also those logs
// that were kept for somebody to read, if all are to go.
func (e *env) sweepEnvoys(dir string, all bool) {
	if n := envoy.SweepRuns(dir, all); n > 0 {
		e.log.Warn("ended what a killed mesh-lab had left", "envoys", n)
	}
}

// note tells the user something once, however many meshes are brought up.
func (e *env) note() func(text string) {
	var mu sync.Mutex
	said := map[string]bool{}
	return func(text string) {
		mu.Lock()
		defer mu.Unlock()
		if !said[text] {
			said[text] = true
			fmt.Fprintf(e.err, "note: %s\n", text)
		}
	}
}

// progress tells a person what the bring-up of a mesh is at, on one line that the next takes the
// place of; end takes the last away.
func (e *env) progress() (tell func(what string), end func()) {
	if !isTerminal(e.err) {
		return nil, func() {}
	}
	began := time.Now()
	return func(what string) {
			fmt.Fprintf(e.err, "\r\x1b[K%4.1f s  %s\r", time.Since(began).Seconds(), what)
		}, func() {
			fmt.Fprint(e.err, "\r\x1b[K")
		}
}

// keep is how many records of each kind a lab remembers; what needs more of them watches.
const keep = 20_000

// bring starts a mesh of its own for one command; fixed publishes gateways on their own ports.
func (e *env) bring(ctx context.Context, s source, fixed bool) (topology.Mesh, uint64, error) {
	var c *istio.Config
	if err := leavable(ctx, func() (err error) { c, err = e.config(s); return err }); err != nil {
		return nil, 0, err
	}
	seed, err := e.seed()
	if err != nil {
		return nil, 0, err
	}
	if len(c.Objects) == 0 {
		return nil, 0, usage("the configuration is empty")
	}
	driver, err := e.driver()
	if err != nil {
		return nil, 0, err
	}
	if d, ok := driver.(docker.Driver); ok { // which takes seconds
		var end func()
		d.Progress, end = e.progress()
		defer end()
		driver = d
	}
	m, err := driver.Up(ctx, topology.Spec{
		Config: c, Seed: seed, UnknownImage: s.unknown, Log: e.log, FixedPorts: fixed,
		Exact: s.exact, AccessLog: e.accessLog(),
		OwnLog: e.ownLog(fixed),
	})
	if err != nil {
		return nil, 0, upError(err)
	}
	m.Recorder().Keep(keep) // it may be up for long
	for _, d := range notes(m) {
		fmt.Fprintf(e.err, "note: %s\n", d)
	}
	if x, ok := m.(topology.Exact); ok && s.exact {
		now := reports.Exactness(x.Exactness())
		for _, line := range reports.Exactly(&now) {
			fmt.Fprintf(e.err, "note: %s\n", line)
		}
	}
	return m, seed, nil
}

// accessLog prints the proxies' access logs with -v, marked as kubectl logs --prefix marks them.
// Results on standard output stay readable: they go where progress and logs go.
func (e *env) accessLog() func(pod string, line []byte) {
	if e.flags.verbose == 0 {
		return nil
	}
	var mu sync.Mutex
	var buf []byte
	return func(pod string, line []byte) {
		mu.Lock()
		defer mu.Unlock()
		buf = append(append(append(buf[:0], "[pod/"...), pod...), "/istio-proxy] "...)
		buf = append(buf, line...)
		if len(line) == 0 || line[len(line)-1] != '\n' {
			buf = append(buf, '\n')
		}
		e.err.Write(buf) //nolint:errcheck // nobody is there to be told
	}
}

// notes are what the lab did of its own accord, such as making a gateway pod.
func notes(m topology.Mesh) []istio.Diagnostic {
	n, ok := m.(interface{ Notes() []istio.Diagnostic })
	if !ok {
		return nil
	}
	return n.Notes()
}

// upError tells the environment's errors from those of the input.
func upError(err error) error {
	var x *exitError
	var errno syscall.Errno
	var program *exec.Error
	var unusable *engine.UnusableError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &x):
		return err
	case errors.Is(err, topology.ErrEnvoy), errors.As(err, &program), errors.As(err, &unusable):
		return environment(err)
	case errors.As(err, &errno), errors.Is(err, context.DeadlineExceeded):
		return environment(err)
	}
	return &exitError{exitUsage, err}
}

// info describes a mesh to its clients.
func (e *env) info(name string, seed uint64) remote.Info {
	return remote.Info{
		Name: name, PID: os.Getpid(), Version: buildVersion(), Topology: e.flags.topology,
		Proxy: e.flags.proxy, Seed: strconv.FormatUint(seed, 16),
	}
}

// private serves a mesh of the command's own over memory; close ends both.
func (e *env) private(m topology.Mesh, seed uint64) (c *remote.Client, closeAll func() error) {
	l := bufconn.Listen(64 << 10)
	s := remote.NewServer(m, e.info("private", seed), nil)
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }() //nolint:errcheck // ends with Close
	return remote.NewClient(l.DialContext), func() error {
		err := s.Close()
		<-done
		return errors.Join(err, s.Heal(context.Background()), m.Close(context.Background()))
	}
}

// lab returns the client that a command works with: of a lab of its own when files are given, else
// of the one that is up.
func (e *env) lab(
	ctx context.Context, s source, name string,
) (*remote.Client, func() error, error) {
	if len(s.files) == 0 && s.app == "" {
		if s.exact {
			return nil, nil, usage("--exact is for a lab of the command's own (-f, --app); " +
				"`mesh-lab up --exact` is for one that stays")
		}
		if s.namespace != "" {
			return nil, nil, usage("--namespace is for objects of -f or --app; " +
				"WORKLOAD.NAMESPACE names a workload")
		}
		c, err := running(ctx, name)
		return c, func() error { return nil }, err
	}
	m, seed, err := e.bring(ctx, s, false)
	if err != nil {
		return nil, nil, err
	}
	c, closeAll := e.private(m, seed)
	return c, closeAll, nil
}

// sourceFlags adds the flags that say where configuration comes from.
func sourceFlags(c *cobra.Command, s *source) {
	f := c.Flags()
	f.StringArrayVarP(&s.files, "filename", "f", nil,
		"`FILE` or directory of YAML or JSON, - for stdin")
	f.StringVar(&s.app, "app", "", "a bundled app: `NAME` of one that mesh-lab apps lists")
	short := "n"
	if c.Name() == "request" || c.Name() == "load" {
		short = "" // it is how many
	}
	namespaceFlag(c, &s.namespace, short)
	f.StringVar(&s.meshConfig, "mesh-config", "", "`FILE` with the MeshConfig")
	f.StringVar(&s.unknown, "unknown-image", "", "`APP` to run for images that are not bundled")
	exactFlag(c, &s.exact)
	c.RegisterFlagCompletionFunc("app", //nolint:errcheck // the flag exists
		cobra.FixedCompletions(sampleapps.Names(), cobra.ShellCompDirectiveNoFileComp))
}

// namespaceFlag adds --namespace, for objects as they are read.
func namespaceFlag(c *cobra.Command, namespace *string, short string) {
	c.Flags().StringVarP(namespace, "namespace", short, "",
		"`NAMESPACE` of objects that name none (default \"default\")")
}

// exactFlag adds --exact.
func exactFlag(c *cobra.Command, exact *bool) {
	c.Flags().BoolVar(exact, "exact", false,
		"enumerate weights, fault and mirror percentages instead of drawing them; "+
			"alters what a real Envoy is given, and says so")
}

// answered turns an error of a lab into one with an exit status.
func answered(err error) error {
	var ie *remote.InvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ie):
		return &exitError{exitUsage, err}
	}
	return environment(err)
}
