package embedded_test

import (
	"cmp"
	"context"
	"flag"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/tlsclient"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/reports/fidelity"
	testenvoy "github.com/mesh-lab/mesh-lab/testdata/envoy"
	"github.com/mesh-lab/mesh-lab/testdata/evidence"
	"github.com/mesh-lab/mesh-lab/testdata/truth"
)

// anyPod lists recorded requests (AREA/NAME REQUEST) that one pod answers, with the reason why it may be
// another one each time.
var anyPod = map[string]string{
	"dr-lb/hash-cookie-ttl no-jar":  newCookie,
	"dr-lb/hash-cookie-ttl jar":     newCookie,
	"dr-lb/hash-cookie-session jar": newCookie,
	"dr-lb/passthrough vip":         "the node, not the proxy, chooses a pod behind a Service's address",
}

// drawn lists recorded requests whose answer depends on a draw that no seed of ours decides when a
// real Envoy makes it.
var drawn = map[string]string{
	"dr-lb/rule-selection any": firstPod,
	"chain/by-user-agent desk": firstPod,
	"chain/breaker calm":       "the slow version is asked first, or not",
}

// chance lists recorded requests that a real Envoy answers as recorded only nearly always.
var chance = map[string]string{
	"resilience/retry-other-host avoid": "five looks for another host may all find the same one",
	"egress/se-mesh-internal mix":       asked,
	"egress/se-mesh-internal service":   asked,
}

const (
	firstPod = "a rotation begins anywhere"
	asked    = "the endpoint that cannot be reached is asked first, or not"
)

const newCookie = "a new cookie is a hash of the connection's addresses, and so of an ephemeral port"

// later lists recorded requests that need a protocol that is not there yet.
func later(r *wanted) string {
	u, err := url.Parse(r.URL)
	switch {
	case err != nil:
		return "" // the request itself is the case
	case u.Scheme == "grpc":
		return "grpc:// is not there yet"
	case r.HTTP2:
		return "HTTP/2 is not there yet"
	}
	return ""
}

// wanted is one request of case.yaml.
type wanted struct {
	ID          string    `yaml:"id"`
	From        string    `yaml:"from"`
	Gateway     string    `yaml:"gateway"`
	URL         string    `yaml:"url"`
	Method      string    `yaml:"method"`
	Headers     yaml.Node `yaml:"headers"`
	Body        string    `yaml:"body"`
	Host        string    `yaml:"host"`
	Connect     string    `yaml:"connect"`
	Count       int       `yaml:"count"`
	Concurrency int       `yaml:"concurrency"`
	Cookies     bool      `yaml:"cookies"`
	HTTP2       bool      `yaml:"http2"`
	Wait        string    `yaml:"wait"`
	SNI         string    `yaml:"sni"`
	Cert        string    `yaml:"client_cert"`
	Key         string    `yaml:"client_key"`
}

// lines returns the headers as header lines, in the order written.
func (w *wanted) lines(t *testing.T) []string {
	var out []string
	for i := 0; i+1 < len(w.Headers.Content); i += 2 {
		k, v := w.Headers.Content[i], w.Headers.Content[i+1]
		values := []*yaml.Node{v}
		if v.Kind == yaml.SequenceNode {
			values = v.Content
		}
		for _, x := range values {
			out = append(out, k.Value+": "+x.Value)
		}
	}
	return out
}

// proxySeen is a proxy's access log of a request, as recorded.
type proxySeen struct {
	Pod      string `yaml:"pod"`
	Code     int    `yaml:"response_code"`
	Flags    string `yaml:"response_flags"`
	Details  string `yaml:"response_code_details"`
	Route    string `yaml:"route_name"`
	Cluster  string `yaml:"upstream_cluster"`
	Upstream string `yaml:"upstream"`
	Attempts int    `yaml:"attempts"`
	SNI      string `yaml:"requested_server_name"`
	TLS      string `yaml:"tls"`
	Peer     string `yaml:"peer"`
	Chain    string `yaml:"filter_chain"`
	Failure  string `yaml:"failure"`
	// Termination is connection_termination_details.
	Termination string `yaml:"termination"`
}

