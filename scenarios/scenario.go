// Package scenarios reads scenario files: stories of a mesh, of what is changed, sent and broken, and of
// what must be seen. It holds the bundled catalogue. It is pure: files come through an fs.FS.
//
//	canary.yaml ─▶ Parse ─▶ Scenario ─▶ Resolve (files, fs.FS) ─▶ lab/runner carries it out
//	                          └▶ Judge(step) ─▶ assert.Judge: expectations with their part of α
package scenarios

import (
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// Scenario is one scenario file.
type Scenario struct {
	Name      string
	About     string
	Needs     []string // powers that a topology must have: kill, exec
	Alpha     float64  // the suite's false-alarm rate
	Tolerance float64  // of shares that name none
	Mesh      Mesh
	Steps     []Step

	File string // path as it was given
	Text []byte // the file itself
}

// Mesh is what is set up before the first step.
type Mesh struct {
	App          string            // bundled app; empty: Files alone
	Files        []string          // Kubernetes manifests, relative to the scenario file
	Config       []string          // Istio configuration, relative to the scenario file
	Workloads    []Workload        // overrides
	UnknownImage string            // app to run for images that are not known
	KeepHeaders  []string          // request headers to keep in records, beside those that are judged
	Documents    map[string][]byte // contents of Files and Config, by Resolve
}

// Workload overrides parts of a workload's manifest.
type Workload struct {
	Name     string
	Replicas *int
	Env      []assert.Pair
}

// Step is one scene: what is done, in the order written, and then what must have been seen.
type Step struct {
	Name    string
	Actions []Action
	Expect  []assert.Expectation
	Place   istio.Place
}

// Action is one thing that a step does. Exactly one of its pointers is set.
type Action struct {
	Apply   *Documents // apply configuration and wait for every proxy's ACK
	Delete  *Documents // delete the objects in it
	Scale   []Scale    // change numbers of replicas
	Kill    []string   // stop pods or workloads
	Restart []string   // start them again
	Exec    *Exec      // call a pod's own app on localhost
	Wait    time.Duration
	Load    *Load
	Request *Request
	Place   istio.Place
}

// Kind returns the action's key: apply, delete, scale, kill, restart, exec, wait, load, request.
func (a *Action) Kind() string {
	switch {
	case a.Apply != nil:
		return "apply"
	case a.Delete != nil:
		return "delete"
	case a.Scale != nil:
		return "scale"
	case a.Kill != nil:
		return "kill"
	case a.Restart != nil:
		return "restart"
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

// Document is one file with configuration.
type Document struct {
	File string // relative to the scenario file; for inline YAML the scenario file
	Line int    // inline: the line of the scenario file in which Data begins, 0 for files
	Data []byte // contents; for files set by Resolve
}

// Scale sets a workload's number of replicas.
type Scale struct {
	Workload string
	Replicas int
}

// Exec calls pods' own app on localhost, past the mesh, as kubectl exec ... curl would.
type Exec struct {
	In     []string // pods or workloads (all of their pods)
	Method string   // GET unless said
	Path   string
	Port   int // 0: the app's first port
}

// Load is traffic whose shares are judged.
type Load struct {
	From        string
	To          string  // URL
	Gateway     string  // for From outside: NAME or NAME.NAMESPACE
	QPS         float64 // 0: as fast as it goes
	Connections int
	Requests    int           // exactly so many; 0: until another limit
	Duration    time.Duration // 0: until another limit
	Decided     bool          // until the step's expectations are decided
	AtMost      time.Duration // with Decided
	Method      string
	Body        string
	Headers     []Header
	Timeout     time.Duration
}

// Header is a request header whose value may change from request to request.
type Header struct {
	Name  string
	Value Template
}

// Request sends a few exact requests.
type Request struct {
	From        string
	URL         string
	Gateway     string
	Method      string
	Host        string
	Body        string
	Headers     []Header
	Count       int
	Connections int
	Timeout     time.Duration
	Want        *assert.WantReply // nil: nothing is expected of the replies
}

// KeepHeaders returns the request headers that records must keep for the scenario's expectations.
func (s *Scenario) KeepHeaders() []string { return keepHeaders(s) }

// Judge returns the judge of step i over records that start in [from, until): its expectations, each
// with its part of the suite's false-alarm rate.
func (s *Scenario) Judge(i int, from, until clock.Instant) *assert.Judge {
	return assert.NewJudge(s.Terms(i, from, until), s.Steps[i].Expect...)
}

// Terms returns the terms of step i: α is divided evenly over all statistical expectations of the suite.
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
		Alpha: s.Alpha / float64(max(1, statistical)), Tolerance: s.Tolerance,
	}
}
