package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/testdata/page"
)

// TestDifferences keeps the list of recorded resources that we do not make as they were recorded.
func TestDifferences(t *testing.T) {
	rows := map[string][]string{} // reason: recorded resources
	for _, list := range []map[string]string{artefacts, waiting} {
		for name, why := range list {
			rows[why] = append(rows[why], name)
		}
	}
	var b strings.Builder
	b.WriteString("| recorded (case, node/type) | why ours differ |\n|---|---|\n")
	for _, why := range slices.Sorted(maps.Keys(rows)) {
		slices.Sort(rows[why])
		fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(rows[why], ", "),
			strings.ReplaceAll(why, "|", `\|`))
	}
	page.Keep(t, "../../docs/fidelity.md",
		page.Begin("recorded resources that differ", "./meshcore/translate"), b.String())
}
