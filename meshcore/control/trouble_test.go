package control_test

import (
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/testdata/wait"
)

// pair connects two proxies.
func (l *lab) pair() (a, b *target) {
	a, b = &target{}, &target{}
	l.connect("a", a)
	l.connect("b", b)
	return a, b
}

// TestWithhold keeps a change from one proxy: others get it, Set names the one, and it gets it
// afterwards in stages.
func TestWithhold(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		a, b := l.pair()
		old, next := mesh(t, "old"), mesh(t, "new")
		l.set(snapshots{"a.default": old, "b.default": old})
		trouble := l.Trouble(control.Trouble{Withhold: []string{"b.default"}})
		r := l.set(snapshots{"a.default": next, "b.default": next})
		if len(r.Withheld) != 1 || r.Withheld[0] != "b.default" || r.Changed != 1 {
			t.Errorf("%+v", r)
		}
		if err := same(a.snapshot(), next); err != nil {
			t.Error(err)
		}
		if err := same(b.snapshot(), old); err != nil {
			t.Error(err)
		}
		// Clusters, endpoints and routes; the listener is the same.
		if c := trouble.Count(); c.Withheld != 3 || c.Delayed != 0 || c.First == 0 || c.Last < c.First {
			t.Errorf("%+v", c)
		}
		trouble.End()
		r, err := l.Resume(t.Context())
		if err != nil || len(r.Withheld) != 0 || r.Changed != 1 || r.Stages != 3 {
			t.Errorf("%+v, %v", r, err)
		}
		if err := same(b.snapshot(), next); err != nil {
			t.Error(err)
		}
		a.check(t)
		b.check(t)
	})
}

// TestWithholdEndsWait has a Set that waits for a proxy wait no longer when that gets nothing any
// more.
func TestWithholdEndsWait(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		_, b := l.pair()
		old, next := mesh(t, "old"), mesh(t, "new")
		l.set(snapshots{"a.default": old, "b.default": old})
		hold := make(chan struct{})
		defer close(hold)
		b.setHold(hold)
		done := make(chan control.Result)
		go func() {
			r, err := l.Set(t.Context(), snapshots{"a.default": next, "b.default": next})
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		wait.Until(t, func() string { return "it waits" }, l.Waiting)
		l.Trouble(control.Trouble{All: true})
		r := <-done
		if len(r.Withheld) != 2 {
			t.Errorf("%+v", r)
		}
	})
}

// TestWithholdFromNewcomer has a proxy that connects get nothing, and be given everything later.
func TestWithholdFromNewcomer(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		want := mesh(t, "x")
		trouble := l.Trouble(control.Trouble{Withhold: []string{"b.default"}})
		a, b := l.pair()
		l.set(snapshots{"a.default": want, "b.default": want})
		if err := same(a.snapshot(), want); err != nil {
			t.Error(err)
		}
		if b.snapshot() != nil {
			t.Error("b got something")
		}
		trouble.End()
		if _, err := l.Resume(t.Context()); err != nil {
			t.Error(err)
		}
		if err := same(b.snapshot(), want); err != nil {
			t.Error(err)
		}
	})
}

// TestSlow has each push leave later, and Set wait for it; who is slow tells how many it delayed.
func TestSlow(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		a, _ := l.pair()
		old, next := mesh(t, "old"), mesh(t, "new")
		l.set(snapshots{"a.default": old, "b.default": old})
		const slow = 10 * time.Millisecond
		trouble := l.Trouble(control.Trouble{Slow: slow})
		r := l.set(snapshots{"a.default": next, "b.default": next})
		if r.Took < 3*slow || r.Stages != 3 { // the stages, one after the other
			t.Errorf("%+v", r)
		}
		if err := same(a.snapshot(), next); err != nil {
			t.Error(err)
		}
		if c := trouble.Count(); c.Delayed < 6 || c.Withheld != 0 {
			t.Errorf("%+v", c)
		}
		trouble.Change(control.Trouble{Slow: time.Hour})
		was := trouble.Count().Delayed
		done := make(chan struct{})
		go func() { l.set(snapshots{"a.default": old, "b.default": old}); close(done) }()
		wait.Until(t, func() string { return "a push waits" },
			func() bool { return trouble.Count().Delayed > was })
		trouble.End() // what is late leaves
		<-done
		if err := same(a.snapshot(), old); err != nil {
			t.Error(err)
		}
	})
}

// TestForget restarts a server with an empty memory: proxies keep what they have, and are told of
// nothing until a Set gives everything again; that is no change for them.
func TestForget(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		a, b := l.pair()
		want := mesh(t, "x")
		all := snapshots{"a.default": want, "b.default": want}
		l.set(all)
		if n := l.Streams(); n != 2 {
			t.Errorf("%d streams, want 2", n)
		}
		l.local.Stop()
		l.Forget()
		// Streams that were cut end in their own time.
		wait.Until(t, func() string { return "it remembers nobody" },
			func() bool { return len(l.Status()) == 0 })
		if err := l.local.Start(); err != nil {
			t.Fatal(err)
		}
		wait.Until(t, func() string { return "both are back" }, func() bool { return l.Streams() == 2 })
		for _, x := range []*target{a, b} {
			if err := same(x.snapshot(), want); err != nil {
				t.Error(err)
			}
		}
		l.set(all)
		for _, x := range []*target{a, b} {
			if err := same(x.snapshot(), want); err != nil {
				t.Error(err)
			}
			x.check(t)
		}
	})
}

// TestForgetKeepsRunningSet has a Set that waits while the server is away end well when it is back.
func TestForgetKeepsRunningSet(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		a, _ := l.pair()
		old, next := mesh(t, "old"), mesh(t, "new")
		l.set(snapshots{"a.default": old, "b.default": old})
		l.local.Stop()
		done := make(chan error)
		go func() {
			_, err := l.Set(t.Context(), snapshots{"a.default": next, "b.default": next})
			done <- err
		}()
		wait.Until(t, func() string { return "it waits" }, func() bool { return l.Waiting() })
		l.Forget()
		if err := l.local.Start(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := same(a.snapshot(), next); err != nil {
			t.Error(err)
		}
	})
}
