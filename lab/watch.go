package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/lab/chaos"
	"github.com/mesh-lab/mesh-lab/lab/remote"
	"github.com/mesh-lab/mesh-lab/lab/tui"
	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/lab/why"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/reports"
)

func watchCommand(e *env) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "watch",
		Short: "Watch the lab that is up in the terminal, and change it from there",
		Long: `Shows the lab that is up: who calls whom and how fast, how each service is split by
version beside what is wanted, latencies, limits, ejected hosts, faults, requests one by one and
why they went where they did, and what each proxy has ACKed. ? lists the keys.

Weights, loads and faults can be changed from there; each change shows the YAML that it means and
the command that does the same, and asks. q leaves; the lab stays up.`,
		Example: `  mesh-lab up --app customer --detach && mesh-lab watch
  mesh-lab watch --lab other --color never`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error { return e.watch(c.Context(), name) },
	}
	labFlag(c, &name)
	return c
}

// watch shows the terminal UI of a lab that is up.
func (e *env) watch(ctx context.Context, name string) error {
	if !isTerminal(e.out) {
		return usage("watch: standard output is no terminal")
	}
	c, err := running(ctx, name)
	if err != nil {
		return err
	}
	batches, ended := make(chan *feed.Batch), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		ended <- c.Watch(ctx, func(b *feed.Batch) error {
			select {
			case batches <- b:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	err = e.show(ctx, tui.Options{
		Name: name, Change: true, Lab: &watched{c},
		Next: func(ctx context.Context) (*feed.Batch, error) {
			select {
			case b := <-batches:
				return b, nil
			case <-ended: // an error of the stream says no more than that the lab went away
				return nil, io.EOF
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		Over: func() string { return "the lab is down" },
	})
	if errors.Is(err, tui.ErrInterrupted) {
		return nil // one leaves with Ctrl-C as with q
	}
	return err
}

// show runs the terminal UI.
func (e *env) show(ctx context.Context, o tui.Options) error {
	o.Mono = !e.colored(e.out)
	err := tui.Run(ctx, o)
	switch {
	case err == nil, errors.Is(err, tui.ErrInterrupted):
		return err
	case ctx.Err() != nil:
		return &exitError{exitInterrupted, nil}
	case errors.Is(err, tui.ErrTerminal):
		return environment(fmt.Errorf("%w; TERM names which kind it is", err))
	}
	return environment(err)
}

// watched is what the terminal UI can do to a lab.
type watched struct{ c *remote.Client }

// Apply applies an object.
func (w *watched) Apply(ctx context.Context, namespace, yaml string) (string, error) {
	a, err := w.c.Apply(ctx, namespace, []remote.File{{Name: "watch", Data: []byte(yaml)}})
	if err != nil {
		return "", err
	}
	said := fmt.Sprintf("%s: ACKed by %d of %d proxies in %.1f ms", strings.Join(a.Objects, ", "),
		a.Proxies, a.Total, float64(a.Took)/float64(time.Millisecond))
	if len(a.Warnings) > 0 {
		said += "; " + a.Warnings[0]
	}
	return said, nil
}

// Load sends requests until ctx ends.
func (w *watched) Load(ctx context.Context, l tui.Load) (string, error) {
	end, err := w.c.Load(ctx, remote.Load{
		From: l.From, URL: l.URL, QPS: l.QPS, Connections: l.Connections, Duration: -1,
		Timeout: 3 * time.Second, Percentiles: []float64{50, 99}, KeepAlive: true,
		Resolution: 100 * time.Microsecond,
	}, func(int64) {})
	if err != nil {
		return "", err
	}
	said := fmt.Sprintf("the load of %s has ended: %d requests", l.From, end.Sent)
	if f, ok := reports.ReadFortio(end.Fortio); ok && f.Errors() > 0 {
		said += fmt.Sprintf(", %d of them without success", f.Errors())
	}
	return said, nil
}

// Break has a fault begin.
func (w *watched) Break(ctx context.Context, yaml string) (string, error) {
	f, err := w.c.Break(ctx, yaml, nil)
	return told(f), err
}

// Heal ends faults.
func (w *watched) Heal(ctx context.Context, name string) (string, error) {
	f, err := w.c.Heal(ctx, name)
	f.Faults = slices.DeleteFunc(f.Faults, func(s chaos.Status) bool { return s.Name != name })
	return told(f), err
}

// told tells how faults stand.
func told(f remote.Faults) string {
	var out []string
	for i := range f.Faults {
		out = append(out, stands(&f.Faults[i]))
	}
	return strings.Join(out, "; ")
}

// Why explains a request; of one that can not be explained any more it tells what was recorded.
func (w *watched) Why(
	ctx context.Context, id string, hops []observe.Request,
) ([]string, error) {
	e, err := w.c.Why(ctx, remote.Why{ID: id})
	return explained(e, err, hops), nil
}

// explained is an explanation as text; when there is none, what was recorded.
func explained(e *why.Explanation, err error, hops []observe.Request) []string {
	if err != nil {
		said := []string{"Only what was recorded: " + err.Error(), ""}
		return append(said, tui.Hops(hops)...)
	}
	var out []string
	for _, l := range e.Lines(120) {
		out = append(out, l.String())
	}
	return out
}
