package lab

import (
	"github.com/spf13/cobra"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/part"
)

// partCommand is what containers of a lab run; nobody types it.
func partCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:    "part KIND",
		Short:  "Be a part of a lab, in a container",
		Hidden: true,
		Args:   wants(1, 1, "which part?"),
		RunE: func(c *cobra.Command, args []string) error {
			return environment(part.Main(c.Context(), args[0], e.err))
		},
	}
}
