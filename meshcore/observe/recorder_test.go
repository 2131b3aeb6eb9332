package observe

import (
	"fmt"
	"sync"
	"testing"
)

type seen struct{ requests, clients, changes int }

func (s *seen) Request(*Request) { s.requests++ }
func (s *seen) Client(*Client)   { s.clients++ }
func (s *seen) Change(*Change)   { s.changes++ }

func TestRecorder(t *testing.T) {
	c := NewRecorder()
	w := &seen{}
	cancel := c.Subscribe(w)
	attempts := []Attempt{{Upstream: "a"}, {Upstream: "b"}}
	const n = 3*slabSize + 5
	for i := range n {
		c.Record(&Request{Status: i, Attempts: attempts[:1+i%2]})
	}
	attempts[0].Upstream = "changed by the next exchange"
	c.Client(&Client{Status: 200})
	c.Change(Change{Kind: "eject"})
	cancel()
	cancel()
	c.Client(&Client{})
	h := c.Snapshot()
	if len(h.Requests) != n || len(h.Clients) != 2 || len(h.Changes) != 1 {
		t.Fatalf("%d requests, %d clients, %d changes", len(h.Requests), len(h.Clients), len(h.Changes))
	}
	for i, r := range h.Requests {
		if r.Status != i || len(r.Attempts) != 1+i%2 || r.Attempts[0].Upstream != "a" {
			t.Fatalf("request %d: %+v", i, r)
		}
	}
	if *w != (seen{n, 1, 1}) {
		t.Errorf("seen %+v", *w)
	}
}

func TestRecorderPush(t *testing.T) {
	c := NewRecorder()
	c.Push(Push{Proxy: "a", Type: "CDS", Version: "1", At: 1})
	c.Push(Push{Proxy: "b", Type: "CDS", Version: "1", At: 2})
	c.Push(Push{Proxy: "a", Type: "CDS", Version: "1", Acked: 3})
	c.Push(Push{Proxy: "a", Type: "CDS", Version: "2", At: 4})
	h := c.Snapshot()
	if len(h.Pushes) != 3 || h.Pushes[0].Acked != 3 || h.Pushes[0].At != 1 {
		t.Errorf("%+v", h.Pushes)
	}
}

func TestRecorderKeeps(t *testing.T) {
	c := NewRecorder()
	c.Keep(2000)
	for i := range 20_000 {
		c.Record(&Request{Status: i})
		c.Change(Change{What: fmt.Sprint(i)})
	}
	h := c.Snapshot()
	if n := len(h.Requests); n < 2000 || n > 5000 || h.Requests[n-1].Status != 19_999 {
		t.Errorf("kept %d requests", n)
	}
	if n := len(h.Changes); n < 2000 || n > 5000 {
		t.Errorf("kept %d changes", n)
	}
}

func TestRecorderConcurrently(t *testing.T) {
	c := NewRecorder()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				c.Record(&Request{Attempts: []Attempt{{}}})
				c.Client(&Client{})
				if i%100 == 0 {
					c.Snapshot()
				}
			}
		})
	}
	wg.Wait()
	if n := len(c.Snapshot().Requests); n != 4000 {
		t.Errorf("%d requests", n)
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	c := NewRecorder()
	c.Keep(1000)
	r := &Request{Attempts: make([]Attempt, 1)}
	if a := testing.AllocsPerRun(10*slabSize, func() { c.Record(r) }); a > 0.1 {
		t.Errorf("%v allocations a record", a)
	}
}
