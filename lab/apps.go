package lab

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/sampleapps"
)

func appsCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "apps",
		Short: "List the bundled apps, what each teaches, and the images they stand for",
		Long: `apps lists the sets that --app brings up, what each teaches and how to begin with it;
then the apps that they are made of, with the images that they stand for. The name of an app brings
up its set.`,
		Example: "  mesh-lab apps\n  mesh-lab up --app bookinfo\n  mesh-lab up --app reviews   " +
			"# bookinfo, too",
		Args: none,
		RunE: func(*cobra.Command, []string) error { return e.listApps() },
	}
	outputFlag(e, c, "text", "json")
	return c
}

// setRow is a set as `apps` lists it.
type setRow struct {
	Name      string   `json:"name"`
	Teaches   string   `json:"teaches"`
	Apps      []string `json:"apps"`
	Workloads []string `json:"workloads"`
	Open      string   `json:"open,omitempty"`
	Try       string   `json:"try"`
}

// appRow is an app as `apps` lists it.
type appRow struct {
	Name   string   `json:"name"`
	About  string   `json:"about"`
	Images []string `json:"images"`
	Port   int      `json:"port,omitempty"`
	Set    string   `json:"set,omitempty"`
	Needs  string   `json:"needs,omitempty"`
}

func (e *env) listApps() error {
	var list struct {
		Sets []setRow `json:"sets"`
		Apps []appRow `json:"apps"`
	}
	for _, s := range sampleapps.Sets() {
		workloads, err := deployments(s.Name)
		if err != nil {
			return err
		}
		list.Sets = append(list.Sets, setRow{
			s.Name, s.Teaches, s.Apps, workloads, s.Open,
			fmt.Sprintf("mesh-lab request --app %s --from %s %s", s.Name, s.From, s.Try),
		})
	}
	for _, a := range sampleapps.Apps() {
		s, _ := sampleapps.SetOf(a.Name) // apps that are not there yet have none
		list.Apps = append(list.Apps, appRow{a.Name, a.About, a.Images, a.Port, s.Name, a.Needs})
	}
	if e.output == "json" {
		return json.NewEncoder(e.out).Encode(list)
	}
	const column = 16
	fmt.Fprint(e.out, "Sets, for --app; the name of an app in one brings it up, too:\n\n")
	for _, s := range list.Sets {
		e.item(column, s.Name, s.Teaches)
		e.item(column, "", "has:  "+strings.Join(s.Workloads, " "))
		e.item(column, "", "try:  "+s.Try)
		if s.Open != "" {
			e.item(column, "", fmt.Sprintf("open: `mesh-lab up --app %s`, then %s at the address "+
				"of its gateway", s.Name, s.Open))
		}
	}
	fmt.Fprint(e.out, "\nApps, in sets and alone (`mesh-lab app NAME`), and the images they stand "+
		"for:\n\n")
	for _, a := range list.Apps {
		where := "in " + cmp.Or(a.Set, "no set")
		if a.Needs != "" {
			where = "not there yet: it needs " + a.Needs
		}
		e.item(column, a.Name, a.About)
		e.item(column, "", where+"; images: "+strings.Join(a.Images, ", "))
	}
	return nil
}

// deployments returns the names of a set's Deployments, in the order of its manifests.
func deployments(set string) ([]string, error) {
	files, err := runner.Bundled(set)
	if err != nil {
		return nil, err
	}
	c, diags := istio.Read(files, istio.ReadOptions{})
	if len(diags) > 0 {
		return nil, fmt.Errorf("%s: %v", set, diags[0])
	}
	var names []string
	for _, o := range c.Objects {
		if o.Kind == "Deployment" {
			names = append(names, o.Name)
		}
	}
	return names, nil
}
