package lab

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/lab/remote"
)

func applyCommand(e *env) *cobra.Command {
	return e.changeCommand(&cobra.Command{
		Use:   "apply -f FILE...",
		Short: "Change the configuration of the lab that is up; returns when every proxy has ACKed",
		Example: `  mesh-lab apply -f virtualservice.yaml
  mesh-lab apply -f scenarios/security/istio/strict.yaml      # plain text is refused from now on
  cat *.yaml | mesh-lab apply -f -`,
	}, (*remote.Client).Apply)
}

func deleteCommand(e *env) *cobra.Command {
	c := e.changeCommand(&cobra.Command{
		Use:   "delete (-f FILE... | KIND NAME...)",
		Short: "Remove objects from the lab that is up; returns when every proxy has ACKed",
		Example: `  mesh-lab delete -f virtualservice.yaml
  mesh-lab delete vs reviews`,
	}, (*remote.Client).Delete)
	return c
}

// change is Client.Apply or Client.Delete.
type change func(
	c *remote.Client, ctx context.Context, namespace string, files []remote.File,
) (remote.Applied, error)

// changeCommand completes apply and delete, which differ in the call; delete takes names, too.
func (e *env) changeCommand(c *cobra.Command, call change) *cobra.Command {
	var files []string
	var name, namespace string
	c.Args = none
	if c.Name() == "delete" {
		c.Args = nil
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if (len(files) == 0) == (len(args) < 2) {
			return usage("%s: what? `%s -h` shows examples", c.Name(), c.CommandPath())
		}
		send, err := e.sendFiles(files)
		if err != nil {
			return err
		}
		l, err := running(c.Context(), name)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			if send, err = named(c.Context(), l, args, namespace); err != nil {
				return err
			}
		}
		a, err := call(l, c.Context(), namespace, send)
		if err != nil {
			return answered(err)
		}
		e.printApplied(a)
		return nil
	}
	namespaceFlag(c, &namespace, "n")
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "`FILE` or directory, - for stdin")
	labFlag(c, &name)
	return c
}

// sendFiles reads files for a lab.
func (e *env) sendFiles(names []string) ([]remote.File, error) {
	in, err := e.readFiles(names)
	var out []remote.File
	for _, f := range in {
		out = append(out, remote.File{Name: f.Name, Data: f.Data})
	}
	return out, err
}

// named makes files of objects in the lab: KIND NAME...
func named(
	ctx context.Context, l *remote.Client, args []string, namespace string,
) ([]remote.File, error) {
	kinds, err := kindsOf(args[0])
	if err != nil {
		return nil, err
	}
	all, err := l.Objects(ctx)
	if err != nil {
		return nil, answered(err)
	}
	var out []remote.File
	for _, n := range args[1:] {
		found := choose(all, kinds, namespace, []string{n})
		if len(found) == 0 {
			return nil, usage("no %s %q in the lab", strings.Join(kinds, " or "), n)
		}
		for _, o := range found {
			out = append(out, remote.File{Name: o.Kind + "/" + o.Name, Data: o.JSON})
		}
	}
	return out, nil
}

func (e *env) printApplied(a remote.Applied) {
	for _, w := range a.Warnings {
		fmt.Fprintf(e.err, "warning: %s\n", w)
	}
	for _, o := range a.Objects {
		fmt.Fprintln(e.out, o)
	}
	fmt.Fprintf(e.err, "%d of %d proxies in %s\n", a.Proxies, a.Total,
		a.Took.Round(100*time.Microsecond))
}
