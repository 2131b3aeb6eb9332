package istio

import "gopkg.in/yaml.v3"

const (
	// maxDepth is far more than any object needs; the deepest, EnvoyFilter, has about 30 levels.
	maxDepth = 100
	// aliasBudget bounds how many nodes a file's aliases may add: "billion laughs" documents grow
	// exponentially.
	aliasBudget = 300_000
)

// bounded refuses documents that are too deep or that their aliases make too large. What passes can
// be walked without care.
func bounded(doc document, budget *int) *Diagnostic {
	var bad *Diagnostic
	open := map[*yaml.Node]bool{} // anchors around the node
	var walk func(n *yaml.Node, depth int, aliased bool)
	walk = func(n *yaml.Node, depth int, aliased bool) {
		if bad != nil {
			return
		}
		at := Place{File: doc.file, Line: n.Line, Column: n.Column}
		if n.Kind == yaml.AliasNode {
			n, aliased = n.Alias, true
			if open[n] {
				bad = &Diagnostic{
					Place: at,
					Msg:   "the alias *" + n.Anchor + " stands inside of what it stands for",
				}
				return
			}
		}
		if n.Anchor != "" {
			open[n] = true
			defer delete(open, n)
		}
		if aliased {
			*budget--
		}
		switch {
		case aliased && *budget < 0:
			bad = &Diagnostic{Place: at, Msg: "the aliases of this file stand for too much"}
		case depth > maxDepth:
			bad = &Diagnostic{Place: at, Msg: "nested more than 100 levels deep"}
		}
		for _, c := range n.Content {
			walk(c, depth+1, aliased)
		}
	}
	walk(doc.root, 0, false)
	return bad
}
