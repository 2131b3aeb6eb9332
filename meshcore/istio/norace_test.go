//go:build !race

package istio

const raceEnabled = false
