package remote

import (
	"context"
	"net/http"

	"github.com/mesh-lab/mesh-lab/lab/graph"
)

// Graph draws the mesh: as it is configured, or with seen what its proxies have recorded of late.
func (c *Client) Graph(ctx context.Context, seen bool) (g *graph.Graph, err error) {
	path := "/graph"
	if seen {
		path += "?seen"
	}
	return g, c.call(ctx, "GET", path, nil, &g)
}

func (s *Server) handleGraph(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("seen") {
		h := s.mesh.Recorder().Snapshot()
		answer(w, graph.OfHistory(&h))
		return
	}
	answer(w, graph.Of(s.mesh.Config(), s.mesh.Registry()))
}
