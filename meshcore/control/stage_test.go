package control_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// TestRename moves routes from one cluster to another, again and again: there is never a moment at
// which routes in effect lead to a cluster that is not.
func TestRename(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		targets := map[string]*target{}
		for i := range 5 {
			pod := fmt.Sprint("pod-", i)
			targets[pod] = &target{}
			l.connect(pod, targets[pod])
		}
		for i := range 20 {
			want := mesh(t, fmt.Sprint("v", i), "stays")
			all := snapshots{}
			for pod := range targets {
				all[pod+".default"] = want
			}
			r := l.set(all)
			if wanted := 3; i > 0 && r.Stages != wanted || r.Changed != 5 {
				t.Errorf("%d: %+v", i, r)
			}
			for pod, x := range targets {
				if err := same(x.snapshot(), want); err != nil {
					t.Errorf("%s: %v", pod, err)
				}
			}
		}
		for _, x := range targets {
			x.check(t)
		}
	})
}

// TestOneStep shows what the stages are for: with everything in one step the removal of a cluster
// arrives before the routes that leave it.
func TestOneStep(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		x := &target{}
		l.connect("a", x)
		l.set(snapshots{"a.default": mesh(t, "old")}, control.OneStep())
		want := mesh(t, "new")
		if r := l.set(snapshots{"a.default": want}, control.OneStep()); r.Stages != 1 {
			t.Errorf("%+v", r)
		}
		if err := same(x.snapshot(), want); err != nil {
			t.Error(err)
		}
		if x.broken == nil {
			t.Error("no moment without the cluster: nothing to learn here")
		}
	})
}

// TestStagesWaitForAll: routes move nowhere before the slowest proxy has the new cluster.
func TestStagesWaitForAll(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		quick, slow := &target{}, &target{}
		l.connect("quick", quick)
		l.connect("slow", slow)
		both := func(s *xds.Snapshot) snapshots {
			return snapshots{"quick.default": s, "slow.default": s}
		}
		l.set(both(mesh(t, "old")))
		slow.setHold(make(chan struct{}))
		updates := quick.notify()
		done := make(chan error, 1)
		go func() {
			_, err := l.Set(t.Context(), both(mesh(t, "new")))
			done <- err
		}()
		<-updates
		if s := quick.snapshot(); s.Clusters["new"] == nil || s.Clusters["old"] == nil ||
			s.Routes["8080"].VirtualHosts[0].Name != "old" {
			t.Error("the first stage is not additions only")
		}
		close(slow.hold)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		want := mesh(t, "new")
		if err := errors.Join(same(quick.snapshot(), want), same(slow.snapshot(), want)); err != nil {
			t.Error(err)
		}
	})
}

func TestSetsRunOneAfterTheOther(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		x := &target{}
		l.connect("a", x)
		errs := make(chan error)
		wants := map[string]*xds.Snapshot{}
		for i := range 8 {
			name := fmt.Sprint("v", i)
			want := mesh(t, name)
			wants[name] = want
			go func() {
				_, err := l.Set(t.Context(), snapshots{"a.default": want})
				errs <- err
			}()
		}
		for range wants {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		name := slices.Collect(maps.Keys(x.snapshot().Clusters))[0]
		if err := same(x.snapshot(), wants[name]); err != nil {
			t.Error(err)
		}
		x.check(t)
	})
}

// TestSetAfterOneThatGaveUp: the snapshot that was never ACKed is no obstacle.
func TestSetAfterOneThatGaveUp(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		x := &target{}
		l.connect("a", x)
		l.set(snapshots{"a.default": mesh(t, "one")})
		x.setHold(make(chan struct{}))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := l.Set(ctx, snapshots{"a.default": mesh(t, "two")})
			done <- err
		}()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		close(x.hold)
		want := mesh(t, "three")
		l.set(snapshots{"a.default": want})
		if err := same(x.snapshot(), want); err != nil {
			t.Error(err)
		}
		x.check(t)
	})
}

func TestProxiesComeAndGo(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		a, b := &target{}, &target{}
		stopA := l.connect("a", a)
		l.set(snapshots{"a.default": mesh(t, "one")})
		stopA()
		// While a is away: b comes, a is not waited for.
		l.connect("b", b)
		want := mesh(t, "one", "two")
		l.set(snapshots{"a.default": want, "b.default": want}, control.Optional("a.default"))
		if err := same(b.snapshot(), want); err != nil {
			t.Error(err)
		}
		again := &target{}
		l.connect("a", again)
		l.set(snapshots{"a.default": want, "b.default": want})
		if err := same(again.snapshot(), want); err != nil {
			t.Error(err)
		}
		// Who is not in a Set is given nothing any more, and forgotten when it goes.
		l.set(snapshots{"b.default": mesh(t, "three")})
		if err := same(again.snapshot(), want); err != nil {
			t.Error(err)
		}
	})
}

