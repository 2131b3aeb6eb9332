package remote

import (
	"context"
	"errors"
	"net/http"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/why"
)

// Why asks for the explanation of a request: of one that is sent for it, or of one that has been
// recorded.
type Why struct {
	Spec *request.Spec `json:"spec,omitempty"`
	ID   string        `json:"id,omitempty"` // x-request-id; without a Spec
}

// Why explains a request.
func (c *Client) Why(ctx context.Context, q Why) (e *why.Explanation, err error) {
	return e, c.call(ctx, "POST", "/why", q, &e)
}

func (s *Server) handleWhy(w http.ResponseWriter, r *http.Request) {
	var q Why
	if !decode(w, r, &q) {
		return
	}
	e, err := s.explain(r.Context(), q)
	if err != nil {
		refuse(w, err, !errors.Is(err, topology.ErrEnvoy))
		return
	}
	answer(w, e)
}

func (s *Server) explain(ctx context.Context, q Why) (*why.Explanation, error) {
	if q.Spec != nil {
		return why.Live(ctx, s.mesh, *q.Spec)
	}
	if err := s.mesh.Settle(ctx); err != nil {
		return nil, err
	}
	w, err := why.OfMesh(s.mesh)
	if err != nil {
		return nil, err
	}
	return w.Recorded(q.ID, s.mesh.Recorder().Snapshot().Requests)
}
