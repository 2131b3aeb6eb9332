package capture

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// fake is a kernel with a counter.
type fake struct {
	on    map[string]bool
	count Count
	fails error
}

// bookOf returns a book that looks when look is written to, at the times of now.
func bookOf(k *fake, now *int64, look chan bool) *Book {
	b := NewBook(func() int64 { return *now })
	k.on = map[string]bool{}
	b.kernel = kernel{
		set: func(f Fault) error {
			if k.fails != nil {
				return k.fails
			}
			k.on[f.ID], k.count = true, Count{}
			return nil
		},
		clear: func(id string) error { delete(k.on, id); return k.fails },
		count: func(id string) (Count, error) {
			if !k.on[id] {
				return Count{}, fmt.Errorf("%s is not there", id)
			}
			return k.count, nil
		},
		faults: func() (out []string, _ error) {
			for id := range k.on {
				out = append(out, id)
			}
			return out, nil
		},
	}
	b.look = func(stop <-chan struct{}) bool {
		select {
		case again := <-look:
			return again
		case <-stop:
			return false
		}
	}
	return b
}

func TestBook(t *testing.T) {
	k, now, look := &fake{}, int64(1), make(chan bool)
	b := bookOf(k, &now, look)
	want := func(id string, packets uint64, first, last int64) {
		t.Helper()
		got, err := b.Count(id)
		if err != nil || got.Packets != packets || got.First != first || got.Last != last {
			t.Errorf("%s: %+v, %v; want %d packets from %d to %d", id, got, err, packets, first, last)
		}
	}
	set := func(id string) {
		t.Helper()
		if err := b.Set(Fault{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	set("f")
	want("f", 0, 0, 0)
	k.count, now = Count{3, 300}, 10
	want("f", 3, 10, 10)
	now = 20
	want("f", 3, 10, 10) // nothing new
	k.count, now = Count{5, 500}, 30
	set("f") // another strength
	want("f", 5, 10, 30)
	k.count, now = Count{1, 100}, 40
	look <- true
	look <- true // so that the first look is over
	now = 50
	want("f", 6, 10, 40)
	k.count = Count{2, 200}
	got, err := b.Clear("f")
	if err != nil || got.Packets != 7 || got.Bytes != 700 || got.Last != 50 {
		t.Errorf("cleared: %+v, %v", got, err)
	}
	want("f", 7, 10, 50) // as it was at the end
	if got, err := b.Clear("f"); err != nil || got.Packets != 7 {
		t.Errorf("cleared again: %+v, %v", got, err)
	}
	set("f") // anew
	want("f", 0, 0, 0)
	set("g")
	if list, _ := b.List(); len(list) != 2 || !slices.Contains(list, "g") {
		t.Errorf("list %v", list)
	}
	if err := b.Close(); err != nil || len(k.on) > 0 {
		t.Errorf("closed: %v, %v", k.on, err)
	}
	if _, err := b.Count("h"); err == nil {
		t.Error("a fault that never was has a count")
	}
	k.fails = errors.New("no")
	if err := b.Set(Fault{ID: "i"}); err == nil {
		t.Error("an error of the kernel is lost")
	}
	if _, err := b.Count("i"); err == nil {
		t.Error("a fault that could not begin has a count")
	}
}
