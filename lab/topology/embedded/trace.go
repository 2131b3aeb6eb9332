package embedded

import "github.com/mesh-lab/mesh-lab/meshcore/engine/trace"

// Trace has our own data plane tell what it decides. A real Envoy has no such thing to tell.
func (p *pod) Trace(f func(*trace.Trace)) {
	if side, ok := p.side.(*meshcore); ok {
		side.engine.Trace(f)
	}
}
