package lab

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// meeting is a driver whose meshes come up, each with an error that names it, when they are let.
type meeting struct {
	mu    sync.Mutex
	here  []chan struct{} // of each that waits
	began []string
}

// Up waits.
func (m *meeting) Up(_ context.Context, s topology.Spec) (topology.Mesh, error) {
	name, leave := s.Config.Objects[0].Name, make(chan struct{})
	m.mu.Lock()
	m.began, m.here = append(m.began, name), append(m.here, leave)
	m.mu.Unlock()
	<-leave
	return nil, errors.New("no mesh for " + name)
}

// letGo lets all that wait go, the last one first, and returns how many they were.
func (m *meeting) letGo() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.here)
	for _, c := range slices.Backward(m.here) {
		close(c)
	}
	m.here = nil
	return n
}

// suiteOf makes a suite of scenarios whose meshes meet.
func suiteOf(t *testing.T, m *meeting, names ...string) *suite {
	t.Helper()
	var all []*scenarios.Scenario
	for _, name := range names {
		text := strings.ReplaceAll(alone, "NAME", name)
		s, problems := scenarios.Parse(name+".yaml", []byte(text))
		for _, p := range problems {
			t.Fatal(p)
		}
		all = append(all, s)
	}
	e := &env{out: &bytes.Buffer{}, err: &bytes.Buffer{}, log: slog.New(slog.DiscardHandler)}
	s, err := newSuite(t.Context(), &writer{env: e, outputs: &outputs{}}, all)
	if err != nil {
		t.Fatal(err)
	}
	s.driver = m
	return s
}

// TestSuite has scenarios run at a time, as many as are allowed, and tells of them in their order.
func TestSuite(t *testing.T) {
	for _, atOnce := range []int{1, 2, 3, 6, 7} {
		synctest.Test(t, func(t *testing.T) {
			m := &meeting{}
			s := suiteOf(t, m, "a", "b", "c", "d", "e", "f")
			told := make(chan error, 1)
			go func() {
				_, err := s.play(t.Context(), atOnce)
				told <- err
			}()
			for left := len(s.all); left > 0; {
				synctest.Wait()
				n := m.letGo()
				if n != min(atOnce, left) {
					t.Fatalf("-j %d: %d at a time", atOnce, n)
				}
				left -= n
			}
			var want []string
			for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
				want = append(want, name+": no mesh for "+name)
			}
			if err := <-told; err == nil || err.Error() != strings.Join(want, "\n") {
				t.Errorf("-j %d: got %v", atOnce, err)
			}
		})
	}
}

// TestSuiteInterrupted begins nothing when an interrupt has come.
func TestSuiteInterrupted(t *testing.T) {
	m := &meeting{}
	s := suiteOf(t, m, "a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if outcomes, err := s.play(ctx, 1); len(outcomes) > 0 || err != nil || len(m.began) > 0 {
		t.Errorf("got %v, %v; began %v", outcomes, err, m.began)
	}
}

const alone = `
name: NAME
mesh:
  files:
    apiVersion: v1
    kind: Namespace
    metadata: {name: NAME}
steps: [{wait: 1s}]
`
