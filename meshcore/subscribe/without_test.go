package subscribe

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWithout: who wants no clusters, or no listeners, is served without.
func TestWithout(t *testing.T) {
	y := newPlay(t)
	y.c.NoListeners = true
	y.gets(cds, nil, "ask EDS +a, ack CDS", "", cluster("a", "1", ""))
	y.gets(eds, nil, "ack EDS", "a/1", endpoints("a"))
	y.gets(cds, nil, "ack CDS", "a/2", cluster("a", "2", ""))

	y = newPlay(t)
	y.c.NoClusters = true
	y.c.defaults()
	if err := y.c.follow(y.s); err != nil || cmp.Diff(y.s.said, []string{"ask LDS"}) != "" {
		t.Errorf("%v %q", err, y.s.said)
	}
	y.gets(lds, nil, "ask RDS +r, ack LDS", "", listener(t, "l", "1", "r"))
	y.gets(rds, nil, "ack RDS", "l/1", route("r"))
}

// TestAnswered tells what became of each response.
func TestAnswered(t *testing.T) {
	y := newPlay(t)
	var got []string
	y.c.Answered = func(typeURL, _ string, refusal error) {
		k, _ := kindOf(typeURL)
		line := short[k]
		if refusal != nil {
			line += " refused"
		}
		got = append(got, line)
	}
	y.gets(cds, nil, "ask LDS, ack CDS", "")
	y.p.fail = errors.New("busy")
	y.gets(lds, nil, "nack LDS busy", "", listener(t, "l", "1"))
	if d := cmp.Diff([]string{"CDS", "LDS refused"}, got); d != "" {
		t.Error(d)
	}
}
