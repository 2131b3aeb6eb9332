package why

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// difference is something that a decision and a record do not agree on.
type difference struct {
	weight int
	text   string
}

// differences compares a decision with a record.
func differences(now, then *observe.Request) []difference {
	var out []difference
	add := func(weight int, what, a, b string) {
		if a != b {
			text := fmt.Sprintf("%s: %s by this decision, %s as recorded", what,
				cmp.Or(a, "none"), cmp.Or(b, "none"))
			out = append(out, difference{weight, text})
		}
	}
	add(100, "route", now.Route, then.Route)
	add(50, "cluster", now.Cluster, then.Cluster)
	add(40, "flags", sortedFlags(now.Flags), sortedFlags(then.Flags))
	add(20, "attempts", fmt.Sprint(len(now.Attempts)), fmt.Sprint(len(then.Attempts)))
	for i := range min(len(now.Attempts), len(then.Attempts)) {
		add(5, "host", now.Attempts[i].Upstream, then.Attempts[i].Upstream)
	}
	add(4, "mirrors", fmt.Sprint(len(now.Mirrors)), fmt.Sprint(len(then.Mirrors)))
	return out
}

func sortedFlags(s string) string {
	list := strings.Split(s, ",")
	slices.Sort(list)
	return strings.Join(list, ",")
}
