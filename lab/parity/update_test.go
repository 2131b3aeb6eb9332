package parity

import "flag"

var _ = flag.Bool("update", false, "rewrite the generated parts of the documentation")
