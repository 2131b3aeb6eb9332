package envoy

import "github.com/mesh-lab/mesh-lab/meshcore/incarnation"

// What tests see of the inside.
var (
	AskPS        = incarnation.AskPS
	ReadProc     = incarnation.ReadProc
	AdminAddress = adminAddress
)
