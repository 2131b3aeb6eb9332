// Package reports turns a recorded run into its Result and renders it: text for a terminal, JSON,
// JUnit XML, fortio's JSON. Everything is computed from the Run, so that a file can be reported
// again later.
//
//	Run (Header + observe.History, JSON lines) ─▶ Judge ─▶ Result ─┬▶ Text
//	                                                              ├▶ JSON
//	                                                              ├▶ JUnit
//	                                                              └▶ Fortio
package reports

import (
	"encoding/json"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// ResultSchema names the form of the Result.
const ResultSchema = "mesh-lab.dev/result/v1"

// Result is what a run came to.
type Result struct {
	Schema     string         `json:"schema"`
	Scenario   string         `json:"scenario"`
	Topology   string         `json:"topology"`
	Proxy      string         `json:"proxy"`
	Seed       string         `json:"seed"` // as --seed takes it
	Version    string         `json:"version"`
	Envoy      string         `json:"envoy,omitempty"` // the version of the real Envoys
	Verdict    assert.Outcome `json:"verdict"`
	Reason     string         `json:"reason,omitempty"` // why the run ended early
	Steps      []StepResult   `json:"steps"`
	Faults     []FaultResult  `json:"faults"`
	Rollback   []Did          `json:"rollback,omitempty"` // what was done in the end
	DurationMS float64        `json:"duration_ms"`
	FalseAlarm float64        `json:"false_alarm"` // of the whole suite
	File       string         `json:"file,omitempty"`
	About      string         `json:"about,omitempty"`
	Mesh       MeshRun        `json:"mesh"`
	Began      string         `json:"began,omitempty"` // RFC 3339
	Exact      *Exactness     `json:"exact,omitempty"` // with --exact
}

// StepResult is what one step came to. Load is fortio's own JSON of its load; a step with several
// has the others in MoreLoads. Did lists its actions, loads without fortio's JSON.
type StepResult struct {
	Name         string            `json:"name"`
	Verdict      assert.Outcome    `json:"verdict"`
	Load         json.RawMessage   `json:"load,omitempty"`
	MoreLoads    []json.RawMessage `json:"more_loads,omitempty"`
	Expectations []assert.Verdict  `json:"expectations"`
	Did          []Did             `json:"did,omitempty"`
	Skipped      string            `json:"skipped,omitempty"`
	Error        string            `json:"error,omitempty"`
	DurationMS   float64           `json:"duration_ms"`
}

// FaultResult is an injected fault with its receipt. Those that the run broke itself have a Name;
// Istio's are counted in the requests' records.
type FaultResult struct {
	Kind     string        `json:"kind"`
	Target   string        `json:"target"`
	Fired    int64         `json:"fired"`
	Name     string        `json:"name,omitempty"`
	Unit     string        `json:"unit,omitempty"`     // what Fired counts
	Bytes    int64         `json:"bytes,omitempty"`    // that it held, delayed or dropped
	From     clock.Instant `json:"from_ns,omitempty"`  // when it was in effect
	Until    clock.Instant `json:"until_ns,omitempty"` // when it was healed
	First    clock.Instant `json:"first_ns,omitempty"` // when it took effect first
	Last     clock.Instant `json:"last_ns,omitempty"`
	Evidence []string      `json:"evidence,omitempty"` // what the place said where it acts
	Skipped  string        `json:"skipped,omitempty"`  // why it did not happen
}
