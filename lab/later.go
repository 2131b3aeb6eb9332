package lab

import (
	"strings"

	"github.com/spf13/cobra"
)

// later lists the commands of the contract that are not there yet.
var later = [][2]string{
	{"why", "explain, hop by hop, which rules sent a request where"},
}

// laterCommands answer that they are not there yet, with exit status 2.
func laterCommands() []*cobra.Command {
	var out []*cobra.Command
	for _, l := range later {
		out = append(out, &cobra.Command{
			Use:                l[0],
			Short:              strings.ToUpper(l[1][:1]) + l[1][1:],
			Long:               "Not there yet: it will " + l[1] + ".",
			DisableFlagParsing: true,
			RunE: func(c *cobra.Command, args []string) error {
				for _, a := range args {
					if a == "-h" || a == "--help" {
						return c.Help()
					}
				}
				return usage("%s is not there yet: it will %s", l[0], l[1])
			},
		})
	}
	return out
}
