package runner

import (
	"github.com/aymanbagabas/go-udiff"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/reports"
)

// differences says what became of each object that is not the same in two configurations. Secrets
// are named only: what they hold is nobody's to read in a report.
func differences(before, after *istio.Config) []reports.ObjectChange {
	was := map[string]*istio.Object{}
	for _, o := range before.Objects {
		was[o.APIVersion+" "+o.Ref()] = o
	}
	var out []reports.ObjectChange
	add := func(o, a, b *istio.Object) {
		text := udiff.Unified("before", "after", written(a), written(b))
		switch {
		case text == "":
			return
		case o.Kind == "Secret":
			text = ""
		}
		out = append(out, reports.ObjectChange{Object: o.Ref(), Diff: text})
	}
	for _, o := range after.Objects {
		old := was[o.APIVersion+" "+o.Ref()]
		delete(was, o.APIVersion+" "+o.Ref())
		if old != o {
			add(o, old, o)
		}
	}
	for _, o := range before.Objects { // in their order
		if was[o.APIVersion+" "+o.Ref()] != nil {
			add(o, o, nil)
		}
	}
	return out
}

// written is an object's YAML; empty for none, and for one that can not be written.
func written(o *istio.Object) string {
	if o == nil {
		return ""
	}
	text, err := istio.Encode(o, istio.YAML)
	if err != nil {
		return ""
	}
	return string(text)
}
