package envoy

// What tests see of the inside.
var (
	AskPS        = askPS
	ReadProc     = readProc
	AdminAddress = adminAddress
)
