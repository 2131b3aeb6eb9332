package parity

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/mesh-lab/mesh-lab/lab/parity/cases"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// Source draws configurations for a mesh.
type Source struct {
	Name string // of what it draws, for findings: "rules"
	Mesh []istio.File
	Draw func(r *rand.Rand) []*istio.Object
}

// maxFindings ends a fuzzing run: whoever has so many has enough to do.
const maxFindings = 10

// Fuzz compares n configurations that a source draws; what differs is shrunk, the configuration
// first and the request again after it.
func (r *Run) Fuzz(ctx context.Context, src Source, n int) (err error) {
	base, diags := istio.Read(src.Mesh, istio.ReadOptions{})
	if istio.HasErrors(diags) {
		return fmt.Errorf("the fuzzer's mesh: %s", diags[0])
	}
	if err := r.up(ctx, base, r.Spec); err != nil {
		return err
	}
	defer func() { err = r.down(ctx, err) }()
	for i := range n {
		if err := r.fuzzOne(ctx, base, src, i); err != nil {
			return err
		}
		if len(r.Findings) >= maxFindings {
			r.say("%d findings are enough; stopped after %s %d", maxFindings, src.Name, i)
			return nil
		}
		if i%100 == 99 {
			r.say("%d of %d %s, %d requests, %d differences", i+1, n, src.Name, r.Tally.Requests,
				len(r.Findings))
		}
	}
	return nil
}

// maxShrunk is how many findings of one configuration are shrunk: others tell of the same, mostly.
const maxShrunk = 2

// fuzzOne draws, applies and compares configuration i.
func (r *Run) fuzzOne(ctx context.Context, base *istio.Config, src Source, i int) error {
	c, err := build(base, src.Draw(clock.Derive(r.Spec.Seed, src.Name, strconv.Itoa(i))))
	if err != nil {
		r.Tally.Invalid++
		r.say("%s %d is invalid: %v", src.Name, i, err)
		return nil
	}
	where := fmt.Sprintf("%s %d", src.Name, i)
	if err := r.Pair.Apply(ctx, c); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	r.Tally.Configs++
	made := cases.From(c, r.Pair.meshes[0].Registry(),
		cases.Options{Seed: r.Spec.Seed + uint64(i), Max: r.Max})
	r.Tally.Cut += made.Cut
	before := len(r.Findings)
	if err := r.Check(ctx, where, made.Requests); err != nil {
		return err
	}
	name := fmt.Sprintf("%s of seed %x", src.Name, r.Spec.Seed)
	r.compared(name, c, len(made.Requests), before)
	left := maxShrunk
	for _, f := range r.Findings[before:] {
		if f.Config, err = text(rulesOf(c)); err != nil {
			return err
		}
		if f.Shares != nil || left == 0 {
			continue // to shrink what is random costs more than it tells
		}
		left--
		r.say("%s differs; shrinking it", where)
		if err := r.Pair.Apply(ctx, c); err != nil {
			return err
		}
		if err := r.simplify(ctx, f); err != nil {
			return err
		}
		if err := r.shrink(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

func rulesOf(c *istio.Config) []*istio.Object {
	_, rules := divideConfig(c)
	return rules
}
