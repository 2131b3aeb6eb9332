package istio

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/mesh-lab/mesh-lab/testdata/truth"
)

// FuzzRead checks that any input gives objects or problems with a place, and that what was accepted
// can be written and is accepted again.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, c := range split(data) {
			f.Add(c.text)
		}
		f.Add(data)
	}
	if os.Getenv("MESHLAB_TRUTH") != "" {
		for _, c := range truth.Cases(f) {
			f.Add(c.Read(f, "config.yaml"))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, diags := Read([]File{{Name: "fuzz.yaml", Data: data}}, ReadOptions{
			MeshConfig: &File{Name: "mesh.yaml", Data: data},
		})
		cross := CrossCheck(c)
		for _, d := range append(diags, cross...) {
			if d.Place.File == "" || d.Place.Line < 1 || d.Place.Column < 1 || d.Msg == "" {
				t.Errorf("no place: %s", d)
			}
		}
		c, diags = Read([]File{{Name: "fuzz.yaml", Data: data}}, ReadOptions{})
		var out bytes.Buffer
		for _, o := range c.Objects {
			text, err := Encode(o, YAML)
			if err != nil {
				t.Fatal(err)
			}
			out.WriteString("---\n")
			out.Write(text)
		}
		if HasErrors(diags) {
			return
		}
		again, diags := Read([]File{{Name: "again.yaml", Data: out.Bytes()}}, ReadOptions{})
		if HasErrors(diags) || len(again.Objects) != len(c.Objects) {
			t.Errorf("not accepted again:\n%s\n%s", out.String(), text(diags))
		}
	})
}
