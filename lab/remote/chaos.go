package remote

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/chaos"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// Faults is what is broken, and was.
type Faults struct {
	Now    clock.Instant  `json:"now_ns"` // of the lab's clock
	Faults []chaos.Status `json:"faults"`
}

// order asks for a fault.
type order struct {
	Fault string `json:"fault"` // as a step of a scenario has it: "delay: {from: a, by: 1s}"
	Wait  bool   `json:"wait"`  // answer a second time when it has ended
}

// healing asks for the end of faults: by name, all, or those of a kind of some pods.
type healing struct {
	Names []string           `json:"names,omitempty"`
	Kind  topology.FaultKind `json:"kind,omitempty"`
	Pods  []string           `json:"pods,omitempty"`
}

// look is how often receipts are asked for while something is broken.
const look = 500 * time.Millisecond

// watchFaults records receipts while something is broken, for who watches.
func (s *Server) watchFaults() {
	if !s.looking.CompareAndSwap(false, true) {
		return
	}
	t := time.NewTicker(look)
	go func() {
		defer s.looking.Store(false)
		defer t.Stop()
		for lasts := true; lasts; {
			select {
			case <-s.ended.Done():
				return
			case <-t.C:
			}
			lasts = slices.ContainsFunc(s.chaos.Update(s.ended), func(f chaos.Status) bool {
				return f.State != chaos.Healed
			})
		}
	}()
}

func (s *Server) handleBreak(w http.ResponseWriter, r *http.Request) {
	var o order
	if !decode(w, r, &o) {
		return
	}
	f, diags := scenarios.ParseFault("fault", []byte(o.Fault))
	if f == nil {
		var all []string
		for _, d := range diags {
			all = append(all, d.Field+": "+d.Msg)
		}
		refuse(w, errors.New(strings.Join(all, "\n")), true)
		return
	}
	if f.Name == "" {
		f.Name = s.chaos.Name(scenarios.DefaultName(f.Kind))
	}
	if err := s.chaos.Able(f); err != nil {
		refuse(w, err, false)
		return
	}
	orders, err := chaos.Orders(f, s.mesh.Registry())
	if err != nil {
		refuse(w, err, true)
		return
	}
	was := len(s.chaos.Status())
	var settled []<-chan struct{}
	for _, x := range orders {
		done, err := s.chaos.Begin(r.Context(), x)
		if err != nil {
			err = errors.Join(err, s.chaos.Heal(context.WithoutCancel(r.Context()), f.Name))
			refuse(w, err, false)
			return
		}
		settled = append(settled, done)
	}
	s.watchFaults()
	mine := func() Faults {
		all := s.chaos.Update(r.Context())[was:]
		return Faults{s.mesh.Clock().Now(), slices.DeleteFunc(all, func(x chaos.Status) bool {
			return x.Name != f.Name
		})}
	}
	enc := json.NewEncoder(w)
	if err := enc.Encode(mine()); err != nil || r.Context().Err() != nil {
		_ = s.chaos.Heal(context.WithoutCancel(r.Context()), f.Name) // Whole tells in the end
		return
	}
	if !o.Wait {
		return
	}
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	for _, done := range settled {
		select {
		case <-done:
		case <-r.Context().Done():
			return
		}
	}
	_ = enc.Encode(mine()) // fails when the client went away
}

func (s *Server) handleHeal(w http.ResponseWriter, r *http.Request) {
	var h healing
	if !decode(w, r, &h) {
		return
	}
	var err error
	switch {
	case len(h.Pods) > 0:
		err = s.endOf(r.Context(), h)
	case slices.Contains(h.Names, "all"):
		err = s.chaos.HealAll(r.Context())
	default:
		if err = s.chaos.Known(h.Names...); err != nil {
			refuse(w, err, true)
			return
		}
		err = s.chaos.Heal(r.Context(), h.Names...)
	}
	if err != nil {
		refuse(w, err, false)
		return
	}
	s.handleFaults(w, r)
}

// endOf ends the faults of a kind of some pods; a pod that is to be restarted is, killed or not.
func (s *Server) endOf(ctx context.Context, h healing) error {
	for _, name := range h.Pods {
		pods, err := chaos.Pods(s.mesh.Registry(), name)
		if err != nil {
			return err
		}
		for _, p := range pods {
			ended, err := s.chaos.EndOf(ctx, h.Kind, p.ID())
			if err != nil {
				return err
			}
			k, ok := s.mesh.(topology.Killer)
			if ended || h.Kind != topology.FaultKill || !ok {
				continue
			}
			if err := k.Restart(ctx, p.ID()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Server) handleFaults(w http.ResponseWriter, r *http.Request) {
	answer(w, Faults{Faults: s.chaos.Update(r.Context()), Now: s.mesh.Clock().Now()})
}

// healTimeout bounds how long the end of a lab heals.
const healTimeout = time.Minute

// Heal ends everything that is broken, for good: the lab is about to end.
func (s *Server) Heal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healTimeout)
	defer cancel()
	return s.chaos.Close(ctx)
}

// Break has a fault begin, written as a step of a scenario has it: "delay: {from: a, by: 1s}". With
// began it waits until it has ended, and tells before what has begun; when ctx ends before, the
// fault is healed. It returns what it has become.
func (c *Client) Break(
	ctx context.Context, fault string, began func(Faults),
) (f Faults, err error) {
	body, err := c.do(ctx, "POST", "/break", order{fault, began != nil})
	if err != nil {
		return f, err
	}
	defer body.Close()
	n := 0
	err = lines(body, func(b []byte) error {
		f = Faults{}
		if err := json.Unmarshal(b, &f); err != nil {
			return err
		}
		if n++; n == 1 && began != nil {
			began(f)
		}
		return nil
	})
	if began == nil || ctx.Err() == nil {
		return f, err
	}
	if len(f.Faults) > 0 { // interrupted while it lasts
		name := f.Faults[0].Name
		all, herr := c.Heal(context.WithoutCancel(ctx), name)
		f.Faults = slices.DeleteFunc(all.Faults, func(x chaos.Status) bool {
			return x.Name != name
		})
		err = herr
	}
	return f, err
}

// Heal ends faults by name, or all.
func (c *Client) Heal(ctx context.Context, names ...string) (f Faults, err error) {
	return f, c.call(ctx, "POST", "/heal", healing{Names: names}, &f)
}

// Restart starts killed pods again, or replaces those that run.
func (c *Client) Restart(ctx context.Context, pods ...string) (f Faults, err error) {
	return f, c.call(ctx, "POST", "/heal", healing{Kind: topology.FaultKill, Pods: pods}, &f)
}

// Resume ends the pauses of pods.
func (c *Client) Resume(ctx context.Context, pods ...string) (f Faults, err error) {
	return f, c.call(ctx, "POST", "/heal", healing{Kind: topology.FaultPause, Pods: pods}, &f)
}

// Faults lists what is broken, and was, with receipts as they are now.
func (c *Client) Faults(ctx context.Context) (f Faults, err error) {
	return f, c.call(ctx, "GET", "/faults", nil, &f)
}
