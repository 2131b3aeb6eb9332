package feed

import (
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// Story is how far a scenario has come.
type Story struct {
	Name  string `json:"name"`
	About string `json:"about,omitempty"`
	Steps []Step `json:"steps"`
	Over  string `json:"over,omitempty"` // the verdict, when it is over
}

// Step is one step of a scenario.
type Step struct {
	Name    string           `json:"name"`
	State   StepState        `json:"state"`
	Doing   string           `json:"doing,omitempty"`
	Sent    int64            `json:"sent,omitempty"`
	Failed  int64            `json:"failed,omitempty"`
	Wants   []string         `json:"wants,omitempty"`  // what will be judged, before it is
	Splits  []Wanted         `json:"splits,omitempty"` // that it expects
	Verdict assert.Outcome   `json:"verdict"`
	Said    []assert.Verdict `json:"said,omitempty"` // so far, or in the end
}

// StepState is how far a step is.
type StepState string

// The states of a step.
const (
	Waiting StepState = "waiting"
	Running StepState = "running"
	Done    StepState = "done"
)

// Wanted is a split that a step expects, by version, shares in [0, 1].
type Wanted struct {
	Service   string             `json:"service"`
	Shares    map[string]float64 `json:"shares"`
	Tolerance float64            `json:"tolerance"`
}