// span is a duration in ms: a number, or the bounds of several.
type span float64

// UnmarshalYAML takes the lower bound.
func (d *span) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return n.Decode((*float64)(d))
	}
	var bounds struct{ Min float64 }
	err := n.Decode(&bounds)
	*d = span(bounds.Min)
	return err
}

// seen is what happened to one request.
type seen struct {
	Status  int            `yaml:"status"`
	Error   string         `yaml:"error"`
	Headers map[string]any `yaml:"headers"`
	Body    *string        `yaml:"body"`
	Backend *struct {
		Pod     string         `yaml:"pod"`
		Version string         `yaml:"version"`
		Method  string         `yaml:"method"`
		Path    string         `yaml:"path"`
		Host    string         `yaml:"host"`
		Headers map[string]any `yaml:"headers"`
		Body    *string        `yaml:"body"`
		Port    int            `yaml:"port"` // of connections without HTTP
		SNI     string         `yaml:"sni"`
	} `yaml:"backend"`
	Certificate   []string    `yaml:"certificate"`
	BackendVaries bool        `yaml:"backend_varies"`
	DurationMS    span        `yaml:"duration_ms"`
	NextHops      yaml.Node   `yaml:"next_hops"`
	Then          yaml.Node   `yaml:"then"`
	Client        *proxySeen  `yaml:"client_proxy"`
	Servers       []proxySeen `yaml:"server_proxies"`
}

// recording is one entry of observed.yaml.
type recording struct {
	seen     `yaml:",inline"`
	ID       string         `yaml:"id"`
	Count    int            `yaml:"count"`
	Statuses map[string]int `yaml:"statuses"`
	ServedBy map[string]int `yaml:"served_by"`
	Details  map[string]int `yaml:"client_details"`
	Clusters map[string]int `yaml:"client_clusters"`
	Flags    map[string]int `yaml:"client_flags"`
	SeenBy   map[string]int `yaml:"requests_seen_by"`
	First    *seen          `yaml:"first"`
	Second   *recording     `yaml:"second_run"`
	LastHop  map[string]int `yaml:"last_hop_statuses"`
	Others   bool           `yaml:"-"` // any other pod is as good, if it is one
}

// update is looked up by the book of evidence.
var _ = flag.Bool("update", false, "rewrite the evidence in reports/fidelity")

// count is what TestTruth did.
type count struct {
	compared, waiting, explained atomic.Int64
	book                         *evidence.Book
}

// TestTruth sends the recorded requests through our mesh and compares the replies, flags and
// destinations with those that istiod and Envoy together gave.
func TestTruth(t *testing.T) { testTruth(t, embedded.Driver{}) }

// TestTruthEnvoy does the same with a real Envoy beside every app, configured by our control plane:
// what differs there is the control plane's doing, or the lab's.
func TestTruthEnvoy(t *testing.T) {
	testenvoy.Binary(t)
	testTruth(t, embedded.Driver{Proxy: "envoy", Dir: t.TempDir()})
}

func testTruth(t *testing.T, d embedded.Driver) {
	plane := planeOf(d)
	n := count{book: evidence.Open(t, evidenceFolder, "recorded-"+plane,
		fidelity.Evidence{
			By: "lab/topology/embedded " + t.Name(), Short: "recorded", Plane: plane,
			Shows: fidelity.Answered, Unit: "requests",
			What: "answers, records and what backends saw with those of istiod and Envoy together",
		})}
	t.Cleanup(func() { // after the cases, which run side by side
		t.Logf("%d requests compared, %d cases or requests wait, %d hops explained",
			n.compared.Load(), n.waiting.Load(), n.explained.Load())
		if n.compared.Load() == 0 && !t.Skipped() {
			t.Error("nothing was compared")
		}
	})
	for _, c := range truth.Cases(t) {
		if c.Rejected || !c.Has("observed.yaml") {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			if c.Area != "resilience" { // those have time-outs to keep: they get the machine alone
				t.Parallel()
			}
			config, diags := istio.Read([]istio.File{{Name: "config.yaml",
				Data: c.Read(t, "config.yaml")}}, istio.ReadOptions{})
			if istio.HasErrors(diags) {
				for _, d := range diags {
					if d.Severity == istio.Error && !strings.Contains(d.Msg, "not carried out yet") {
						t.Fatal(d)
					}
				}
				n.waiting.Add(1)
				t.Skipf("waits: %s", diags[0])
			}
			playCase(t, d, c, config, &n)
		})
	}
}

