// Package agree compares what `why` says with what happened, for tests. It trusts nothing that
// `why` says of itself.
package agree

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/why"
)

// Disagreements says where a hop's explanation is not what was recorded: in route, cluster or
// flags; or why there is none.
func Disagreements(h *why.Hop) []string {
	if h.Trace == nil {
		return []string{"not explained: " + strings.Join(h.Unknown, "; ")}
	}
	var out []string
	now, then := &h.Trace.Record, &h.Record
	for _, x := range [][3]string{{"route", now.Route, then.Route},
		{"cluster", now.Cluster, then.Cluster}, {"flags", flags(now.Flags), flags(then.Flags)}} {
		if x[1] != x[2] {
			out = append(out, fmt.Sprintf("%s: explained %q, recorded %q", x[0], x[1], x[2]))
		}
	}
	return out
}

// flags are flags in an order of their own.
func flags(text string) string {
	list := strings.Split(text, ",")
	slices.Sort(list)
	return strings.Join(list, ",")
}
