package istio

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// path is the way to a field; it is rendered only for a Diagnostic.
type path struct {
	up    *path
	name  string // a field, or "[key]" of a map
	index int    // of a list element when name is empty
}

func (p *path) field(name string) *path { return &path{up: p, name: name} }
func (p *path) key(key string) *path    { return &path{up: p, name: "[" + key + "]"} }
func (p *path) element(index int) *path { return &path{up: p, index: index} }

func join(parent, child string) string {
	if parent == "" || child == "" || child[0] == '[' {
		return parent + child
	}
	return parent + "." + child
}

// String renders a path as Kubernetes does: "spec.http[0].match[1].headers[end-user].exact".
func (p *path) String() string {
	if p == nil {
		return ""
	}
	if p.name == "" {
		return p.up.String() + "[" + strconv.Itoa(p.index) + "]"
	}
	return join(p.up.String(), p.name)
}

// steps cuts a rendered path into names, keys and indices.
func steps(path string) []string {
	var out []string
	for path != "" {
		switch path[0] {
		case '.':
			path = path[1:]
		case '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return append(out, path[1:])
			}
			out, path = append(out, path[1:end]), path[end+1:]
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			out, path = append(out, path[:end]), path[end:]
		}
	}
	return out
}

// locate returns the place of the field at a path, or of its nearest parent that is in the file.
func locate(file string, root *yaml.Node, path string) Place {
	place, n := Place{File: file, Line: root.Line, Column: root.Column}, root
	for _, step := range steps(path) {
		key, value := child(deref(n), step)
		if value == nil {
			break
		}
		place = placeOf(file, key, value)
		n = value
	}
	return place
}

// placeOf returns where a person looks for a field: at a scalar, else at its key.
func placeOf(file string, key, value *yaml.Node) Place {
	at := value
	if key != nil && value.Kind != yaml.ScalarNode && value.Kind != yaml.AliasNode {
		at = key
	}
	return Place{File: file, Line: at.Line, Column: at.Column}
}

// child returns the entry or element of a node that a step names; key is nil for elements.
func child(n *yaml.Node, step string) (key, value *yaml.Node) {
	switch n.Kind {
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
			return nil, n.Content[i]
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			// Istio's fields may be written with underscores.
			if k := n.Content[i]; k.Value == step || camel(k.Value) == step {
				return k, n.Content[i+1]
			}
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if merges(n.Content[i]) {
				if key, value = childOfMerged(n.Content[i+1], step); value != nil {
					return key, value
				}
			}
		}
	}
	return nil, nil
}

// childOfMerged looks into what a "<<" key merges.
func childOfMerged(n *yaml.Node, step string) (key, value *yaml.Node) {
	n = deref(n)
	if n.Kind != yaml.SequenceNode {
		return child(n, step)
	}
	for _, c := range n.Content {
		if key, value = child(deref(c), step); value != nil {
			return key, value
		}
	}
	return nil, nil
}

// merges reports whether a key is YAML's merge key.
func merges(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && key.ShortTag() == "!!merge"
}

// camel returns the JSON name of a field written with underscores.
func camel(name string) string {
	if !strings.Contains(name, "_") {
		return name
	}
	var b strings.Builder
	upper := false
	for _, r := range name {
		if r == '_' {
			upper = true
			continue
		}
		if upper && r >= 'a' && r <= 'z' {
			r -= 'a' - 'A'
		}
		upper = false
		b.WriteRune(r)
	}
	return b.String()
}

// Fields visits every field of the object that is written, by its path ("spec.http[0].timeout"), in
// the order of the file, until visit says no. An object that was not read from a file has none.
func (o *Object) Fields(visit func(path string, at Place) bool) {
	if o.root != nil {
		fieldsOf(o.file, o.root, nil, visit)
	}
}

func fieldsOf(file string, n *yaml.Node, p *path, visit func(string, Place) bool) bool {
	switch n = deref(n); n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			at := p.field(camel(key.Value))
			if !visit(at.String(), placeOf(file, key, value)) ||
				!fieldsOf(file, value, at, visit) {
				return false
			}
		}
	case yaml.SequenceNode:
		for i, value := range n.Content {
			at := p.element(i)
			if !visit(at.String(), placeOf(file, nil, value)) ||
				!fieldsOf(file, value, at, visit) {
				return false
			}
		}
	}
	return true
}

// Scalar returns the text of a field that is a scalar, as it is written.
func (o *Object) Scalar(path string) (string, bool) {
	n := o.root
	if n == nil {
		return "", false
	}
	for _, step := range steps(path) {
		if _, n = child(deref(n), step); n == nil {
			return "", false
		}
	}
	n = deref(n)
	return n.Value, n.Kind == yaml.ScalarNode
}
