package lab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/lab/remote"
)

func getCommand(e *env) *cobra.Command {
	var name, namespace string
	c := &cobra.Command{
		Use:   "get KIND[,KIND...] [NAME...]",
		Short: "List the configuration and the pods of the lab that is up",
		Example: `  mesh-lab get pods
  mesh-lab get virtualservices,destinationrules
  mesh-lab get vs reviews -o yaml
  mesh-lab get authorizationpolicies,peerauthentications -n bookshop
  mesh-lab get all -n bookshop`,
		Args: wants(1, -1, "which kind? One of "+strings.Join(kinds, ", ")+", all"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) (
			[]string, cobra.ShellCompDirective,
		) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return append(slices.Clone(kinds), "all"), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			kinds, err := kindsOf(args[0])
			if err != nil {
				return err
			}
			l, err := running(c.Context(), name)
			if err != nil {
				return err
			}
			all, err := l.Objects(c.Context())
			if err != nil {
				return answered(err)
			}
			return e.printObjects(kinds, choose(all, kinds, namespace, args[1:]), args[1:])
		},
	}
	labFlag(c, &name)
	f := c.Flags()
	f.StringVarP(&namespace, "namespace", "n", "", "`NAMESPACE` (default: all)")
	f.BoolP("all-namespaces", "A", true, "as kubectl; always so without -n")
	outputFlag(e, c, "text", "yaml", "json")
	return c
}

// shortKinds are kubectl's short names and plurals that are not formed with an s.
var shortKinds = map[string]string{
	"vs": "VirtualService", "dr": "DestinationRule", "gw": "Gateway", "svc": "Service", "po": "Pod",
	"deploy": "Deployment", "sts": "StatefulSet", "rs": "ReplicaSet", "ns": "Namespace",
	"sa": "ServiceAccount", "cm": "ConfigMap", "ep": "Endpoints", "endpoints": "Endpoints",
	"se": "ServiceEntry", "serviceentries": "ServiceEntry",
	"we": "WorkloadEntry", "workloadentries": "WorkloadEntry",
	"ap": "AuthorizationPolicy", "authorizationpolicies": "AuthorizationPolicy",
	"pa": "PeerAuthentication", "ra": "RequestAuthentication",
}

// kinds are the kinds that get lists.
var kinds = []string{
	"VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "WorkloadEntry",
	"AuthorizationPolicy", "RequestAuthentication", "PeerAuthentication", "Service", "Pod",
	"Deployment", "StatefulSet", "ReplicaSet", "Namespace", "ServiceAccount", "Secret",
	"ConfigMap", "Endpoints", "EndpointSlice",
}

// kindsOf finds kinds by any names that kubectl takes, joined by commas; all is every kind.
func kindsOf(s string) ([]string, error) {
	var out []string
	for s := range strings.SplitSeq(s, ",") {
		k, _, _ := strings.Cut(strings.ToLower(s), ".")
		i := slices.IndexFunc(kinds, func(kind string) bool {
			kind = strings.ToLower(kind)
			return k == kind || k == kind+"s"
		})
		switch {
		case k == "all":
			return kinds, nil
		case shortKinds[k] != "":
			out = append(out, shortKinds[k])
		case i >= 0:
			out = append(out, kinds[i])
		default:
			return nil, usage("kind %q is unknown; one of %s, all", s, strings.Join(kinds, ", "))
		}
	}
	return out, nil
}

// choose returns the objects of these kinds, of a namespace (empty: any), with these names (none:
// any), kind by kind.
func choose(all []remote.Object, kinds []string, namespace string, names []string) []remote.Object {
	var out []remote.Object
	for _, k := range kinds {
		for _, o := range all {
			if o.Kind == k && (namespace == "" || o.Namespace == namespace) &&
				(len(names) == 0 || slices.Contains(names, o.Name)) {
				out = append(out, o)
			}
		}
	}
	return out
}

// printObjects prints objects as kubectl does. It is an error when a name is not among them.
func (e *env) printObjects(kinds []string, out []remote.Object, names []string) error {
	for _, n := range names {
		if !slices.ContainsFunc(out, func(o remote.Object) bool { return o.Name == n }) {
			return usage("no %s %q in the lab", strings.Join(kinds, " or "), n)
		}
	}
	switch {
	case e.output == "json":
		return e.printJSON(out, len(names) == 1 && len(out) == 1)
	case e.output == "yaml":
		for i, o := range out {
			if i > 0 {
				fmt.Fprintln(e.out, "---")
			}
			fmt.Fprint(e.out, o.YAML)
		}
		return nil
	case len(out) == 0:
		fmt.Fprintln(e.err, "No resources found.")
		return nil
	}
	first := true
	for _, k := range kinds {
		rows := choose(out, []string{k}, "", nil)
		if len(rows) == 0 {
			continue
		}
		if !first {
			fmt.Fprintln(e.out)
		}
		first = false
		if err := e.printKind(k, rows, len(kinds) > 1); err != nil {
			return err
		}
	}
	return nil
}

// printKind prints the table of one kind; several says that it stands among others.
func (e *env) printKind(kind string, rows []remote.Object, several bool) error {
	w := e.table()
	headings := append([]string{"NAMESPACE", "NAME"}, remote.Headings(kind)...)
	fmt.Fprintln(w, strings.Join(headings, "\t"))
	for _, o := range rows {
		n := o.Name
		if several {
			n = remote.Resource(o.APIVersion, o.Kind) + "/" + n
		}
		fmt.Fprintln(w, strings.Join(append([]string{o.Namespace, n}, o.Columns...), "\t"))
	}
	return w.Flush()
}

// printJSON prints one object, or a List of several.
func (e *env) printJSON(out []remote.Object, one bool) error {
	enc := json.NewEncoder(e.out)
	enc.SetIndent("", "  ")
	if one {
		return enc.Encode(out[0].JSON)
	}
	items := []json.RawMessage{}
	for _, o := range out {
		items = append(items, o.JSON)
	}
	return enc.Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
}
