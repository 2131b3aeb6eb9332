package lab

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/remote"
	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/lab/why"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// story follows one scenario while it runs, for who watches. While a step runs its verdicts are as
// of now; what the step came to is judged from its record, as the report does.
type story struct {
	s    *scenarios.Scenario
	info remote.Info
	up   chan struct{} // closed when there is a mesh
	over chan struct{} // closed when there is none any more
	// carried is what explains its requests; set before it begins
	carried *reports.Carried

	mu     sync.Mutex
	follow *remote.Follower
	mesh   topology.Mesh
	stop   func()
	judge  *assert.Judge // of the step that runs; nil: it has sent nothing yet
	step   int
	told   feed.Story
	stale  bool // told has changed since it was told
	looked time.Time
}

func newStory(s *scenarios.Scenario, info remote.Info) *story {
	t := &story{s: s, info: info, up: make(chan struct{}), over: make(chan struct{}), step: -1,
		told: feed.Story{Name: s.Name, About: s.About}, stale: true}
	for i := range s.Steps {
		step := feed.Step{Name: s.Steps[i].Name, State: feed.Waiting}
		for _, x := range s.Steps[i].Expect {
			step.Wants = append(step.Wants, x.Name())
			if w, ok := wanted(x, float64(s.Tolerance)); ok {
				step.Splits = append(step.Splits, w)
			}
		}
		t.told.Steps = append(t.told.Steps, step)
	}
	return t
}

// wanted is the split by version that an expectation wants.
func wanted(x assert.Expectation, tolerance float64) (w feed.Wanted, ok bool) {
	s, ok := x.(*assert.Split)
	if !ok || s.By != "" && s.By != "version" {
		return w, false
	}
	w = feed.Wanted{Service: s.Service, Tolerance: float64(s.Tolerance),
		Shares: map[string]float64{}}
	if w.Tolerance == 0 {
		w.Tolerance = tolerance
	}
	if w.Tolerance == 0 {
		w.Tolerance = assert.DefaultTolerance
	}
	for _, n := range s.Shares {
		if n.Share.Low != n.Share.High {
			return w, false // a bound has no place on a bar
		}
		w.Shares[n.Name] = n.Share.Low
	}
	return w, true
}

// begun takes the mesh that was brought up.
func (t *story) begun(m topology.Mesh) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mesh, t.follow = m, remote.Follow(m, t.info)
	t.stop = m.Recorder().Subscribe(t)
	close(t.up)
}

// doing takes the progress.
func (t *story) doing(p runner.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.Step == 0 || p.Step > len(t.told.Steps) {
		return
	}
	i := p.Step - 1
	if i != t.step {
		t.step, t.judge = i, nil
	}
	if t.judge == nil && (p.Doing == "load" || p.Doing == "request") && t.mesh != nil {
		t.judge = t.s.Judge(i, t.mesh.Clock().Now(), clock.Never)
	}
	x := &t.told.Steps[i]
	x.State, x.Doing, x.Sent, x.Failed = feed.Running, p.Doing, p.Sent, p.Failed
	t.stale = true
}

// stepped takes the run so far when a step is over.
func (t *story) stepped(run *reports.Run) {
	res, err := reports.Judge(run)
	if err != nil {
		return // what can not be judged is told in the end
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.judge, t.stale = nil, true
	for i := range res.Steps {
		x := &t.told.Steps[i]
		x.State, x.Verdict, x.Said = feed.Done, res.Steps[i].Verdict, res.Steps[i].Expectations
	}
}

// ended says what the run came to.
func (t *story) ended(all []assert.Outcome, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.told.Over, t.stale, t.judge = "interrupted", true, nil
	switch {
	case err != nil && len(all) == 0:
		t.told.Over = "the run could not be carried out"
	case len(all) > 0:
		t.told.Over = assert.Worst(all...).String()
	}
	close(t.over)
}

// close ends what follows the mesh.
func (t *story) close() {
	if t.follow != nil {
		t.stop()
		t.follow.Close()
	}
}

// Request hands a record to the judge of the step.
func (t *story) Request(r *observe.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.judge != nil {
		t.judge.Request(r)
	}
}

// Client hands on what a sender saw.
func (t *story) Client(c *observe.Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.judge != nil {
		t.judge.Client(c)
	}
}

// Change hands on a change.
func (t *story) Change(c *observe.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.judge != nil {
		t.judge.Change(c)
	}
}

// lookEvery is how often verdicts are looked at while a step runs.
const lookEvery = 500 * time.Millisecond

// next waits for a batch of the run, and has the story in it where it has changed.
func (t *story) next(ctx context.Context) (*feed.Batch, error) {
	select {
	case <-t.up:
	case <-t.over:
		return nil, io.EOF
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b, over := t.batch(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.judge != nil && time.Since(t.looked) > lookEvery {
		t.told.Steps[t.step].Said = t.judge.Verdicts()
		t.looked, t.stale = time.Now(), true
	}
	if t.stale {
		now := t.told
		now.Steps = append([]feed.Step(nil), t.told.Steps...)
		b.Story, t.stale = &now, false
	}
	if over && b.Story == nil {
		return nil, io.EOF
	}
	return b, nil
}

// batch waits for what happens next; over: nothing does any more.
func (t *story) batch(ctx context.Context) (b *feed.Batch, over bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-t.over:
			cancel()
		case <-ended:
		}
	}()
	if b, err := t.follow.Next(ctx); err == nil {
		return b, false
	}
	return &feed.Batch{At: t.mesh.Clock().Now(), Every: 1}, true
}

// verdict is what the run came to, in a word.
func (t *story) verdict() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.told.Over
}

// explain explains a request of the run so far.
func (t *story) explain(id string) (*why.Explanation, error) {
	t.mu.Lock()
	m := t.mesh
	t.mu.Unlock()
	if m == nil {
		return nil, why.ErrUnknown
	}
	return why.OfRunning(m, t.carried).Explain(id)
}
