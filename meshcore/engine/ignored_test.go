package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/testdata/page"
)

// TestIgnored keeps the list of the Envoy fields that are accepted and change nothing.
func TestIgnored(t *testing.T) {
	rows := map[string][]string{} // reason: fields
	add := func(why, what string) {
		if why != "" {
			rows[why] = append(rows[why], "`"+what+"`")
		}
	}
	for message, list := range supported {
		short := string(message.Name())
		for field, why := range list {
			add(why, short+"."+string(field))
		}
	}
	for message, why := range whole {
		add(why, string(message))
	}
	var b strings.Builder
	b.WriteString("| fields | why nothing depends on them |\n|---|---|\n")
	for _, why := range slices.Sorted(maps.Keys(rows)) {
		slices.Sort(rows[why])
		fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(slices.Compact(rows[why]), ", "), why)
	}
	page.Keep(t, "../../docs/fidelity.md",
		page.Begin("Envoy fields without effect", "./meshcore/engine"), b.String())
}

// TestRefusedOperators keeps the list of the command operators that are Envoy's but not ours.
func TestRefusedOperators(t *testing.T) {
	rows := map[string][]string{} // reason: operators
	for name, why := range notYetOperators {
		if _, ok := operators[name]; ok {
			t.Errorf("%s is carried out and refused", name)
		}
		rows[why] = append(rows[why], "`"+name+"`")
	}
	const parts = "of others"
	rows[parts] = []string{"`QUERY_PARAMS(DECODED)`", "`RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)`",
		"`FILTER_STATE` and `UPSTREAM_FILTER_STATE` of keys that Envoy's or Istio's own filters write"}
	var ends []string
	for name, o := range operators {
		if o.end {
			ends = append(ends, "`"+name+"`")
		}
	}
	rows["in header values only: known at the end"] = ends
	var b strings.Builder
	b.WriteString("| operators | why |\n|---|---|\n")
	for _, why := range slices.Sorted(maps.Keys(rows)) {
		slices.Sort(rows[why])
		fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(rows[why], ", "), why)
	}
	page.Keep(t, "../../docs/fidelity.md",
		page.Begin("operators that are refused", "./meshcore/engine"), b.String())
}
