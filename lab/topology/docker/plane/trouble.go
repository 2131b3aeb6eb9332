package plane

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/mesh-lab/mesh-lab/meshcore/control"
)

// trouble is what the lab tells a Server of one: by its number.
type trouble struct {
	ID      int             `json:"id"`
	Trouble control.Trouble `json:"trouble"`
}

// troubles serves what the lab says of them: begin or change one, end one, count it, list them.
func (s *Server) troubles(w http.ResponseWriter, r *http.Request) {
	var t trouble
	if err := json.NewDecoder(r.Body).Decode(&t); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	b := s.bad[t.ID]
	s.mu.Unlock()
	switch verb := r.PathValue("verb"); {
	case verb == "begin" && b != nil:
		b.Change(t.Trouble)
	case verb == "begin":
		b = s.server.Trouble(t.Trouble)
		s.mu.Lock()
		s.bad[t.ID] = b
		s.mu.Unlock()
	case verb == "list":
		tell(w, s.server.Troubles())
		return
	case b == nil:
		http.Error(w, fmt.Sprintf("no trouble %d", t.ID), http.StatusNotFound)
		return
	case verb == "end":
		b.End()
		s.mu.Lock()
		delete(s.bad, t.ID)
		s.mu.Unlock()
		if _, err := s.server.Resume(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
	}
	tell(w, b.Count())
}

// Trouble has the Server do badly, or do so otherwise; id is the lab's number of it.
func (c *Client) Trouble(ctx context.Context, id int, t control.Trouble) error {
	_, err := c.trouble(ctx, "begin", trouble{id, t})
	return err
}

// EndTrouble ends it, and gives proxies what they have missed.
func (c *Client) EndTrouble(ctx context.Context, id int) error {
	_, err := c.trouble(ctx, "end", trouble{ID: id})
	return err
}

// CountTrouble says what it has done so far, with instants of the lab's clock.
func (c *Client) CountTrouble(ctx context.Context, id int) (control.Count, error) {
	return c.trouble(ctx, "count", trouble{ID: id})
}

// Troubles says how many there are.
func (c *Client) Troubles(ctx context.Context) (n int, err error) {
	err = c.ask(ctx, "POST", "/trouble/list", []byte("{}"), &n)
	return n, err
}

func (c *Client) trouble(
	ctx context.Context, verb string, t trouble,
) (n control.Count, err error) {
	text, err := json.Marshal(t)
	if err != nil {
		return n, err
	}
	if err = c.ask(ctx, "POST", "/trouble/"+verb, text, &n); err != nil {
		return n, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.First != 0 {
		n.First = n.First.Add(c.shift)
	}
	if n.Last != 0 {
		n.Last = n.Last.Add(c.shift)
	}
	return n, nil
}
