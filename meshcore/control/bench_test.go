package control_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// big is what one of a hundred sidecars has: the clusters of a hundred services, shared by all.
func big(t tester, moved string) *xds.Snapshot {
	names := []string{moved}
	for i := range 100 {
		names = append(names, fmt.Sprintf("outbound|8080||service-%d.default.svc.cluster.local", i))
	}
	return mesh(t, names...)
}

// BenchmarkPush is the time from Set to the last ACK of 100 sidecars, each with 100 clusters, when
// a route moves to a new cluster (all three stages).
func BenchmarkPush(b *testing.B) {
	for _, world := range []bool{false, true} {
		b.Run(map[bool]string{false: "delta", true: "world"}[world], func(b *testing.B) {
			l := newLab(b, world)
			serve := func(s *xds.Snapshot) snapshots {
				all := snapshots{}
				for i := range 100 {
					all[fmt.Sprintf("pod-%d.default", i)] = s
				}
				return all
			}
			for i := range 100 {
				l.connect(fmt.Sprintf("pod-%d", i), &target{})
			}
			l.set(serve(big(b, "v0")))
			var took []time.Duration
			i := 0
			for b.Loop() {
				i++
				s := serve(big(b, fmt.Sprint("v", i)))
				r := l.set(s)
				took = append(took, r.Took)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkClient is the memory of one more client with its stream, when all have the same
// resources.
func BenchmarkClient(b *testing.B) {
	for b.Loop() {
		l := newLab(b, false)
		s := big(b, "v0")
		l.connect("first", &target{})
		l.set(snapshots{"first.default": s})
		before := heap()
		all := snapshots{"first.default": s}
		for i := range 100 {
			pod := fmt.Sprint("pod-", i)
			all[pod+".default"] = s
			l.connect(pod, &target{})
		}
		l.set(all)
		b.ReportMetric(float64(heap()-before)/100/1024, "KiB/client")
		l.end()
	}
}

// heap is what is in use, stacks included.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
