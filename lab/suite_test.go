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

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// meeting is a driver whose meshes come up when so many have met; the last to come goes first, each
// with an error that names it.
type meeting struct {
	atOnce int

	mu           sync.Mutex
	here         []chan struct{}
	inside, most int
	began        []string
}

// Up waits for the others.
func (m *meeting) Up(_ context.Context, s topology.Spec) (topology.Mesh, error) {
	name, leave := s.Config.Objects[0].Name, make(chan struct{})
	m.mu.Lock()
	m.began, m.here = append(m.began, name), append(m.here, leave)
	m.inside++
	m.most = max(m.most, m.inside)
	if len(m.here) == m.atOnce {
		for _, c := range slices.Backward(m.here) {
			close(c)
		}
		m.here = nil
	}
	m.mu.Unlock()
	<-leave
	m.mu.Lock()
	m.inside--
	m.mu.Unlock()
	return nil, errors.New("no mesh for " + name)
}

// TestSuite has scenarios run at a time, as many as are allowed, and tells of them in their order.
func TestSuite(t *testing.T) {
	for _, atOnce := range []int{1, 2, 3, 6} {
		var all []*scenarios.Scenario
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			text := strings.ReplaceAll(alone, "NAME", name)
			s, problems := scenarios.Parse(name+".yaml", []byte(text))
			for _, p := range problems {
				t.Fatal(p)
			}
			all = append(all, s)
		}
		var out, stderr bytes.Buffer
		e := &env{out: &out, err: &stderr, log: slog.New(slog.DiscardHandler)}
		m := &meeting{atOnce: atOnce}
		s, err := newSuite(t.Context(), &writer{env: e, outputs: &outputs{}}, all)
		if err != nil {
			t.Fatal(err)
		}
		s.driver = m
		_, err = s.play(t.Context(), atOnce)
		if m.most != atOnce {
			t.Errorf("%d at a time, want %d", m.most, atOnce)
		}
		var told []string
		for line := range strings.Lines(err.Error()) {
			told = append(told, line[:1])
		}
		if got := strings.Join(told, ""); got != "abcdef" {
			t.Errorf("-j %d: told in the order %s:\n%v", atOnce, got, err)
		}
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

// TestSuiteInterrupted begins nothing when an interrupt has come.
func TestSuiteInterrupted(t *testing.T) {
	s, _ := scenarios.Parse("a.yaml", []byte(alone))
	e := &env{out: &bytes.Buffer{}, err: &bytes.Buffer{}, log: slog.New(slog.DiscardHandler)}
	w := &writer{env: e, outputs: &outputs{}}
	su, err := newSuite(t.Context(), w, []*scenarios.Scenario{s, s})
	if err != nil {
		t.Fatal(err)
	}
	m := &meeting{atOnce: 1}
	su.driver = m
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if outcomes, err := su.play(ctx, 1); len(outcomes) > 0 || err != nil || len(m.began) > 0 {
		t.Errorf("got %v, %v; began %v", outcomes, err, m.began)
	}
}
