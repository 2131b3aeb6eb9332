//go:build race

package proxy

// raceEnabled: under the race detector pools drop what they are given, so allocations mean nothing.
const raceEnabled = true
