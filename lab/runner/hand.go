package runner

import (
	"context"
	"log/slog"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// Hand carries out a scenario's actions one by one on a mesh that is up, for who plays a story in a
// way of its own.
type Hand struct{ r run }

// NewHand returns the hand that plays a scenario on a mesh.
func NewHand(s *scenarios.Scenario, m topology.Mesh) *Hand {
	log := slog.New(slog.DiscardHandler)
	return &Hand{run{
		s: s, mesh: m, config: m.Config(), opt: Options{Log: log}, out: &reports.Run{},
		chaos: ledger(m, 0),
	}}
}

// Close heals what the actions have broken.
func (h *Hand) Close(ctx context.Context) error { return h.r.chaos.Close(ctx) }

// Do carries out an action that changes the mesh: everything but loads and requests.
func (h *Hand) Do(ctx context.Context, a *scenarios.Action) error {
	if a.Load != nil || a.Request != nil {
		return nil
	}
	var did reports.Did
	return h.r.act(ctx, 0, a, &did, h.r.mesh.Clock().Now())
}

// Config returns the configuration as the actions have made it.
func (h *Hand) Config() *istio.Config { return h.r.config }
