// Package scenarios reads scenario files: stories of a mesh, of what is changed, sent and broken,
// and of what must be seen. It holds the bundled catalogue. It is pure: files come through an
// fs.FS.
//
//	canary.yaml ─▶ Parse ─▶ Scenario ─▶ Resolve (files, fs.FS) ─▶ lab/runner carries it out
//	                          └▶ Judge(step) ─▶ assert.Judge: expectations with their part of α
package scenarios

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// Scenario is one scenario file.
type Scenario struct {
	Name      string        `yaml:"name" about:"one word; how reports call it"`
	About     string        `yaml:"about" about:"what it shows, in a sentence"`
	Needs     []string      `yaml:"needs" about:"powers that the topology must have: exec, pause"`
	Alpha     Rate          `yaml:"falseAlarm" about:"how often a right mesh may fail: 1e-6"`
	Tolerance assert.Points `yaml:"tolerance" about:"how far shares may be off: 5%"`
	Mesh      Mesh          `yaml:"mesh" about:"what is set up before the first step"`
	Steady    *Steady       `yaml:"steady" about:"what must hold before the story and after it"`
	Steps     []Step        `yaml:"steps" about:"the story, scene by scene"`
	Rollback  Rollback      `yaml:"rollback" about:"what is done in the end, whatever has happened"`

	File string `yaml:"-"` // path as it was given
	Text []byte `yaml:"-"` // the file itself
}

// Mesh is what is set up before the first step.
type Mesh struct {
	App          string     `yaml:"app" about:"bundled app: customer"`
	Files        Documents  `yaml:"files" about:"Kubernetes manifests"`
	Config       Documents  `yaml:"config" about:"Istio configuration"`
	Workloads    []Workload `yaml:"workloads" about:"overrides of workloads"`
	UnknownImage string     `yaml:"unknownImage" about:"app to run for images that are not known"`
	KeepHeaders  []string   `yaml:"keepHeaders" about:"request headers to keep in records"`
}

// Workload overrides parts of a workload's manifest.
type Workload struct {
	Name     string       `yaml:"name" about:"the Deployment's name"`
	Replicas *int         `yaml:"replicas" about:"number of pods"`
	Env      assert.Pairs `yaml:"env" about:"environment of its containers"`
	Model    *Model       `yaml:"model" about:"how its pods behave: latency, errors, limits, start"`
}

// Step is one scene: what is done, in the order written, and then what must have been seen.
type Step struct {
	Name    string
	Actions []Action
	Expect  []assert.Expectation
	Place   istio.Place
	Steady  Phase // of a step that the scenario's steady state has made
}

// inFlight returns how many of the step's requests may be under way at a time.
func (s *Step) inFlight() int64 {
	most := 0
	for _, a := range s.Actions {
		if a.Load != nil {
			most = max(most, a.Load.Connections)
		}
	}
	return int64(most)
}

// Action is one thing that a step does. Exactly one of its pointers is set.
type Action struct {
	Apply   *Documents // apply configuration and wait for every proxy's ACK
	Delete  *Documents // delete the objects in it
	Scale   []Scale    // change numbers of replicas
	Fault   *Fault     // break something
	Heal    []string   // end faults by name, or all
	Restart []string   // start killed pods or workloads again
	Rotate  Rotate     // issue certificates anew
	Exec    *Exec      // call a pod's own app on localhost
	Wait    time.Duration
	Load    *Load
	Request *Request
	Place   istio.Place
}

// Kind returns the action's key: apply, delete, scale, restart, rotate, exec, wait, load, request,
// heal, or that of a fault: kill, pause, ...
func (a *Action) Kind() string {
	switch {
	case a.Apply != nil:
		return "apply"
	case a.Delete != nil:
		return "delete"
	case a.Scale != nil:
		return "scale"
	case a.Fault != nil:
		return a.Fault.Kind
	case a.Heal != nil:
		return "heal"
	case a.Restart != nil:
		return "restart"
	case a.Rotate != "":
		return "rotate"
	case a.Exec != nil:
		return "exec"
	case a.Load != nil:
		return "load"
	case a.Request != nil:
		return "request"
	}
	return "wait"
}

// Documents are configuration documents, each a file or written in the scenario itself.
type Documents []Document

// Document is one piece of configuration.
type Document struct {
	File  string // relative to the scenario file; of an inline document the scenario file
	Line  int    // of an inline document: where Data begins in the scenario file; else 0
	Data  []byte // contents; of a file read by Resolve
	Place istio.Place
}

// Scale sets a workload's number of replicas.
type Scale struct {
	Workload string
	Replicas int
}

// Exec calls pods' own app on localhost, past the mesh, as kubectl exec ... curl would.
type Exec struct {
	In   []string `yaml:"in" about:"pods or workloads (all of their pods)"`
	Get  string   `yaml:"get" about:"path of a GET: /misbehave"`
	Post string   `yaml:"post" about:"path of a POST"`
	Port int      `yaml:"port" about:"the app's port; its first unless said"`

	Method, Path string // of Get or Post
}

