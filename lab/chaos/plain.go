package chaos

import (
	"context"
	"errors"

	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// BreakerOf returns what breaks things in a mesh; of one that has no Breaker, one that can nothing.
func BreakerOf(m topology.Mesh) topology.Breaker {
	if b, ok := m.(topology.Breaker); ok {
		return b
	}
	return unable{}
}

// unable is the Breaker of a mesh that has none.
type unable struct{}

var errUnable = errors.New("this topology can not")

// Able is topology.Breaker's.
func (unable) Able(topology.Fault) error { return errUnable }

// Break is topology.Breaker's.
func (unable) Break(context.Context, topology.Fault) (topology.Broken, error) {
	return nil, errUnable
}

// Whole is topology.Breaker's.
func (unable) Whole(context.Context) error { return nil }
