package fidelity

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// section is a part of the page that this package writes.
type section struct {
	heading string // for a report of its own; the page has its own headings and words
	begin   string
	text    func(all []Evidence) string
}

var sections = []section{
	{"## Summary", begin("summary"), summary},
	{"## Fields", begin("fields"), tables},
	{"## Known differences", begin("known differences"), differences},
}

const (
	maker = "go test ./reports/fidelity -update"
	end   = "<!-- end -->\n"
)

func begin(what string) string { return "<!-- begin: " + what + " (" + maker + ") -->\n" }

// Report writes a report of the recorded evidence and of what a command has compared itself.
func Report(w io.Writer, newer ...Evidence) error {
	all, err := Recorded()
	if err != nil {
		return err
	}
	return Write(w, With(all, newer...))
}

// Write writes a report of its own.
func Write(w io.Writer, all []Evidence) error {
	var b strings.Builder
	b.WriteString("# Fidelity\n")
	for _, s := range sections {
		fmt.Fprintf(&b, "\n%s\n\n%s", s.heading, s.text(sorted(all)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Rewrite returns a page, such as docs/fidelity.md, with its sections of this report written again
// and everything else as it was.
func Rewrite(page string, all []Evidence) (string, error) {
	for _, s := range sections {
		before, rest, found := strings.Cut(page, s.begin)
		_, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			return "", fmt.Errorf("the page has no section between %q and %q", s.begin, end)
		}
		page = before + s.begin + "\n" + s.text(sorted(all)) + "\n" + end + after
	}
	return page, nil
}

// summary counts what was compared, and what of each kind that shows.
func summary(all []Evidence) string {
	var b strings.Builder
	b.WriteString("| compared | data plane | by | cases | together |\n|---|---|---|--:|--:|\n")
	for i := range all {
		e := &all[i]
		plane := e.Plane
		if plane == "" {
			plane = "none: control plane"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %s %s |\n", e.What, plane, e.By, len(e.Cases),
			thousands(e.Total()), e.Unit)
	}
	b.WriteString("\n| fields of | carried out | generated as by istiod | answered by meshcore |" +
		" answered by Envoy | nothing shows it |\n|---|--:|--:|--:|--:|--:|\n")
	var sum tally
	for _, g := range groups() {
		t := count(g, all)
		sum.add(t)
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", g.title, anchor(g.title), t)
	}
	fmt.Fprintf(&b, "| together | %s |\n", sum)
	return b.String()
}

// tally counts fields.
type tally struct{ all, generated, meshcore, envoy, none int }

func (t *tally) add(o tally) {
	t.all += o.all
	t.generated += o.generated
	t.meshcore += o.meshcore
	t.envoy += o.envoy
	t.none += o.none
}

// String is a row of the summary.
func (t tally) String() string {
	return fmt.Sprintf("%d | %d | %d | %d | %d", t.all, t.generated, t.meshcore, t.envoy, t.none)
}

func count(g group, all []Evidence) tally {
	t := tally{all: len(g.fields)}
	for _, f := range g.fields {
		r := rowOf(f, all)
		t.generated += one(r.generated != "")
		t.meshcore += one(r.meshcore != "")
		t.envoy += one(r.envoy != "")
		t.none += one(r.unshown())
	}
	return t
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// group is the fields of one table.
type group struct {
	title  string
	prefix string // of paths, left out in the table
	fields []istio.Field
}

// groups sorts the fields that are carried out by kind, Istio's first.
func groups() []group {
	out := []group{
		{title: "VirtualService"}, {title: "DestinationRule"}, {title: "Gateway"},
		{title: "MeshConfig"}, {title: "Service"}, {title: "Pod"}, {title: "Deployment"},
		{title: "StatefulSet"}, {title: "ReplicaSet"}, {title: "EndpointSlice"},
		{title: "Endpoints"}, {title: "ConfigMap"}, {title: "Secret"},
		{title: "Metadata", prefix: "metadata."},
		{title: "Labels", prefix: "label "}, {title: "Annotations", prefix: "annotation "},
	}
	for _, f := range istio.Supported() {
		i := slices.IndexFunc(out, func(g group) bool {
			return strings.HasPrefix(f.Path, g.start())
		})
		if i < 0 {
			out, i = append(out, group{title: kindOf(f.Path)}), len(out)
		}
		out[i].fields = append(out[i].fields, f)
	}
	return slices.DeleteFunc(out, func(g group) bool { return len(g.fields) == 0 })
}

// start is how the group's paths begin.
func (g group) start() string {
	if g.prefix != "" {
		return g.prefix
	}
	return g.title + "."
}

func kindOf(path string) string {
	kind, _, _ := strings.Cut(path, ".")
	return kind
}

// row is what shows one field.
type row struct {
	name                       string
	generated, meshcore, envoy string // cells
	golden                     string
	differences                []string
}

// unshown says that there is no evidence for a field, of any kind.
func (r row) unshown() bool {
	return r.generated == "" && r.golden == "" && r.meshcore == "" && r.envoy == ""
}

func rowOf(f istio.Field, all []Evidence) row {
	r := row{name: f.Path, differences: differencesOf(f.Path)}
	for i := range all {
		e := &all[i]
		use, ok := e.Fields[f.Path]
		if !ok {
			continue
		}
		switch {
		case e.Shows == Generated:
			r.generated = join(r.generated, cell(e, use))
		case e.Shows == Golden:
			r.golden = join(r.golden, cell(e, use))
		case e.Shows == Answered && e.Plane == Envoy:
			r.envoy = join(r.envoy, r.brief(e, use))
		case e.Shows == Answered:
			r.meshcore = join(r.meshcore, r.brief(e, use))
		}
	}
	return r
}

// brief is a cell that leaves out the example when a cell before has it.
func (r row) brief(e *Evidence, u Use) string {
	named := "(" + u.Example + ")"
	if strings.Contains(r.generated+r.golden+r.meshcore, named) {
		u.Example = ""
	}
	return cell(e, u)
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// cell says "12 recorded (vs-match/header-kinds)".
func cell(e *Evidence, u Use) string {
	s := fmt.Sprintf("%d %s", u.Cases, e.Short)
	if u.Example != "" {
		s += " (" + u.Example + ")"
	}
	return s
}

// tables writes a table for each kind.
func tables(all []Evidence) string {
	var b strings.Builder
	for i, g := range groups() {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "### %s\n\n| field | generated as by istiod | meshcore | Envoy |"+
			" known difference |\n|---|---|---|---|---|\n", g.title)
		for _, f := range g.fields {
			r := rowOf(f, all)
			name := "`" + strings.TrimPrefix(f.Path, g.start()) + "`"
			if len(f.Only) > 0 {
				name += " (only " + strings.Join(f.Only, ", ") + ")"
			}
			if r.unshown() {
				r.generated = strings.TrimSuffix("nothing shows it yet: "+reason(f.Path), ": ")
			} else if r.generated == "" && r.golden != "" {
				r.generated = "only " + r.golden
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, r.generated, r.meshcore, r.envoy,
				links(r.differences))
		}
	}
	return b.String()
}

func links(ids []string) string {
	var out []string
	for _, id := range ids {
		out = append(out, "["+id+"](#"+id+")")
	}
	return strings.Join(out, ", ")
}

func anchor(title string) string { return strings.ToLower(title) }

// thousands writes 12345 as 12,345.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
