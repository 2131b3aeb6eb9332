package istio_test

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/reports/fidelity"
	"github.com/mesh-lab/mesh-lab/testdata/evidence"
	"github.com/mesh-lab/mesh-lab/testdata/page"
	"github.com/mesh-lab/mesh-lab/testdata/truth"
)

// TestWaiting keeps the list of the recorded cases, and of requests in other cases, that wait for a
// later step. A case waits if its configuration is refused as not carried out yet, and for nothing
// else; a request waits if it needs a protocol that is not there yet.
func TestWaiting(t *testing.T) {
	cases := map[string][]string{} // reason: cases
	requests := map[string][]string{}
	carriedOut, refused, waiting := 0, 0, 0
	book := evidence.Open(t, "../../reports/fidelity/evidence", "refused", fidelity.Evidence{
		By: "meshcore/istio TestWaiting, TestTruthInvalid", Short: "refused",
		Shows: fidelity.Refused, Unit: "configurations",
		What: "what we refuse with what istiod refuses, for the same field",
	})
	for _, c := range truth.Cases(t) {
		reasons := reasonsToWait(t, c)
		switch {
		case len(reasons) > 0:
			waiting++
			why := strings.Join(reasons, ", ")
			cases[why] = append(cases[why], c.String())
		case c.Rejected:
			refused++
			book.Add(c.String(), 1)
		default:
			carriedOut++
			for why, ids := range requestsToWait(t, c) {
				requests[why] = append(requests[why], c.String()+" "+strings.Join(ids, " "))
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Of the recorded configurations %d are carried out, %d are refused as Istio refuses "+
		"them, and %d wait for a later step:\n\n", carriedOut, refused, waiting)
	waitingTable(&b, "what is not carried out yet", "cases", cases)
	b.WriteString("\nRequests of the other cases that wait:\n\n")
	waitingTable(&b, "what is not there yet", "case and requests", requests)
	page.Keep(t, "../../docs/fidelity.md", page.Begin("waiting cases", "./meshcore/istio"), b.String())
}

// reasonsToWait lists what of a case's configuration is not carried out yet. A case that is refused
// for something else as well does not wait.
func reasonsToWait(t *testing.T, c truth.Case) []string {
	t.Helper()
	_, problems := istio.Read([]istio.File{{Name: "config.yaml", Data: c.Read(t, "config.yaml")}},
		istio.ReadOptions{})
	reasons := map[string]bool{}
	for _, d := range problems {
		if d.Severity != istio.Error {
			continue
		}
		what, _, found := strings.Cut(d.Msg, "is not carried out yet")
		if !found {
			what, _, found = strings.Cut(d.Msg, "which is not carried out yet")
		}
		switch {
		case !found && !c.Rejected:
			t.Errorf("%s: refused wrongly: %s", c, d)
		case !found:
			return nil
		}
		reasons[reason(d, what)] = true
	}
	return slices.Sorted(maps.Keys(reasons))
}

// reason names a kind, or the kind and the field without its indices.
func reason(d istio.Diagnostic, what string) string {
	kind, _, _ := strings.Cut(d.Object, " ")
	if d.Field == "" {
		if strings.Contains(d.Msg, "networking.istio.io/v1 and") {
			return kind + " (Gateway API)"
		}
		return kind
	}
	var field strings.Builder
	inside := false
	for _, r := range d.Field {
		switch r {
		case '[':
			inside = true
		case ']':
			inside = false
		default:
			if !inside {
				field.WriteRune(r)
			}
		}
	}
	if strings.Contains(what, "HTTP/2") || strings.Contains(d.Msg, "HTTP/2, which") {
		return kind + " with HTTP/2 or gRPC ports"
	}
	return kind + " `" + field.String() + "`"
}

// requestsToWait groups a case's requests that need a protocol that is not there yet.
func requestsToWait(t *testing.T, c truth.Case) map[string][]string {
	t.Helper()
	var file struct {
		Requests []struct {
			ID    string
			URL   string
			HTTP2 bool `yaml:"http2"`
		}
	}
	if err := yaml.Unmarshal(c.Read(t, "case.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, r := range file.Requests {
		switch u, err := url.Parse(r.URL); {
		case err != nil: // the request itself is the case
		case u.Scheme == "grpc":
			out[u.Scheme+"://"] = append(out[u.Scheme+"://"], r.ID)
		case r.HTTP2:
			out["HTTP/2"] = append(out["HTTP/2"], r.ID)
		}
	}
	return out
}

func waitingTable(b *strings.Builder, left, right string, rows map[string][]string) {
	fmt.Fprintf(b, "| %s | %s |\n|---|---|\n", left, right)
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		slices.Sort(rows[k])
		fmt.Fprintf(b, "| %s | %s |\n", k, strings.Join(rows[k], ", "))
	}
}
