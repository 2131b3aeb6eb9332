package istio

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestForms reads the same object, ConfigMap x with data a, in every form of text.
func TestForms(t *testing.T) {
	const yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: \"1\"}\n"
	const head = `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": `
	for name, test := range map[string]struct {
		text, want string
	}{
		"plain":        {yaml, "1"},
		"CRLF":         {strings.ReplaceAll(yaml, "\n", "\r\n"), "1"},
		"BOM":          {"\ufeff" + yaml, "1"},
		"directive":    {"# first\n%YAML 1.2\n---\n" + yaml + "...\n", "1"},
		"separators":   {"---\n---\n# none\n---\n" + yaml + "---\n\n---", "1"},
		"comment":      {"--- # a comment\n" + yaml, "1"},
		"inline":       {"--- " + head + `"1"}}` + "\n", "1"},
		"block":        {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: |-\n    ---\n    b\n", "---\nb"},
		"JSON":         {head + "\n\t\"1\"}}\n", "1"},
		"JSON slash":   {head + `"a\/b\\/c"}}`, `a/b\/c`},
		"JSON pair":    {head + `"\ud83d\uDE00\u00e9 \\ud83d\n"}}`, "😀é \\ud83d\n"},
		"JSON half":    {head + `"\ud83d."}}`, "\ufffd."},
		"JSON stream":  {head + `"1"}}  ` + "\n\n" + `{"apiVersion": "v1", "kind": "Event"}`, "1"},
		"List":         {`{"apiVersion": "v1", "kind": "List", "items": [` + head + `"1"}}]}`, "1"},
		"typed List":   {"apiVersion: v1\nkind: ConfigMapList\nitems:\n- " + head + `"1"}}`, "1"},
		"octal as int": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, generation: 010}\ndata: {a: '010'}", "010"},
	} {
		t.Run(name, func(t *testing.T) {
			c, diags := Read([]File{{Name: "f", Data: []byte(test.text)}}, ReadOptions{})
			if HasErrors(diags) || len(c.Objects) != 1 {
				t.Fatalf("%d objects\n%s", len(c.Objects), text(diags))
			}
			if got := c.Objects[0].Body.(*corev1.ConfigMap).Data["a"]; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestPlacesInStreams checks that places count from the start of the file in each form.
func TestPlacesInStreams(t *testing.T) {
	for in, want := range map[string]string{
		`{"kind": "A"} {"kind": "Bé"} {"kind": "C"}`: "1:10 1:24 1:39",
		"{\"kind\": \"A\"}\n\n {\n\"kind\": \"B\"}":  "1:10 4:9",
		"kind: A\n---\nkind: B\n--- {kind: C}\n":     "1:7 3:7 4:12",
		"kind: A\n...\n---\n\n\nkind: B\n":           "1:7 6:7",
	} {
		_, diags := Read([]File{{Name: "f", Data: []byte(in)}}, ReadOptions{})
		var got []string
		for _, d := range diags {
			got = append(got, fmt.Sprintf("%d:%d", d.Place.Line, d.Place.Column))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %s, want %s\n%s", in, got, want, text(diags))
		}
	}
}
