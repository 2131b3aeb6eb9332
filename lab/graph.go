package lab

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/lab/graph"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
)

func graphCommand(e *env) *cobra.Command {
	var src source
	var name, history string
	var seen bool
	c := &cobra.Command{
		Use:   "graph [-f FILE... | --app NAME | --history FILE]",
		Short: "Draw the mesh: as text, Mermaid, DOT or SVG",
		Long: `Draws services, versions, gateways and external servers with the rules between them:
weights, subsets, faults, retries, mirrors, mutual TLS. With -f or --app from files, without
starting anything; otherwise of the lab that is up. --history draws a recorded run, --seen what the
lab that is up has recorded of late: who called whom, how often, and how many failed.`,
		Example: `  mesh-lab graph --app bookinfo
  mesh-lab graph -f mesh/ -o mermaid
  mesh-lab graph --history run.jsonl -o svg > run.svg
  mesh-lab graph --seen`,
		Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			g, err := e.graph(c.Context(), src, name, history, seen)
			if err != nil {
				return err
			}
			return e.printGraph(g)
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&src.files, "filename", "f", nil,
		"`FILE` or directory of YAML or JSON, - for stdin")
	f.StringVar(&src.app, "app", "", "a bundled app: `NAME` of one that mesh-lab apps lists")
	f.StringVar(&src.meshConfig, "mesh-config", "", "`FILE` with the MeshConfig")
	f.StringVar(&history, "history", "", "a recorded run: `FILE` that run --history wrote")
	f.BoolVar(&seen, "seen", false, "what the lab that is up has recorded of late")
	namespaceFlag(c, &src.namespace, "n")
	labFlag(c, &name)
	outputFlag(e, c, graph.Formats...)
	return c
}

// graph draws what the flags name.
func (e *env) graph(
	ctx context.Context, src source, name, history string, seen bool,
) (*graph.Graph, error) {
	switch files := len(src.files) > 0 || src.app != ""; {
	case history != "" && (files || seen):
		return nil, usage("graph: --history, or -f, --app, --seen, not both")
	case seen && files:
		return nil, usage("graph --seen is about the lab that is up; files have seen nothing")
	case history != "":
		run, err := readRun(history)
		if err != nil {
			return nil, err
		}
		return graph.OfHistory(&run.History), nil
	case files:
		c, err := e.config(src)
		if err != nil {
			return nil, err
		}
		reg, notes := translate.NewRegistry(c, nil)
		for _, d := range notes {
			fmt.Fprintf(e.err, "note: %s\n", d)
		}
		return graph.Of(c, reg), nil
	}
	l, err := running(ctx, name)
	if err != nil {
		return nil, err
	}
	g, err := l.Graph(ctx, seen)
	return g, answered(err)
}

// printGraph writes a graph in the form of -o.
func (e *env) printGraph(g *graph.Graph) error {
	text := ""
	switch e.output {
	case "json":
		enc := json.NewEncoder(e.out)
		enc.SetIndent("", "  ")
		return enc.Encode(g)
	case "mermaid":
		text = g.Mermaid()
	case "dot":
		text = g.DOT()
	case "svg":
		text = g.SVG()
	default:
		text = g.Text()
	}
	_, err := fmt.Fprint(e.out, text)
	return err
}