const evidenceFolder = "../../../reports/fidelity/evidence"

func planeOf(d embedded.Driver) string { return cmp.Or(d.Proxy, fidelity.Meshcore) }

// playCase brings a case's mesh up and plays its requests.
func playCase(
	t *testing.T, d embedded.Driver, c truth.Case, config *istio.Config, n *count,
) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var logs podLogs
	var requests struct{ Requests []wanted }
	decode(t, c.Read(t, "case.yaml"), &requests)
	m, err := d.Up(ctx, topology.Spec{Config: config, Seed: 7, AccessLog: logs.take,
		KeepHeaders: headerNames(t, requests.Requests)})
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Requests []recording
		LogLines map[string][]string `yaml:"log_lines"`
	}
	defer func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if len(recorded.LogLines) > 0 {
			logs.compare(t, recorded.LogLines, d.Proxy == "envoy")
		}
	}()
	if strings.Contains(string(c.Read(t, "config.yaml")), "outlierDetection") {
		// As Envoy does, hosts' health changes are merged for a second after an update of their
		// cluster (update_merge_window); the recording began later than that.
		<-time.After(1100 * time.Millisecond)
	}
	decode(t, c.Read(t, "observed.yaml"), &recorded)
	for i := range requests.Requests {
		w := &requests.Requests[i]
		j := slices.IndexFunc(recorded.Requests, func(r recording) bool { return r.ID == w.ID })
		if j < 0 {
			t.Fatalf("%s is not recorded", w.ID)
		}
		if reason := later(w); reason != "" {
			n.waiting.Add(1)
			t.Logf("waits: %s: %s", w.ID, reason)
			continue
		}
		if w.Wait != "" {
			d, err := time.ParseDuration(w.Wait)
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(d) // the story's own time: an ejection ends
		}
		id := c.String() + " " + w.ID
		if why := chance[id]; why != "" && d.Proxy == "envoy" {
			t.Logf("not compared: %s: %s", w.ID, why)
			continue
		}
		failing := ""
		if d.Proxy == "envoy" {
			failing = unlucky[id]
		}
		results := playAll(t, ctx, m, w, failing)
		r := &recorded.Requests[j]
		if anyPod[id] != "" || d.Proxy == "envoy" && drawn[id] != "" {
			r.anyPod()
		}
		if d.Proxy == "envoy" {
			r.anyBackOff()
		}
		wrong, hops := explained(t, m, results)
		n.explained.Add(int64(hops))
		for _, p := range wrong {
			t.Errorf("%s: %s", w.ID, p)
		}
		n.compared.Add(1)
		n.book.Add(c.String(), len(results), config)
		if problems := compare(r, results, max(1, w.Count)); len(problems) > 0 {
			t.Errorf("%s:\n  %s", w.ID, strings.Join(problems, "\n  "))
		}
	}
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := yaml.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// patience is how long the recorded client waited for an answer.
const patience = 15 * time.Second

// play sends one entry's requests.
func play(t *testing.T, ctx context.Context, m topology.Mesh, w *wanted) []request.Result {
	t.Helper()
	var out []request.Result
	err := request.Send(ctx, m, request.Spec{
		From: w.From, Gateway: w.Gateway, URL: w.URL, Method: w.Method, Headers: w.lines(t),
		Body: w.Body, Host: w.Host, Connect: w.Connect, Count: w.Count, Concurrency: w.Concurrency,
		Cookies: w.Cookies, Timeout: patience, TLS: tlsclient.Options{
			SNI: w.SNI, Cert: w.Cert, Key: w.Key,
		},
	}, func(r request.Result) error {
		out = append(out, r)
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", w.ID, err)
	}
	return out
}
