package request

import (
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// TestFind finds each request of a connection that is kept alive, when the records of later ones
// are there already, in any order.
func TestFind(t *testing.T) {
	c := &collector{index: map[string][]int{}, come: make(chan struct{}, 1)}
	const remote = "10.244.0.2:40000"
	for _, r := range []observe.Request{
		{ID: "second", Remote: remote, Start: 20}, {ID: "first", Remote: remote, Start: 10},
		{ID: "third", Remote: remote, Start: 30}, {ID: "first", Remote: "10.244.0.3:50000", Start: 11},
	} {
		c.Request(&r)
	}
	for _, want := range []struct {
		since sender
		id    string
		n     int
	}{
		{sender{remote: remote, since: 9}, "first", 2},
		{sender{remote: remote, since: 15}, "second", 1},
		{sender{remote: remote, since: 30}, "third", 1},
		{sender{remote: remote, since: 31}, "", 0},
	} {
		found, _ := c.find(want.since)
		if len(found) != want.n || want.n > 0 && found[0].ID != want.id {
			t.Errorf("since %d: found %v, want %d of %q", want.since.since, found, want.n, want.id)
		}
	}
}
