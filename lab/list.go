package lab

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/scenarios"
)

func scenariosCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "scenarios [NAME | FOLDER]",
		Short: "List the bundled scenarios, all or those of a folder, or print one",
		Example: `  mesh-lab scenarios
  mesh-lab scenarios chaos
  mesh-lab scenarios canary > my-canary.yaml`,
		Args: wants(0, 1, ""),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && len(within(args[0])) > 0 {
				return e.listScenarios(within(args[0]))
			}
			if len(args) == 1 {
				b, err := fs.ReadFile(scenarios.Catalogue(), args[0]+".yaml")
				if err != nil {
					return usage("no scenario %q is bundled; one of %s", args[0],
						strings.Join(scenarios.Names(), ", "))
				}
				_, err = e.out.Write(b)
				return err
			}
			return e.listScenarios(scenarios.Names())
		},
	}
	outputFlag(e, c, "text", "json")
	return c
}

// scenarioNames completes the names of bundled scenarios beside files.
func scenarioNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return scenarios.Names(), cobra.ShellCompDirectiveDefault
}

// within lists the bundled scenarios of a folder.
func within(folder string) []string {
	return slices.DeleteFunc(scenarios.Names(), func(name string) bool {
		return !strings.HasPrefix(name, strings.TrimSuffix(folder, "/")+"/")
	})
}

func (e *env) listScenarios(names []string) error {
	type row struct {
		Name  string `json:"name"`
		About string `json:"about"`
		Steps int    `json:"steps"`
	}
	rows := []row{}
	for _, n := range names {
		s, diags := scenarios.Open(scenarios.Catalogue(), n+".yaml")
		if err := e.diagnose(diags); err != nil {
			return err
		}
		rows = append(rows, row{n, s.About, len(s.Steps)})
	}
	if e.output == "json" {
		return json.NewEncoder(e.out).Encode(rows)
	}
	column := 0
	for _, r := range rows {
		column = max(column, len(r.Name)+2)
	}
	for _, r := range rows {
		e.item(column, r.Name, r.About)
	}
	return nil
}

// item prints a name, and beside it, from a column on, a text of several lines.
func (e *env) item(column int, name, text string) {
	const width = 100
	line := fmt.Sprintf("%-*s", column, name)
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > width && strings.TrimSpace(line) != "" {
			fmt.Fprintln(e.out, strings.TrimRight(line, " "))
			line = strings.Repeat(" ", column)
		}
		line += word + " "
	}
	fmt.Fprintln(e.out, strings.TrimRight(line, " "))
}

func schemaCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of the scenario file",
		Example: "  mesh-lab schema > scenario.schema.json",
		Args:    none,
		RunE: func(*cobra.Command, []string) error {
			_, err := e.out.Write(scenarios.Schema())
			return err
		},
	}
}
