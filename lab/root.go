// Package lab is the command line of mesh-lab: flags, sub-commands, and the wiring of topologies,
// load, scenarios and reports. What the commands do is fixed by contract; what they are made of is
// not here.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// The exit statuses.
const (
	exitOK           = 0
	exitFail         = 1 // a verdict failed
	exitUsage        = 2 // usage or invalid input
	exitInconclusive = 3 // inconclusive, nothing failed
	exitEnvironment  = 4 // the environment could not do it
	exitInterrupted  = 130
)

// exitError carries an exit status; err may be nil when everything has been said.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// environment marks an error as the environment's.
func environment(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitEnvironment, err}
}

// usage makes an error of wrong usage or invalid input.
func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// env is what every command works with.
type env struct {
	in     io.Reader
	out    io.Writer // results and data
	err    io.Writer // progress and logs
	log    *slog.Logger
	flags  commonFlags
	output string // -o

	signals signals
}

// commonFlags are the flags that every command takes.
type commonFlags struct {
	topology, proxy, color string
	seed                   string
	verbose                int
}

// Main runs the command line and returns its exit status.
func Main(args []string, in io.Reader, out, err io.Writer) int {
	e := &env{in: in, out: out, err: err}
	ctx, stop := e.interruptible(context.Background(), os.Exit)
	defer stop()
	root := newRoot(e)
	if c, _, err := root.Find(args); err == nil && c.Name() == "load" {
		args = longFlags(c, args)
	}
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(err)
	return e.status(ctx, root.ExecuteContext(ctx))
}

// interruptible returns a context that ends with Ctrl-C, so that a command can clean up; the second
// Ctrl-C exits at once. What a command takes of signals is its own.
func (e *env) interruptible(ctx context.Context, exit func(int)) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signals = append(signals, syscall.SIGHUP)
	}
	came := make(chan os.Signal, 2)
	signal.Notify(came, signals...)
	e.signals.came = came
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; {
			select {
			case sig := <-came:
				if e.signals.call(sig) {
					continue
				}
				if n++; n > 1 {
					exit(exitInterrupted)
				}
				fmt.Fprintln(e.err,
					"\rmesh-lab: interrupted; cleaning up (once more: exit at once)")
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() { signal.Stop(came); close(done); <-ended; cancel() }
}

// status prints an error and tells its exit status.
func (e *env) status(ctx context.Context, err error) int {
	if ctx.Err() != nil {
		return exitInterrupted // which has been said
	}
	if err == nil {
		return exitOK
	}
	var x *exitError
	if !errors.As(err, &x) { // cobra's own errors are all of usage
		x = &exitError{exitUsage, err}
	}
	if x.err != nil {
		fmt.Fprintf(e.err, "mesh-lab: %v\n", x.err)
	}
	return x.code
}

func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "mesh-lab",
		Short: "A whole service mesh on your laptop, and the truth about what it does",
		Long: `mesh-lab runs a service mesh from the same Istio and Kubernetes YAML that production
uses: control plane, sidecars, gateways and sample apps, in one process, with nothing to install.
A scenario drives it with load and gives a verdict whose error rates are stated.`,
		Example: `  mesh-lab run canary                      # a bundled scenario
  mesh-lab up --app customer               # a mesh to play with
  mesh-lab request -f my.yaml --from curl http://reviews:9080/`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          known,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%v; `%s -h` lists the flags", err, c.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVar(&e.flags.topology, "topology", "embedded",
		"where the mesh runs: `embedded`, or docker (each pod in containers)")
	f.StringVar(&e.flags.proxy, "proxy", "meshcore",
		"the data plane: `meshcore`, or envoy (a real Envoy for each proxy)")
	f.StringVar(&e.flags.seed, "seed", "",
		"`SEED` of everything random, hexadecimal (default: another each time)")
	f.StringVar(&e.flags.color, "color", "auto", "colours: `auto`, always or never (and NO_COLOR)")
	f.CountVarP(&e.flags.verbose, "verbose", "v", "say more (-vv: debug logs)")
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return e.prepare() }
	commands(root, e)
	return root
}

