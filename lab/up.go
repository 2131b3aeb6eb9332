package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/mesh-lab/mesh-lab/lab/remote"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/sampleapps"
)

func upCommand(e *env) *cobra.Command {
	var s source
	var name string
	var detach bool
	c := &cobra.Command{
		Use:   "up (-f FILE... | --app NAME)",
		Short: "Start a mesh and keep it up until Ctrl-C",
		Example: `  mesh-lab up --app customer
  mesh-lab up -f manifests/ -f istio/ --detach
  mesh-lab request --from curl http://customer:8080/   # in another terminal`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(s.files) == 0 && s.app == "" {
				return usage("up: what? -f FILE... or --app NAME (`mesh-lab apps`)")
			}
			if detach {
				return e.detach(c.Context(), name)
			}
			return e.up(c.Context(), s, name)
		},
	}
	sourceFlags(c, &s)
	labFlag(c, &name)
	c.Flags().BoolVar(&detach, "detach", false, "leave it running in the background")
	return c
}

// up brings a mesh up, answers commands, and takes it down again.
func (e *env) up(ctx context.Context, s source, name string) (err error) {
	l, err := claim(name)
	if err != nil {
		return err
	}
	defer l.Close() // which removes its file
	began := time.Now()
	m, seed, err := e.bring(ctx, s, true)
	if err != nil {
		return err
	}
	ctx, down := context.WithCancel(ctx)
	defer down()
	srv := remote.NewServer(m, e.info(name, seed), down)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	e.greet(m, s.app, time.Since(began))
	select {
	case err = <-failed:
	case <-ctx.Done():
		err = srv.Shutdown(context.WithoutCancel(ctx))
	}
	healed := srv.Heal(context.WithoutCancel(ctx))
	err = environment(errors.Join(err, healed, m.Close(context.WithoutCancel(ctx))))
	fmt.Fprintln(e.err, "down")
	srv.Gone()
	return err
}

// gone forgives a file that is not there.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// claim opens the lab's socket; one that nobody answers on any more is taken over.
func claim(name string) (net.Listener, error) {
	path, err := socket(name)
	if err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Dir(path))
	if err != nil {
		return nil, environment(err)
	}
	defer unlock()
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if c, derr := net.Dial("unix", path); derr == nil {
			c.Close()
			return nil, taken(name)
		}
		if err = os.Remove(path); err == nil {
			l, err = net.Listen("unix", path)
		}
	}
	return l, environment(err)
}

// taken says that there is such a lab.
func taken(name string) error {
	return &exitError{exitEnvironment, fmt.Errorf("a lab %q is up already: "+
		"`mesh-lab down%s`, or give this one another --lab", name, otherLab(name))}
}

// lock keeps others from claiming a socket in a directory until unlock is called.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(&os.PathError{Op: "lock", Path: dir, Err: err}, f.Close())
	}
	return func() { f.Close() }, nil
}

// greet says that the mesh is ready, and where; of a bundled set, which page to open.
func (e *env) greet(m topology.Mesh, set string, took time.Duration) {
	var names []string
	seen := map[string]bool{}
	for _, p := range m.Registry().Pods {
		if !seen[p.Workload] {
			seen[p.Workload] = true
			names = append(names, p.Workload)
		}
	}
	text := fmt.Sprintf("ready in %.1f s: %s · %d proxies\n", took.Seconds(),
		strings.Join(names, " "), len(m.Proxies()))
	for _, g := range m.Gateways() {
		text += fmt.Sprintf("gateway %s port %d: %s://%s\n", g.Gateway, g.Port,
			spoken(m.Config(), g.Port), g.Address)
		if !strings.HasSuffix(g.Address, fmt.Sprintf(":%d", g.Port)) {
			fmt.Fprintf(e.err, "note: port %d of %s is at %s: the port itself can not be had\n",
				g.Port, g.Gateway, g.Address)
		}
	}
	if page := front(m, set); page != "" {
		text += "open " + page + "\n"
	}
	text += ownServices(m)
	io.WriteString(e.out, text) // one write: a waiting parent reads it whole
}

// front is the URL of the page that a bundled set is opened with; empty without one.
func front(m topology.Mesh, set string) string {
	s, ok := sampleapps.SetOf(set)
	if !ok || s.Open == "" {
		return ""
	}
	for _, g := range m.Gateways() {
		if scheme := spoken(m.Config(), g.Port); scheme == "http" {
			return scheme + "://" + g.Address + s.Open
		}
	}
	return ""
}

