package clock

import (
	"testing"
	"time"
)

// An interval of 9223372035 s, which Istio has for what never is to be cleaned up, ends never, and
// not before everything else, two seconds after the epoch as well.
func TestAddEndsAtNever(t *testing.T) {
	const longest = 9223372035 * time.Second
	for _, c := range []struct {
		at   Instant
		d    time.Duration
		want Instant
	}{
		{0, longest, Instant(longest)},
		{Instant(2 * time.Second), longest, Never},
		{Never, -time.Second, Never},
		{Instant(time.Second), -time.Second, 0},
		{0, -time.Second, -Instant(time.Second)},
	} {
		if got := c.at.Add(c.d); got != c.want {
			t.Errorf("%d + %v = %d, want %d", c.at, c.d, got, c.want)
		}
	}
}