// Load is traffic whose shares are judged.
type Load struct {
	From        string        `yaml:"from" about:"workload that sends, or outside"`
	To          string        `yaml:"to" about:"URL"`
	Gateway     string        `yaml:"gateway" about:"from outside: NAME or NAME.NAMESPACE"`
	QPS         float64       `yaml:"qps" about:"requests per second; no limit unless said"`
	Connections int           `yaml:"connections" about:"8 unless said"`
	Requests    int           `yaml:"requests" about:"exactly so many"`
	Duration    time.Duration `yaml:"duration" about:"so long"`
	Decided     Decided       `yaml:"until" about:"decided: until the step's expectations are"`
	AtMost      time.Duration `yaml:"atMost" about:"with until: the longest; 1m unless said"`
	Method      string        `yaml:"method" about:"GET unless said"`
	Host        string        `yaml:"host" about:"Host header, when it is not the URL's"`
	Body        string        `yaml:"body" about:"request body"`
	Headers     Headers       `yaml:"headers" about:"x-user: user-{1..20} cycles through 20"`
	Cookies     string        `yaml:"cookies" about:"jar whose cookies are sent, by its name"`
	Timeout     time.Duration `yaml:"timeout" about:"of the client; 30s unless said"`
	Secure      `yaml:",inline"`
	Meanwhile   Meanwhile `yaml:"meanwhile" about:"what is done while it runs"`
}

// Rotate says what is issued anew: certificates.
type Rotate string

// UnmarshalText reads the word.
func (r *Rotate) UnmarshalText(b []byte) error {
	if *r = Rotate(b); *r != "certificates" {
		return fmt.Errorf("what is rotated is certificates, not %q", b)
	}
	return nil
}

// Decided is set by the word "decided".
type Decided bool

// UnmarshalText reads the word.
func (d *Decided) UnmarshalText(b []byte) error {
	if *d = string(b) == "decided"; !*d {
		return fmt.Errorf("until is decided, not %q", b)
	}
	return nil
}

// Header is a request header whose value may change from request to request.
type Header struct {
	Name  string
	Value Template
}

// Headers are request headers in the order written.
type Headers []Header

// Put adds one.
func (h *Headers) Put(name, value string) error {
	t, err := ParseTemplate(value)
	*h = append(*h, Header{Name: name, Value: t})
	return err
}

// Form are the fields of a form, in the order written.
type Form []string // "name=value", escaped

// Put adds one.
func (f *Form) Put(name, value string) error {
	*f = append(*f, url.QueryEscape(name)+"="+url.QueryEscape(value))
	return nil
}

// Request sends a few exact requests. Cookie jars are kept for the whole scenario: who logs in once
// stays so in later steps.
type Request struct {
	From        string        `yaml:"from" about:"workload that sends, or outside"`
	URL         string        `yaml:"to" about:"URL"`
	Gateway     string        `yaml:"gateway" about:"from outside: NAME or NAME.NAMESPACE"`
	Method      string        `yaml:"method" about:"GET unless said"`
	Host        string        `yaml:"host" about:"Host header, when it is not the URL's"`
	Body        string        `yaml:"body" about:"request body"`
	Form        Form          `yaml:"form" about:"fields of a form to POST: {username: jason}"`
	Headers     Headers       `yaml:"headers" about:"x-user: user-{1..20} cycles through 20"`
	Cookies     string        `yaml:"cookies" about:"cookie jar to use, by its name: jason"`
	Count       int           `yaml:"count" about:"how many; 1 unless said"`
	Connections int           `yaml:"connections" about:"at a time; 1 unless said"`
	Timeout     time.Duration `yaml:"timeout" about:"of the client; 30s unless said"`
	Secure      `yaml:",inline"`
	Want        *assert.WantReply `yaml:"expect" about:"what each reply must be"`
	Some        *assert.WantReply `yaml:"some" about:"what at least one reply must be"`
}

// Name is how verdicts call the request.
func (r *Request) Name() string {
	name := "request " + r.URL
	if r.Method != "GET" {
		name = "request " + r.Method + " " + r.URL
	}
	if r.Count > 1 {
		name += fmt.Sprintf(" × %d", r.Count)
	}
	return name
}

// Rate is a probability: "1e-6".
type Rate float64

// UnmarshalText reads a rate.
func (r *Rate) UnmarshalText(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || !(f > 0 && f <= 0.5) {
		return fmt.Errorf("%q is no rate between 0 and 0.5; write it as 1e-6", b)
	}
	*r = Rate(f)
	return nil
}

// KeepHeaders returns the request headers that records must keep for the scenario's expectations.
func (s *Scenario) KeepHeaders() []string {
	names := map[string]bool{}
	for _, h := range s.Mesh.KeepHeaders {
		names[strings.ToLower(h)] = true
	}
	for _, step := range s.Steps {
		for _, e := range step.Expect {
			for _, h := range assert.HeadersOf(e) {
				names[h] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Judge returns the judge of step i over records that start in [from, until): its expectations,
// each with its part of the suite's false-alarm rate.
func (s *Scenario) Judge(i int, from, until clock.Instant) *assert.Judge {
	return assert.NewJudge(s.Terms(i, from, until), s.Steps[i].Expect...)
}

// Terms returns the terms of step i: α is divided evenly over all statistical expectations of the
// suite.
func (s *Scenario) Terms(i int, from, until clock.Instant) assert.Terms {
	statistical := 0
	for _, step := range s.Steps {
		for _, e := range step.Expect {
			if e.Statistical() {
				statistical++
			}
		}
	}
	return assert.Terms{
		Step: s.Steps[i].Name, From: from, Until: until,
		Alpha: float64(s.Alpha) / float64(max(1, statistical)), Tolerance: float64(s.Tolerance),
		InFlight: s.Steps[i].inFlight(),
	}
}
