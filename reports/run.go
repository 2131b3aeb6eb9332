package reports

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// RunSchema names the form of a recorded run.
const RunSchema = "mesh-lab.dev/run/v1"

// Run is one recorded run: the runner writes it, everything else is computed from it.
type Run struct {
	Header  Header
	History observe.History
}

// Header is what a run was, beside its records.
type Header struct {
	Schema   string        `json:"schema"`
	File     string        `json:"file"`     // path of the scenario file, as it was given
	Scenario string        `json:"scenario"` // its text
	Topology string        `json:"topology"`
	Proxy    string        `json:"proxy"`
	Seed     uint64        `json:"seed"`
	Version  string        `json:"version"`         // of mesh-lab
	Envoy    string        `json:"envoy,omitempty"` // of the real Envoys, where it is known
	Began    time.Time     `json:"began"`
	Duration time.Duration `json:"duration_ns"`
	Mesh     MeshRun       `json:"mesh"`
	Exact    *Exactness    `json:"exact,omitempty"` // with --exact
	Steps    []StepRun     `json:"steps"`           // those that began, in order
	// Rollback is what was done in the end, when everything was healed.
	Rollback []Did `json:"rollback,omitempty"`
	// Require has a run fail that skipped what the topology can not do.
	Require bool `json:"require,omitempty"`
	// Places says where objects are written: "VirtualService default/recommendation" → "file:line",
	// after the last step.
	Places map[string]string `json:"places,omitempty"`
	// Carried is what the proxies carried out, by which requests are explained; nil: not recorded.
	Carried *Carried `json:"carried,omitempty"`
	// Stopped says why the run ended before its last step: interrupted, or what the environment
	// could not do.
	Stopped string `json:"stopped,omitempty"`
}

// Exactness is what the proxies of a run enumerated instead of drawing it (--exact).
type Exactness struct {
	Enumerated []string `json:"enumerated,omitempty"`
	// Random is what stayed random, beside the choice of a pod of a cluster.
	Random []string `json:"random,omitempty"`
	// Altered is what was changed for it in what the proxies were given; nothing for our own,
	// which enumerates by itself.
	Altered []string `json:"altered,omitempty"`
}

// MeshRun is the mesh that was brought up.
type MeshRun struct {
	Workloads []string      `json:"workloads"` // in the order of the manifests
	Sidecars  int           `json:"sidecars"`
	Ready     time.Duration `json:"ready_ns"` // from nothing to every proxy's ACK
}

// StepRun is one step as it went.
type StepRun struct {
	Name string `json:"name"`
	// What starts in [From, Until) is judged: From is when the configuration was ACKed, Until
	// when all traffic had ended.
	From    clock.Instant `json:"from_ns"`
	Until   clock.Instant `json:"until_ns"`
	Did     []Did         `json:"did"`
	Skipped string        `json:"skipped,omitempty"` // a power that the topology lacks
	// Places says where objects were written during the step, when that is not as in the Header.
	Places map[string]string `json:"places,omitempty"`
	Error  string            `json:"error,omitempty"` // what could not be done
}

// Did is one action of a step as it went, in the order of the scenario's actions.
type Did struct {
	Kind  string        `json:"kind"` // the action's key: apply, load, ...
	What  string        `json:"what"` // files, workloads, URL
	From  clock.Instant `json:"from_ns"`
	Until clock.Instant `json:"until_ns"`

	// Changes is what apply, delete or scale did to the configuration.
	Changes []ObjectChange `json:"changes,omitempty"`

	Proxies int           `json:"proxies,omitempty"` // apply: changed, and have ACKed
	Total   int           `json:"total,omitempty"`
	Took    time.Duration `json:"took_ns,omitempty"`

	Fortio  json.RawMessage `json:"fortio,omitempty"` // load: fortio's own result
	Client  string          `json:"client,omitempty"` // load, request: who sent
	Sent    int             `json:"sent,omitempty"`   // request: how many were asked for
	Replies []assert.Reply  `json:"replies,omitempty"`
}

// ObjectChange is what became of one object of the configuration.
type ObjectChange struct {
	Object string `json:"object"`         // "VirtualService default/recommendation"
	Diff   string `json:"diff,omitempty"` // unified, of its YAML; a new one adds every line
}

// first is the first line of a recorded run.
type first struct {
	Run *Header `json:"run"`
}

// WriteRun writes a run as JSON lines: its Header, then the History.
func WriteRun(w io.Writer, r *Run) error {
	e := json.NewEncoder(w)
	if err := e.Encode(first{&r.Header}); err != nil {
		return err
	}
	return r.History.Encode(e)
}

// ReadRun reads what WriteRun wrote.
func ReadRun(r io.Reader) (*Run, error) {
	d := json.NewDecoder(r)
	var f first
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("not a recorded run: %w", err)
	}
	if f.Run == nil || f.Run.Schema != RunSchema {
		return nil, fmt.Errorf("not a recorded run: its first line is no %s", RunSchema)
	}
	run := &Run{Header: *f.Run}
	if err := run.History.Decode(d); err != nil {
		return nil, err
	}
	return run, nil
}
