package istio

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"
)

// oddities are values that are wrong nearly everywhere.
var oddities = []string{
	"null", "~", "[]", "{}", "[null]", "{null: null}", "yes", "1", "-1", "1e99", ".nan", "'*'", "''",
	"99999999999999999999", "!!int x", "!custom x", "{a: {a: {a: a}}}", "[[[[]]]]", "2020-01-01", "0777",
	"!!binary aGk=", "\"\\0\"", "%", "*.*", "a/b/c", "300s", "0s", "-1s", "{<<: {a: b}}", "(", "$",
}

// TestMutations replaces, removes, swaps and doubles parts of the documents in testdata: whatever
// comes out is read without a panic, and every problem has its place.
func TestMutations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var texts [][]byte
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(name, "laughs") {
			continue // tests expansion, and cannot be written again
		}
		for _, c := range split(data) {
			if roots, err := parse(c.text); err == nil && len(roots) == 1 {
				texts = append(texts, c.text)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		roots, _ := parse(rapid.SampledFrom(texts).Draw(t, "document"))
		for range rapid.IntRange(1, 4).Draw(t, "mutations") {
			mutate(t, roots[0])
		}
		data, err := yaml.Marshal(roots[0])
		if err != nil {
			t.Skip(err)
		}
		c, diags := Read([]File{{Name: "a.yaml", Data: data}}, ReadOptions{})
		for _, d := range append(diags, CrossCheck(c)...) {
			if d.Place.File == "" || d.Place.Line < 1 || d.Place.Column < 1 || d.Msg == "" {
				t.Fatalf("no place: %s\n%s", d, data)
			}
		}
		for _, o := range c.Objects {
			if _, err := Encode(o, YAML); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// mutate changes one place of a tree.
func mutate(t *rapid.T, root *yaml.Node) {
	var all []*yaml.Node
	var walk func(*yaml.Node)
	walk = func(n *yaml.Node) {
		if len(n.Content) > 0 {
			all = append(all, n)
		}
		for _, c := range n.Content {
			walk(c)
		}
	}
	walk(root)
	if len(all) == 0 {
		return
	}
	n := rapid.SampledFrom(all).Draw(t, "node")
	i := rapid.IntRange(0, len(n.Content)-1).Draw(t, "child")
	switch rapid.IntRange(0, 3).Draw(t, "how") {
	case 0:
		var odd yaml.Node
		if yaml.Unmarshal([]byte(rapid.SampledFrom(oddities).Draw(t, "odd")), &odd) == nil {
			n.Content[i] = odd.Content[0]
		}
	case 1:
		other := rapid.SampledFrom(all).Draw(t, "other")
		n.Content[i] = other.Content[0] // may make a cycle of pointers only with itself above
		if contains(n.Content[i], n) {
			n.Content[i] = &yaml.Node{Kind: yaml.ScalarNode, Value: "x"}
		}
	case 2:
		if n.Kind == yaml.SequenceNode {
			n.Content = append(n.Content, n.Content[i])
		} else if j := i &^ 1; j+1 < len(n.Content) {
			n.Content = append(n.Content, n.Content[j], n.Content[j+1])
		}
	case 3:
		if n.Kind == yaml.SequenceNode {
			n.Content = append(n.Content[:i:i], n.Content[i+1:]...)
		} else if j := i &^ 1; j+1 < len(n.Content) {
			n.Content = append(n.Content[:j:j], n.Content[j+2:]...)
		}
	}
}

func contains(tree, n *yaml.Node) bool {
	if tree == n {
		return true
	}
	for _, c := range tree.Content {
		if contains(c, n) {
			return true
		}
	}
	return false
}
