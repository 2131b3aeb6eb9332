package main

import (
	"os"
	"runtime/pprof"
)

// profile writes a CPU profile of a sidecar, or of applies, into the folder that
// MESHLAB_BENCH_PROFILE names.
func profile() (stop func()) {
	name := os.Getenv("MESHLAB_BENCH_PROFILE")
	if name == "" {
		return func() {}
	}
	f, err := os.CreateTemp(name, "sidecar-*.pprof")
	if err != nil {
		return func() {}
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return func() {}
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close()
	}
}
