package istio

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestGraphObjects compares what service graphs stand for with testdata/isotope-good.objects.txt.
func TestGraphObjects(t *testing.T) {
	data, err := os.ReadFile("testdata/isotope-good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, diags := Read([]File{{Name: "isotope-good.yaml", Data: data}}, ReadOptions{})
	if HasErrors(diags) {
		t.Fatal(text(diags))
	}
	var out bytes.Buffer
	for _, o := range c.Objects {
		js, err := Encode(o, YAML)
		if err != nil {
			t.Fatal(err)
		}
		p, n := o.At("spec.template.spec.containers[0].env[1].value"), o.At("spec.replicas")
		fmt.Fprintf(&out, "--- # %s:%d:%d, replicas %d:%d\n%s", p.File, p.Line, p.Column, n.Line,
			n.Column, js)
	}
	compare(t, "testdata/isotope-good.objects.txt", out.String())
}

// TestGraphSizes: sizes are what docker/go-units' RAMInBytes takes them for.
func TestGraphSizes(t *testing.T) {
	for size, want := range map[string]int64{
		"0": 0, "128": 128, `"7"`: 7, "10k": 10 << 10, "10kb": 10 << 10, "10KB": 10 << 10,
		"10KiB": 10 << 10, "10 k": 10 << 10, "100 Mb": 100 << 20, "1.5K": 1536, "2g": 2 << 30,
		"1TB": 1 << 40, "12b": 12, `".5k"`: 512, `"1.9"`: 1,
		"10ki": -1, "10 XB": -1, "k": -1, "1e3": -1, "-1": -1, "-1k": -1, "1.5": -1, "2T": -1,
		"10  k": -1, "0x": -1, "[]": -1, "null": -1, "1P": -1, "true": -1,
	} {
		_, got, diags := oneGraph(t, "responseSize: "+size)
		if want < 0 {
			if !HasErrors(diags) {
				t.Errorf("%s: taken for %q", size, got)
			}
			continue
		}
		has := fmt.Sprintf(`"responseSize":%d`, want)
		if HasErrors(diags) || want > 0 && !strings.Contains(got, has) ||
			want == 0 && strings.Contains(got, "responseSize") {
			t.Errorf("%s: got %s\n%s", size, got, text(diags))
		}
	}
}

// TestGraphErrorRates: rates are shares or percentages; those that isotope rounds by much are told.
func TestGraphErrorRates(t *testing.T) {
	for rate, want := range map[string]string{
		"0": "", "0%": "", "0.01": `"errorRate":0.01`, "1%": `"errorRate":0.01`,
		"0.01%": `"errorRate":0.0001`, "50%": `"errorRate":0.5`, "1": `"errorRate":1`,
		"30%": "warning", "60%": "warning", "0.75": "warning",
		"101%": "error", "-1%": "error", "1.01": "error", "5": "error", "-0.1": "error",
		"0.009%": "error", "0.00001": "error", "x%": "error", "NaN%": "error", ".nan": "error",
		`"5"`: "error", "[]": "error", "null": "error", "5%x": "error",
	} {
		_, got, diags := oneGraph(t, "errorRate: "+rate)
		switch {
		case HasErrors(diags):
			got = "error"
		case len(diags) > 0:
			got = "warning"
		}
		if want == "" && strings.Contains(got, "errorRate") || !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %q\n%s", rate, got, want, text(diags))
		}
	}
}

// oneGraph reads a graph of one service and returns its script as the app gets it.
func oneGraph(t *testing.T, field string) (*Config, string, []Diagnostic) {
	t.Helper()
	c, diags := Read([]File{{Name: "g.yaml", Data: []byte(
		"services:\n- name: a\n  " + field + "\n")}}, ReadOptions{})
	for _, d := range diags {
		if d.Place.Line != 3 || !strings.HasPrefix(d.Object, "MockServiceGraph") {
			t.Errorf("%s: %s", field, d)
		}
	}
	for _, o := range c.Kind("Deployment") {
		if o.Name == "a" {
			js, err := Encode(o, JSON)
			if err != nil {
				t.Fatal(err)
			}
			return c, strings.ReplaceAll(string(js), `\"`, `"`), diags
		}
	}
	return c, "", diags
}

// TestGraphTooLarge: a default script is counted for each service that has it.
func TestGraphTooLarge(t *testing.T) {
	var b strings.Builder
	b.WriteString("defaults:\n  script:\n")
	for range 500 {
		b.WriteString("  - sleep: 1ms\n")
	}
	b.WriteString("services:\n")
	for i := range 401 {
		fmt.Fprintf(&b, "- name: a%d\n", i)
	}
	_, diags := Read([]File{{Name: "g.yaml", Data: []byte(b.String())}}, ReadOptions{})
	if len(diags) != 1 || !strings.Contains(text(diags), "services: the scripts have too many") {
		t.Errorf("got %s", text(diags))
	}
}

// TestGraphManyPods: a graph for a large cluster loads, with a warning at the service with most pods.
func TestGraphManyPods(t *testing.T) {
	for replicas, warnings := range map[string]int{"1000": 0, "1001": 1, "2147483647": 1} {
		_, diags := Read([]File{{Name: "g.yaml", Data: []byte(
			"services:\n- {name: b, numReplicas: 0}\n- {name: a, numReplicas: " + replicas + "}\n",
		)}}, ReadOptions{})
		if len(diags) != warnings || HasErrors(diags) || warnings > 0 &&
			!strings.HasPrefix(text(diags), "warning: g.yaml:3:3: MockServiceGraph services[1]: ") {
			t.Errorf("%s: got %s", replicas, text(diags))
		}
	}
}

// TestGraphOwnScript: a service with a script of its own makes no call of the default one.
func TestGraphOwnScript(t *testing.T) {
	mustRead(t, "defaults: {script: [{call: a}]}\nservices: [{name: a, script: []}, {name: b}]\n")
}

// TestGraphBesideClient: a client of the user's own stays, and a graph's service of this name.
func TestGraphBesideClient(t *testing.T) {
	own := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: client}\n" +
		"spec:\n  selector: {matchLabels: {a: b}}\n" +
		"  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: mine}]}}\n"
	c := mustRead(t, own+"---\nservices:\n- name: a\n")
	if len(c.Objects) != 3 || c.Objects[0].Name != "client" {
		t.Errorf("got %d objects", len(c.Objects))
	}
	c = mustRead(t, "services:\n- name: client\n")
	if len(c.Objects) != 2 || c.Objects[1].Kind != "Service" {
		t.Errorf("got %d objects", len(c.Objects))
	}
}
