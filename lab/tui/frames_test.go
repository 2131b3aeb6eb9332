package tui

import (
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/tui/feed"
	"github.com/mesh-lab/mesh-lab/lab/tui/model"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// TestBytesPerFrame bounds what is written to the terminal, as an SSH connection has to carry it:
// a whole screen once, then what has changed.
func TestBytesPerFrame(t *testing.T) {
	const (
		whole   = 30_000 // the first frame of 200×60
		changed = 5_000  // one in which half a second went by, and all charts move on
		mean    = 1_000  // at ten frames a second: as a modem of the nineties did
		nothing = 99     // one in which the clock alone went on
	)
	s, sink, err := NewSink(200, 60)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Fini()
	a := NewApp(nil, "", false, true)
	f := NewFrames(s, false)
	frame := func() int {
		sink.Written = 0
		f.Show(a.Draw)
		return sink.Written
	}
	all := recorded(t, "shift")
	if n := frame(); n > whole {
		t.Errorf("the first frame takes %d bytes", n)
	}
	sum, most := 0, 0
	for _, b := range all {
		a.Take(b)
		n := frame()
		sum, most = sum+n, max(most, n)
	}
	t.Logf("%d frames, %d bytes each, at most %d", len(all), sum/len(all), most)
	if most > changed || sum/len(all) > mean {
		t.Errorf("%d bytes a frame, at most %d", sum/len(all), most)
	}
	if n := frame(); n > nothing {
		t.Errorf("%d bytes are written where nothing is new", n)
	}
	next := (a.model.Now()/clock.Instant(model.Slot) + 1) * clock.Instant(model.Slot)
	a.Take(&feed.Batch{At: next, Every: 1})
	frame() // in which half a second is over
	a.Take(&feed.Batch{At: next + 1e8, Every: 1})
	if n := frame(); n > nothing {
		t.Errorf("%d bytes are written for the clock", n)
	}
	s.Sync()
	if sink.Written < 200*60/4 {
		t.Errorf("%d bytes are all of the screen", sink.Written)
	}
}