// spoken returns how URLs of a gateway's port begin, as the first Gateway with this port says it.
func spoken(c *istio.Config, port int) string {
	for _, o := range c.Objects {
		g, ok := o.Body.(*networkingv1alpha3.Gateway)
		if !ok {
			continue
		}
		for _, s := range g.Servers {
			if int(s.GetPort().GetNumber()) != port {
				continue
			}
			switch p := strings.ToLower(s.Port.Protocol); p {
			case "https", "tls", "tcp":
				return p
			}
			return "http"
		}
	}
	return "http"
}

// detach starts the same command in the background and waits until it is ready.
func (e *env) detach(ctx context.Context, name string) error {
	self, err := os.Executable()
	if err != nil {
		return environment(err)
	}
	var args []string
	for _, a := range os.Args[1:] {
		if a != "--detach" && a != "--detach=true" {
			args = append(args, a)
		}
	}
	if _, err := running(ctx, name); err == nil {
		return taken(name)
	}
	path, err := socket(name)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(strings.TrimSuffix(path, ".sock")+".log",
		os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return environment(clean(err))
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return environment(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.stdin(), w, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return environment(errors.Join(err, r.Close(), w.Close()))
	}
	w.Close()
	stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(os.Interrupt) })
	defer stop()
	return e.await(cmd, r, log, name)
}

// stdin hands a file on, and nothing else.
func (e *env) stdin() *os.File {
	f, _ := e.in.(*os.File)
	return f
}

// await copies the greeting of the lab in the background, or its failure.
func (e *env) await(cmd *exec.Cmd, r, log *os.File, name string) error {
	defer r.Close()
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	greeting := make(chan string, 1)
	go func() {
		b := make([]byte, 64<<10)
		n, _ := r.Read(b) // one write: the greeting
		greeting <- string(b[:n])
	}()
	if g := <-greeting; g != "" {
		fmt.Fprint(e.out, g)
		fmt.Fprintf(e.err, "in the background (pid %d), its log is %s; `mesh-lab down%s` ends it\n",
			cmd.Process.Pid, log.Name(), otherLab(name))
		return nil
	}
	err := <-exited
	defer os.Remove(log.Name()) // everything is said
	if _, serr := log.Seek(0, io.SeekStart); serr == nil {
		io.Copy(e.err, log) //nolint:errcheck // the message is best effort
	}
	var xe *exec.ExitError
	if errors.As(err, &xe) {
		return &exitError{xe.ExitCode(), nil}
	}
	return environment(err)
}

func otherLab(name string) string {
	if name == "default" {
		return ""
	}
	return " --lab " + name
}

func downCommand(e *env) *cobra.Command {
	var name string
	var all bool
	c := &cobra.Command{
		Use:     "down",
		Short:   "End a lab that is up, and remove what crashed ones left",
		Example: "  mesh-lab down\n  mesh-lab down --all",
		Args:    none,
		RunE: func(c *cobra.Command, _ []string) error {
			if all {
				return e.downAll(c.Context())
			}
			l, err := running(c.Context(), name)
			if err != nil {
				return err
			}
			if err := l.Down(c.Context()); err != nil {
				return answered(err)
			}
			fmt.Fprintf(e.out, "%s: down\n", name)
			return nil
		},
	}
	labFlag(c, &name)
	c.Flags().BoolVar(&all, "all", false, "every lab of this user, and what crashed ones left")
	return c
}

// downAll ends every lab, and removes what crashed ones left: sockets, logs, Envoys and their
// files, and what they had in Docker.
func (e *env) downAll(ctx context.Context) error {
	dir, err := stateDir()
	if err != nil {
		return environment(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return environment(err)
	}
	var errs []error
	for _, d := range entries {
		name, ok := strings.CutSuffix(d.Name(), ".sock")
		if strings.HasSuffix(d.Name(), ".log") { // of one in the background
			errs = append(errs, gone(os.Remove(filepath.Join(dir, d.Name()))))
		}
		if !ok {
			continue
		}
		l, err := running(ctx, name)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			errs = append(errs, gone(os.Remove(filepath.Join(dir, d.Name()))))
			fmt.Fprintf(e.out, "%s: was not running; removed what it left\n", name)
		default:
			errs = append(errs, l.Down(ctx))
			fmt.Fprintf(e.out, "%s: down\n", name)
		}
	}
	sweepSockets()
	e.sweepEnvoys(envoyDir(dir), true)
	errs = append(errs, e.sweepDocker(ctx))
	return environment(errors.Join(errs...))
}

// table writes aligned columns.
func (e *env) table() *tabwriter.Writer { return tabwriter.NewWriter(e.out, 0, 8, 3, ' ', 0) }
