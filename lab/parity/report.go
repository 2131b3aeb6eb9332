package parity

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/request"
)

// Report is what a run found.
type Report struct {
	A        string     `json:"a"`
	B        string     `json:"b"`
	Seed     string     `json:"seed"`
	Findings []*Finding `json:"findings"`
	Tally    Tally      `json:"compared"`
	Alpha    float64    `json:"false_alarm"` // of all statistical tests together
	Took     float64    `json:"duration_ms"`
}

// Report returns what the run has found so far.
func (r *Run) Report(took time.Duration) *Report {
	out := &Report{
		A: r.A.Name, B: r.B.Name, Seed: strconv.FormatUint(r.Spec.Seed, 16),
		Findings: r.Findings, Tally: r.Tally, Alpha: Alpha,
		Took: float64(took.Microseconds()) / 1000,
	}
	if out.Findings == nil {
		out.Findings = []*Finding{}
	}
	return out
}

// Summary is a report without its findings: what was compared, with whom.
type Summary struct {
	A           string  `json:"a"`
	B           string  `json:"b"`
	Seed        string  `json:"seed"`
	Differences int     `json:"differences"`
	Tally       Tally   `json:"compared"`
	Alpha       float64 `json:"false_alarm"`
}

// Summary returns the report's numbers.
func (r *Report) Summary() Summary {
	return Summary{
		A: r.A, B: r.B, Seed: r.Seed, Differences: len(r.Findings), Tally: r.Tally, Alpha: r.Alpha,
	}
}

// Text prints a report for people.
func (r *Report) Text(w io.Writer) error {
	b := &strings.Builder{}
	for i, f := range r.Findings {
		r.finding(b, i+1, f)
	}
	t := &r.Tally
	verdict := "no difference"
	if n := len(r.Findings); n > 0 {
		verdict = plural(n, "difference")
	}
	fmt.Fprintf(b, "%s between %s and %s: %s, %s, each side sent %d; %s of random outcomes\n",
		verdict, r.A, r.B, plural(t.Configs, "configuration"), plural(t.Requests, "request"),
		t.Sent, plural(t.Random, "kind"))
	if t.Cut > 0 {
		fmt.Fprintf(b, "%d more could be made from the configurations; "+
			"--max-requests sets the bound\n", t.Cut)
	}
	if t.Tests > 0 {
		fmt.Fprintf(b, "%s of shares: all together give a false alarm once in %.0f such runs\n",
			plural(t.Tests, "test"), 1/r.Alpha)
	}
	for _, k := range slices.Sorted(maps.Keys(t.Known)) {
		fmt.Fprintf(b, "known, %d times: %s\n", t.Known[k], k)
	}
	fmt.Fprintf(b, "seed %s\n", r.Seed)
	_, err := io.WriteString(w, b.String())
	return err
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (r *Report) finding(b *strings.Builder, n int, f *Finding) {
	fmt.Fprintf(b, "%d. %s\n   %s\n", n, f.Where, Command(f.Smallest))
	if f.Alike > 0 {
		fmt.Fprintf(b, "   and %s more\n", plural(f.Alike, "request"))
	}
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	if f.Shares == nil {
		fmt.Fprintf(t, "   \t%s\t%s\n", r.A, r.B)
		for _, d := range f.Differences {
			fmt.Fprintf(t, "   %s\t%s\t%s\n", d.Fact, clip(d.A), clip(d.B))
		}
	} else {
		fmt.Fprintf(t, "   of %d\t%s\t%s\n", f.Samples, r.A, r.B)
		for _, s := range f.Shares {
			outcome := clip(strings.ReplaceAll(s.Outcome, "\n", "; "))
			fmt.Fprintf(t, "   %s\t%d\t%d\n", outcome, s.A, s.B)
		}
	}
	t.Flush() //nolint:errcheck // a Builder has no errors
	if f.Shares != nil {
		fmt.Fprintf(b, "   so far apart by chance with probability %.2g\n", f.P)
	}
	if f.Config != "" {
		fmt.Fprintf(b, "   under\n%s", indent(f.Config))
	}
	b.WriteByte('\n')
}

func indent(s string) string {
	return "     " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n     ") + "\n"
}

// clip shortens a value in the middle.
func clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most/2], "") + "…" + strings.ToValidUTF8(s[len(s)-most/2:], "")
}

// Command writes a request as the command that sends it.
func Command(s request.Spec) string {
	b := &strings.Builder{}
	b.WriteString("mesh-lab request --from " + s.From)
	flag := func(name, value string) {
		if value != "" {
			b.WriteString(" " + name + " " + quote(clip(value)))
		}
	}
	flag("--gateway", s.Gateway)
	flag("-X", s.Method)
	for _, h := range s.Headers {
		flag("-H", h)
	}
	flag("-d", s.Body)
	flag("--host", s.Host)
	flag("--connect", s.Connect)
	b.WriteString(" " + quote(clip(s.URL)))
	return b.String()
}

// quote quotes a word for a shell where that is needed.
func quote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
