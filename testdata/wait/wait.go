// Package wait is for tests of what becomes so by itself, and tells nobody.
package wait

import (
	"testing"
	"time"
)

// Until asks again and again whether it is so. After a minute the test fails, with what there is to
// say.
func Until(t testing.TB, now func() string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not so: %s", now())
		}
	}
}
