package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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
  cat *.yaml | mesh-lab apply -f -`,
	}, (*remote.Client).Apply)
}

func deleteCommand(e *env) *cobra.Command {
	return e.changeCommand(&cobra.Command{
		Use:     "delete -f FILE...",
		Short:   "Remove objects from the lab that is up; returns when every proxy has ACKed",
		Example: "  mesh-lab delete -f virtualservice.yaml",
	}, (*remote.Client).Delete)
}

// change is Client.Apply or Client.Delete.
type change func(*remote.Client, context.Context, []remote.File) (remote.Applied, error)

// changeCommand completes apply and delete, which differ in the call alone.
func (e *env) changeCommand(c *cobra.Command, call change) *cobra.Command {
	var files []string
	var name string
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error {
		if len(files) == 0 {
			return usage("%s: -f FILE...", c.Name())
		}
		in, err := e.readFiles(files)
		if err != nil {
			return err
		}
		l, err := running(c.Context(), name)
		if err != nil {
			return err
		}
		var send []remote.File
		for _, f := range in {
			send = append(send, remote.File{Name: f.Name, Data: f.Data})
		}
		a, err := call(l, c.Context(), send)
		if err != nil {
			return answered(err)
		}
		for _, w := range a.Warnings {
			fmt.Fprintf(e.err, "warning: %s\n", w)
		}
		for _, o := range a.Objects {
			fmt.Fprintln(e.out, o)
		}
		fmt.Fprintf(e.err, "%d of %d proxies in %s\n", a.Proxies, a.Total,
			a.Took.Round(100*time.Microsecond))
		return nil
	}
	c.Flags().StringArrayVarP(&files, "filename", "f", nil, "file or directory, - for stdin")
	labFlag(c, &name)
	return c
}

func getCommand(e *env) *cobra.Command {
	var name, namespace string
	c := &cobra.Command{
		Use:   "get KIND [NAME]",
		Short: "List the configuration of the lab that is up",
		Example: `  mesh-lab get virtualservices
  mesh-lab get vs reviews -o yaml
  mesh-lab get pods`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := running(c.Context(), name)
			if err != nil {
				return err
			}
			kind, err := kindOf(args[0])
			if err != nil {
				return err
			}
			if kind == "Pod" && e.output == "text" {
				pods, err := l.Pods(c.Context())
				if err != nil {
					return answered(err)
				}
				return e.printPods(pods, namespace, args[1:])
			}
			all, err := l.Objects(c.Context())
			if err != nil {
				return answered(err)
			}
			return e.printObjects(kind, all, namespace, args[1:])
		},
	}
	labFlag(c, &name)
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace (default: all)")
	outputFlag(e, c, "text", "yaml", "json")
	return c
}

// shortKinds are kubectl's short names and plurals that are not formed with an s.
var shortKinds = map[string]string{
	"vs": "VirtualService", "dr": "DestinationRule", "gw": "Gateway", "svc": "Service", "po": "Pod",
	"deploy": "Deployment", "sts": "StatefulSet", "rs": "ReplicaSet", "ns": "Namespace",
	"sa": "ServiceAccount", "cm": "ConfigMap", "ep": "Endpoints", "endpoints": "Endpoints",
}

// kinds are the kinds that get lists.
var kinds = []string{
	"VirtualService", "DestinationRule", "Gateway", "Service", "Pod", "Deployment", "StatefulSet",
	"ReplicaSet", "Namespace", "ServiceAccount", "Secret", "ConfigMap", "Endpoints",
	"EndpointSlice",
}

// kindOf finds a kind by any name that kubectl takes.
func kindOf(s string) (string, error) {
	s, _, _ = strings.Cut(strings.ToLower(s), ".")
	if s == "all" {
		return "", nil
	}
	if k, ok := shortKinds[s]; ok {
		return k, nil
	}
	for _, k := range kinds {
		if l := strings.ToLower(k); s == l || s == l+"s" {
			return k, nil
		}
	}
	return "", usage("kind %q is unknown; one of %s, all", s, strings.Join(kinds, ", "))
}

func (e *env) printPods(pods []remote.Pod, namespace string, names []string) error {
	w := e.table()
	fmt.Fprintln(w, "NAMESPACE\tNAME\tREADY\tROLE\tIP")
	found := 0
	for _, p := range pods {
		if namespace != "" && p.Namespace != namespace || !named(names, p.Name) {
			continue
		}
		found++
		n := 1
		if p.Role == "sidecar" {
			n = 2
		}
		ready := n
		if !p.Ready {
			ready--
		}
		fmt.Fprintf(w, "%s\t%s\t%d/%d\t%s\t%s\n", p.Namespace, p.Name, ready, n, p.Role, p.IP)
	}
	if found == 0 && len(names) > 0 {
		return usage("no Pod %q in the lab", names[0])
	}
	return w.Flush()
}

func named(names []string, name string) bool {
	return len(names) == 0 || slices.Contains(names, name)
}

func (e *env) printObjects(
	kind string, all []remote.Object, namespace string, names []string,
) error {
	var out []remote.Object
	for _, o := range all {
		if (kind == "" || o.Kind == kind) && named(names, o.Name) &&
			(namespace == "" || o.Namespace == namespace) {
			out = append(out, o)
		}
	}
	if len(out) == 0 && len(names) > 0 {
		return usage("no %s %q in the lab", kind, names[0])
	}
	switch e.output {
	case "json":
		var items []json.RawMessage
		for _, o := range out {
			items = append(items, o.JSON)
		}
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		return enc.Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	case "yaml":
		for i, o := range out {
			if i > 0 {
				fmt.Fprintln(e.out, "---")
			}
			fmt.Fprint(e.out, o.YAML)
		}
		return nil
	}
	w := e.table()
	heading := append([]string{"NAMESPACE", "NAME"}, remote.Headings(kind)...)
	if kind == "" {
		heading = []string{"NAMESPACE", "NAME"}
	}
	fmt.Fprintln(w, strings.Join(heading, "\t"))
	for _, o := range out {
		n := o.Name
		row := []string{o.Namespace, n}
		if kind == "" {
			row[1] = remote.Resource(o.APIVersion, o.Kind) + "/" + n
		} else {
			row = append(row, o.Columns...)
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}
