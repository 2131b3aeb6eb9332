// Package why explains a request: at each proxy that it crossed, which listener, filter chain,
// virtual host, route, cluster and host were chosen, what ruled the others out, what each filter
// did, and where the rule is written that said so.
//
// Nothing of it is decided here. A proxy of our own tells as it decides (engine.Trace); what a real
// Envoy decided, or what was decided in a run that is over, is decided again by the engine, from
// what the proxy carried out and what came to it, and put beside the record of what happened.
package why

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/trace"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Explanation is why one request went where it did.
type Explanation struct {
	ID string `json:"request_id,omitempty"`
	// Asked is the request as its sender wrote it, Answer what came back; empty for a recorded one.
	Asked  string `json:"asked,omitempty"`
	Answer string `json:"answer,omitempty"`
	Hops   []Hop  `json:"hops"`
	// Unknown says what can not be known.
	Unknown []string `json:"unknown,omitempty"`
}

// How the decisions of a hop are known.
const (
	Told    = "told"    // by the proxy, as it decided
	Decided = "decided" // again, by our engine, from what came to the proxy and what it carried out
	Seen    = "seen"    // not at all: there is only the record
)

// Hop is what one proxy did.
type Hop struct {
	Proxy    string `json:"proxy"` // POD.NAMESPACE
	Workload string `json:"workload"`
	Reporter string `json:"reporter"` // source, destination
	How      string `json:"how"`
	// Trace are the decisions; nil where they are not known (Seen).
	Trace  *trace.Trace    `json:"trace,omitempty"`
	Record observe.Request `json:"record"` // what happened
	// Differs says where a decision that was made again is not the recorded one.
	Differs []string `json:"differs,omitempty"`
	Origins []Origin `json:"origins,omitempty"`
	// RoutePlaces is where each of Trace.Routes is written, FILE:LINE; empty where nobody wrote it.
	RoutePlaces []string `json:"route_places,omitempty"`
	// Words are the record's response flags in plain words.
	Words   []string `json:"flags_in_words,omitempty"`
	Unknown []string `json:"unknown,omitempty"`
}

// Origin says where something of a hop is written.
type Origin struct {
	// Of is what: "route", "connection rule", "split", "rewrite", "headers", "CORS", "timeout",
	// "retries", "fault", "mirror", "subset", "balancing", "circuit breaker", "outlier detection",
	// "TLS" (towards the host), "mutual TLS" (of what comes in), "tokens", "policy" (that
	// decided), "policies" (that were asked), "gateway".
	Of     string `json:"of"`
	Value  string `json:"value,omitempty"`  // what it says, where nothing else of the hop does
	Object string `json:"object,omitempty"` // "VirtualService default/reviews"; empty: a default
	Field  string `json:"field,omitempty"`
	Place  string `json:"place,omitempty"` // FILE:LINE
	Note   string `json:"note,omitempty"`  // for a default: whose
}

// String is the origin in words.
func (o Origin) String() string {
	if o.Object == "" {
		return o.Note
	}
	out := o.Object
	if o.Field != "" {
		out += " " + o.Field
	}
	if o.Place != "" {
		out = o.Place + "  " + out
	}
	return out
}

// Live sends one request through a mesh and explains it.
func Live(ctx context.Context, m topology.Mesh, s request.Spec) (*Explanation, error) {
	w, err := OfMesh(m)
	if err != nil {
		return nil, err
	}
	s.Count, s.Concurrency = 1, 1
	var mu sync.Mutex
	var traces []*trace.Trace
	stop := m.(topology.Explainer).Trace(func(t *trace.Trace) {
		mu.Lock()
		defer mu.Unlock()
		traces = append(traces, t)
	})
	defer stop()
	var res request.Result
	err = request.Send(ctx, m, s, func(r request.Result) error { res = r; return nil })
	if err != nil {
		return nil, err
	}
	stop()
	mu.Lock()
	defer mu.Unlock()
	records := make([]observe.Request, 0, len(res.Hops))
	for i := range res.Hops {
		records = append(records, *res.Hops[i].Record)
	}
	out := w.explain(records, traces)
	out.ID, out.Asked = cmp.Or(res.RequestID, out.ID), asked(&s)
	out.Answer = answer(&res)
	if slices.ContainsFunc(out.Hops, func(h Hop) bool { return h.How == Decided }) {
		out.Unknown = append(slices.Clone(out.Unknown), "what a proxy thought that is a real "+
			"Envoy, or a process of its own: it sends records only; our engine decided again, "+
			"from its record and its configuration")
	}
	return out, nil
}

func asked(s *request.Spec) string {
	method := s.Method
	if method == "" {
		if method = "GET"; s.Body != "" {
			method = "POST"
		}
	}
	if strings.HasPrefix(s.URL, "tcp:") || strings.HasPrefix(s.URL, "tls:") {
		method = "connect"
	}
	return method + " " + s.URL + " from " + s.From
}

func answer(r *request.Result) string {
	switch {
	case r.Error != "":
		return r.Error
	case r.Status == 0:
		return "answered"
	}
	out := fmt.Sprintf("HTTP %d", r.Status)
	if b := r.Backend; b != nil {
		out += " from " + b.Pod
	}
	return out
}

// ErrUnknown says that there is no record of a request.
var ErrUnknown = errors.New("no record of the request")

