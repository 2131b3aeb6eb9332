package istio

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/testdata/page"
)

// TestDecisions keeps two lists in the documentation: the kinds and fields that are read and change
// nothing, and those that are errors.
func TestDecisions(t *testing.T) {
	unfelt, later := map[string][]string{}, map[string][]string{} // reason or way out: what
	for _, k := range kinds {
		name := "`" + strings.TrimPrefix(k.group+"/"+k.name, "/") + "`"
		switch {
		case k.noEffect != "":
			unfelt[k.noEffect] = append(unfelt[k.noEffect], name)
		case k.body == nil:
			later[k.notYet] = append(later[k.notYet], name)
		}
	}
	for typeName, rules := range fields {
		short := typeName[strings.LastIndexAny(typeName, "./")+1:]
		for field, rule := range rules {
			name := "`" + short + "." + field + "`"
			switch rule.verdict {
			case withoutEffect:
				unfelt[rule.why] = append(unfelt[rule.why], name)
			case notCarriedOut:
				if len(rule.unless) > 0 {
					name += " other than " + strings.Join(rule.unless, ", ")
				}
				later[rule.why] = append(later[rule.why], name)
			}
		}
	}
	const file = "../../docs/fidelity.md"
	page.Keep(t, file, page.Begin("kinds and fields without effect", "./meshcore/istio"),
		table("kinds and fields", "why no request can feel them", unfelt))
	page.Keep(t, file, page.Begin("kinds and fields that are errors", "./meshcore/istio"),
		table("kinds and fields", "what to do instead", later))
}

func table(left, right string, rows map[string][]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | %s |\n|---|---|\n", left, right)
	for _, why := range slices.Sorted(maps.Keys(rows)) {
		slices.Sort(rows[why])
		fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(slices.Compact(rows[why]), ", "),
			cmp.Or(why, "nothing yet"))
	}
	return b.String()
}
