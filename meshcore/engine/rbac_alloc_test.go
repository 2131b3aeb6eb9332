//go:build !race

package engine

import "testing"

// Under the race detector the same code allocates.
func TestRBACDoesNotAllocate(t *testing.T) {
	x := guardedExchange()
	f := &httpFilter{name: "f", rbac: &rbacFilter{rules: manyRules(t), shadow: manyRules(t)}}
	layers := x.dynamic.layers
	if n := testing.AllocsPerRun(100, func() {
		x.dynamic.layers = layers[:1]
		if _, done := x.rbac(f); done {
			t.Fatal("denied")
		}
		layers = x.dynamic.layers
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
