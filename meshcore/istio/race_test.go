//go:build race

package istio

const raceEnabled = true
