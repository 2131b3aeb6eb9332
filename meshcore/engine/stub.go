package engine

// Endpoint is one upstream host.
type Endpoint struct{}
