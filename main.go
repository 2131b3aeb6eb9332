// Command mesh-lab is a local service-mesh simulator and chaos testing lab.
package main

import (
	"os"

	"github.com/mesh-lab/mesh-lab/lab"
)

func main() { os.Exit(lab.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
