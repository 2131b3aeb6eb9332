//go:build race

package assert

// thin: simulations have one goroutine, so the race detector gets a quarter of them.
const thin = 4
