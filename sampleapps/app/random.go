package app

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
)

// Random returns the pod's random stream of a name, from its beginning: the same draws for the same
// seed and name, whatever other streams there are. It is safe for concurrent use: the k-th caller
// gets the k-th draw.
func (e *Env) Random(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // it cannot fail
	return rand.New(&locked{source: rand.NewPCG(e.Seed, h.Sum64())})
}

// locked is a source for many goroutines. A rand.Rand keeps nothing beside its source.
type locked struct {
	mu     sync.Mutex
	source rand.Source
}

// Uint64 draws.
func (l *locked) Uint64() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source.Uint64()
}