func TestControlPlaneGoesAndComesBack(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		x := &target{}
		l.connect("a", x)
		s := mesh(t, "one")
		l.set(snapshots{"a.default": s})
		updates := x.count()
		l.local.Stop()
		if err := same(x.snapshot(), s); err != nil {
			t.Error(err)
		}
		if err := l.local.Start(); err != nil {
			l.t.Fatal(err)
		}
		l.set(snapshots{"a.default": s}) // waits until the proxy is back
		if n := x.count(); n != updates {
			t.Errorf("%d updates although nothing changed", n-updates)
		}
		want := mesh(t, "two")
		l.local.Stop()
		done := make(chan error)
		go func() {
			_, err := l.Set(t.Context(), snapshots{"a.default": want})
			done <- err
		}()
		if err := l.local.Start(); err != nil {
			l.t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := same(x.snapshot(), want); err != nil {
			t.Error(err)
		}
		x.check(t)
	})
}

// TestAnyChanges plays random histories: proxies with random snapshots, some of which are refused,
// some proxies reconnecting, and checks at each update of each proxy that it hangs together, and
// after each Set that it has arrived. A proxy that comes back to a snapshot of which it refuses a
// part has had nothing before: its routes may lead to a cluster that it refused, until it is mended.
func TestAnyChanges(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		l := newLab(r, rapid.Bool().Draw(r, "state of the world"))
		defer l.end()
		names := []string{"a", "b", "c"}
		targets, stops := map[string]*target{}, map[string]func(){}
		spoiled, adrift := map[string]bool{}, map[string]bool{}
		connect := func(pod string) {
			targets[pod] = &target{refuse: refuses}
			stops[pod] = l.connect(pod, targets[pod])
		}
		for _, n := range names {
			connect(n)
		}
		for range rapid.IntRange(1, 8).Draw(r, "changes") {
			all, bad := snapshots{}, false
			spoiledBefore := maps.Clone(spoiled)
			for _, n := range names {
				s := drawMesh(r)
				spoiled[n] = false
				if rapid.IntRange(0, 9).Draw(r, "refused") == 0 && s.Clusters["one"] != nil {
					kind := rapid.SampledFrom([]string{"CDS", "EDS", "LDS", "RDS"}).Draw(r, "kind")
					if kind != "EDS" || s.Endpoints["one"] != nil {
						spoil[kind](s)
						bad, spoiled[n] = true, true
					}
				}
				all[n+".default"] = s
			}
			if rapid.IntRange(0, 4).Draw(r, "reconnect") == 0 {
				n := rapid.SampledFrom(names).Draw(r, "who")
				stops[n]()
				for l.connected(n + ".default") { // else Set could have the end still before it
					runtime.Gosched()
				}
				adrift[n] = spoiled[n] || spoiledBefore[n]
				connect(n)
			}
			_, err := l.Set(r.Context(), all)
			var nack *control.NackError
			switch {
			case bad && !errors.As(err, &nack):
				r.Fatalf("a bad snapshot: got %v", err)
			case !bad && err != nil:
				r.Fatal(err)
			}
			for n, x := range targets {
				if err := x.takeBroken(); err != nil && !adrift[n] {
					r.Fatal(n, ": ", err)
				}
				adrift[n] = adrift[n] && bad
				if err := same(x.snapshot(), all[n+".default"]); err != nil && !bad {
					r.Fatal(n, ": ", err)
				}
			}
		}
	})
}

// drawMesh draws clusters, of which routes may use some, and listeners with route names.
func drawMesh(r *rapid.T) *xds.Snapshot {
	pool := []string{"one", "two", "three", "four"}
	used := rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 0, 3, rapid.ID).Draw(r, "clusters")
	s := mesh(r, used...)
	for _, n := range used { // in an order, so that a seed gives the same again
		c := s.Clusters[n]
		if rapid.Bool().Draw(r, "changed") {
			c.AltStatName = fmt.Sprint(n, rapid.IntRange(0, 3).Draw(r, "stat"))
		}
		if rapid.IntRange(0, 3).Draw(r, "service name") == 0 {
			delete(s.Endpoints, n)
			c.EdsClusterConfig.ServiceName = "other-" + n
			s.Endpoints["other-"+n] = endpoints("other-"+n, 9000)
		}
	}
	for _, n := range used {
		if rapid.Bool().Draw(r, "secured") {
			name := rapid.SampledFrom([]string{"default", "other"}).Draw(r, "its secret")
			s.Clusters[n].TransportSocket = secured(r, name)
			if s.Secrets[name] == nil {
				s.Secrets[name] = secret(name, rapid.IntRange(0, 2).Draw(r, "version"))
			}
		}
	}
	if rapid.Bool().Draw(r, "second listener") {
		name := rapid.SampledFrom([]string{"8080", "9090"}).Draw(r, "its routes")
		s.Listeners["second"] = listener(r, "second", name, 0)
		if s.Routes[name] == nil {
			s.Routes[name] = routes(name, used...)
		}
	}
	return s
}