func unknownID(id string) error {
	return fmt.Errorf("%w %q; `mesh-lab request` and records name them (x-request-id)",
		ErrUnknown, id)
}

// Recorded explains a request of which there are only records: those with its ID.
func (w *World) Recorded(id string, all []observe.Request) (*Explanation, error) {
	var list []observe.Request
	for i := range all {
		if all[i].ID == id && id != "" {
			list = append(list, all[i])
		}
	}
	if len(list) == 0 {
		return nil, unknownID(id)
	}
	Ordered(list)
	out := w.explain(list, nil)
	out.ID = id
	return out, nil
}

// Ordered brings the records of one request into the order in which it crossed the proxies.
func Ordered(list []observe.Request) {
	slices.SortStableFunc(list, func(a, b observe.Request) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.Reporter, a.Reporter))
	})
}

// explain explains the hops of records; traces are those that proxies told.
func (w *World) explain(list []observe.Request, traces []*trace.Trace) *Explanation {
	out := &Explanation{Unknown: w.Unknown}
	for i := range list {
		if out.ID == "" {
			out.ID = list[i].ID
		}
		out.Hops = append(out.Hops, w.hop(&list[i], told(traces, &list[i])))
	}
	return out
}

// told returns the trace of a record.
func told(traces []*trace.Trace, r *observe.Request) *trace.Trace {
	for _, t := range traces {
		if k := &t.Record; k.Proxy == r.Proxy && k.Start == r.Start && k.Remote == r.Remote &&
			k.Reporter == r.Reporter && k.ID == r.ID {
			return t
		}
	}
	return nil
}

// Hop explains what one proxy did, from its record alone.
func (w *World) Hop(r *observe.Request) Hop { return w.hop(r, nil) }

func (w *World) hop(r *observe.Request, t *trace.Trace) Hop {
	h := Hop{Proxy: r.Proxy, Workload: r.Workload, Reporter: string(r.Reporter), Record: *r,
		How: Told, Trace: t, Words: Words(r)}
	if t == nil {
		w.decide(&h, r)
	}
	if h.Trace != nil {
		h.Origins = w.origins(h.Trace, r)
		for _, x := range h.Trace.Routes {
			place, _ := w.Places.Of(rule(x.Rule))
			h.RoutePlaces = append(h.RoutePlaces, place)
		}
	}
	return h
}

// decide decides a hop again.
func (w *World) decide(h *Hop, r *observe.Request) {
	h.How = Seen
	e, err := w.engine(r.Proxy)
	if err != nil {
		h.Unknown = append(h.Unknown, "what the proxy decided: "+err.Error())
		return
	}
	w.at(e, r.Proxy, r.Start)
	w.passes, w.full, w.steps = map[string]bool{}, fullAt(r), 0
	t, guessed := w.again(e, r)
	if t != nil && len(differences(&t.Record, r)) > 0 && commas(r) {
		w.lines = true
		t2, g2 := w.again(e, r)
		if len(differences(&t2.Record, r)) < len(differences(&t.Record, r)) {
			t, guessed = t2, g2
			h.Unknown = append(h.Unknown, "which headers had several lines: records join them "+
				"by commas; those of this one are taken apart again")
		} else {
			w.lines = false
		}
		defer func() { w.lines = false }()
	}
	for range 4 { // as many filters as may rest on what is not recorded
		if t == nil || !w.assume(t, r) {
			break
		}
		t, guessed = w.again(e, r)
	}
	if t == nil {
		h.Unknown = append(h.Unknown, "what the proxy decided: it has no listener for this")
		return
	}
	h.How, h.Trace = Decided, t
	if w.pushedSince(r) {
		h.Unknown = append(h.Unknown, "what the proxy carried out then: it has been told "+
			"something else since; this is by what it carries out now")
	}
	for _, d := range differences(&t.Record, r) {
		h.Differs = append(h.Differs, d.text)
	}
	if len(w.passes) > 0 {
		h.Unknown = append(h.Unknown, "what a token said: records keep no tokens, so the filters "+
			"that read it are not decided again")
	}
	if w.full > 0 && t.Record.Flags == r.Flags {
		h.Unknown = append(h.Unknown, "how full the circuit breaker of retries was: the record "+
			"says only that it had no room")
	}
	if guessed {
		h.Unknown = append(h.Unknown,
			"the draw: it is not recorded; one is shown that leads to what was recorded")
	}
	if len(h.Differs) > 0 {
		h.Unknown = append(h.Unknown, "how full circuit breakers were and where rotations stood: "+
			"records do not tell")
	}
}

// commas says whether a header of a record may have had several lines.
func commas(r *observe.Request) bool {
	for _, v := range r.Headers {
		if strings.Contains(v, ",") {
			return true
		}
	}
	return false
}

// assume has a filter that stops the request in the decision, but did not then, let it pass.
func (w *World) assume(t *trace.Trace, r *observe.Request) bool {
	for _, f := range t.Filters {
		if f.Stops && !w.passes[f.Name] && t.Reply != nil && t.Reply.Details != r.Details &&
			(strings.Contains(f.Name, "jwt") || strings.Contains(f.Name, "rbac")) {
			w.passes[f.Name] = true
			return true
		}
	}
	return false
}
