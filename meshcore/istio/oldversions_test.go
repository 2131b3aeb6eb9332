package istio

import (
	"fmt"
	"strings"
	"testing"
)

// TestOldVersions: every kind of every old version is one of today's.
func TestOldVersions(t *testing.T) {
	for _, old := range oldVersions {
		for kind := range strings.FieldsSeq(old.kinds) {
			doc := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: x}\n", old.apiVersion, kind)
			_, diags := Read([]File{{Name: "f", Data: []byte(doc)}}, ReadOptions{})
			if s := text(diags); strings.Contains(s, "has no kind") || s == "" {
				t.Errorf("%s %s: %q", old.apiVersion, kind, s)
			}
		}
	}
}