// known refuses a command that there is not, and says which one may be meant.
func known(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return usage("there is no command %q; is %s meant?", args[0], strings.Join(near, " or "))
	}
	return usage("there is no command %q; `mesh-lab -h` lists them", args[0])
}

// wants checks the number of arguments; what says which ones, for who forgot them.
func wants(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage("%s: %s; `%s -h` shows examples", c.Name(), what, c.CommandPath())
		case most >= 0 && len(args) > most:
			return usage("%s: unexpected argument %q; `%s -h` shows examples", c.Name(), args[most],
				c.CommandPath())
		}
		return nil
	}
}

// none takes no arguments.
var none = wants(0, 0, "")

// commands lists every sub-command, by what it is for.
func commands(root *cobra.Command, e *env) {
	for _, g := range []struct {
		title string
		all   []*cobra.Command
	}{
		{"Verdicts:", []*cobra.Command{
			runCommand(e), validateCommand(e), reportCommand(e), parityCommand(e),
		}},
		{"A lab to play with:", []*cobra.Command{
			upCommand(e), downCommand(e), applyCommand(e), deleteCommand(e), getCommand(e),
			requestCommand(e), whyCommand(e), graphCommand(e), loadCommand(e), chaosCommand(e),
			watchCommand(e),
			proxyConfigCommand(e), proxyStatusCommand(e),
		}},
		{"One part of a mesh:", []*cobra.Command{
			controlPlaneCommand(e), proxyCommand(e), appCommand(e), partCommand(e),
		}},
		{"What there is:", []*cobra.Command{
			scenariosCommand(e), appsCommand(e), schemaCommand(e), doctorCommand(e),
			versionCommand(e),
		}},
	} {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, c := range g.all {
			c.GroupID, c.DisableFlagsInUseLine = g.title, true
			root.AddCommand(c)
		}
	}
	root.SetHelpCommandGroupID("What there is:")
	root.SetCompletionCommandGroupID("What there is:")
}

// logTo makes the logger.
func (e *env) logTo(w io.Writer) {
	level := slog.LevelWarn
	switch {
	case e.flags.verbose == 1:
		level = slog.LevelInfo
	case e.flags.verbose > 1:
		level = slog.LevelDebug
	}
	e.log = slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// prepare checks the common flags and makes the logger.
func (e *env) prepare() error {
	e.logTo(e.err)
	switch e.flags.topology {
	case "embedded", "docker":
	case "kubernetes", "sim":
		return usage("--topology %s is not there yet; embedded and docker are", e.flags.topology)
	default:
		return usage("--topology %q is unknown; one of embedded, docker, kubernetes, sim",
			e.flags.topology)
	}
	switch e.flags.proxy {
	case "meshcore", "envoy":
	default:
		return usage("--proxy %q is unknown; one of meshcore, envoy", e.flags.proxy)
	}
	switch e.flags.color {
	case "auto", "always", "never":
	default:
		return usage("--color %q is unknown; one of auto, always, never", e.flags.color)
	}
	return nil
}

// colored says whether to write colours to w.
func (e *env) colored(w io.Writer) bool {
	switch e.flags.color {
	case "always":
		return true
	case "never":
		return false
	}
	return os.Getenv("NO_COLOR") == "" && isTerminal(w)
}

func isTerminal(w io.Writer) bool {
	if h, ok := w.(*held); ok {
		w = h.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// outputFlag adds -o with its allowed values; the first is the default.
func outputFlag(e *env, c *cobra.Command, formats ...string) {
	c.Flags().StringVarP(&e.output, "output", "o", formats[0],
		"`FORMAT` of the output: "+strings.Join(formats, " or "))
	c.RegisterFlagCompletionFunc("output", //nolint:errcheck // the flag exists
		cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	check := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		for _, f := range formats {
			if e.output == f {
				return check(c, args)
			}
		}
		return usage("-o %q is unknown; one of %s", e.output, strings.Join(formats, ", "))
	}
}
