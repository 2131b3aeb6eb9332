// Package model says how a pod behaves under load and at its start, whatever its app is: how long
// an answer takes, which share of them fails, how many are worked on at a time, when the app
// listens, when the pod is ready, and whom it remembers. It reads the variables of a container, and
// is pure: sampleapps/around carries it out.
package model

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Prefix is what the names of all variables begin with.
const Prefix = "MESHLAB_"

// The variables of a container.
const (
	Latency     = Prefix + "LATENCY"     // "20ms", "p50=5ms p99=80ms", "histogram: 1ms:50 9ms:1"
	Errors      = Prefix + "ERRORS"      // "5%", "503:5% 500:1%"
	Concurrency = Prefix + "CONCURRENCY" // requests at work at a time
	Queue       = Prefix + "QUEUE"       // requests that may wait for it
	Startup     = Prefix + "STARTUP"     // until then the app does not listen
	ReadyAfter  = Prefix + "READY_AFTER" // until then the pod is no endpoint; STARTUP unless said
	Ready       = Prefix + "READY"       // false: it never is
	Remember    = Prefix + "REMEMBER"    // different callers to remember
)

// Names are all variables.
var Names = []string{
	Latency, Errors, Concurrency, Queue, Startup, ReadyAfter, Ready, Remember,
}

// OnRequests are those that are about requests, and so need an app that serves some.
var OnRequests = []string{Latency, Errors, Concurrency, Queue, Remember}

// Unbounded is the Queue of a model that has no bound.
const Unbounded = math.MaxInt

// Model is how a pod behaves. Its zero value, but for Queue, changes nothing.
type Model struct {
	Latency     Law    // nil: no time
	Errors      Shares // of the answers
	Concurrency int    // 0: no limit
	Queue       int    // may be 0; Unbounded
	Startup     time.Duration
	// ReadyAfter is when the pod is ready, since its start: when its app listens, unless said. One
	// that is earlier makes it an endpoint that refuses, as in a cluster without a readiness probe.
	ReadyAfter time.Duration
	Remember   int // 0: nothing
}

// IsOnRequests says whether it changes or sees requests.
func (m *Model) IsOnRequests() bool {
	return m.Latency != nil || len(m.Errors) > 0 || m.Concurrency > 0 || m.Remember > 0
}

// Problem is a variable that says nothing that can be carried out.
type Problem struct {
	Name, Value string
	Msg         string // what would be right
}

// Error names the variable and says what would be right.
func (p *Problem) Error() string { return fmt.Sprintf("env %s = %q: %s", p.Name, p.Value, p.Msg) }

// Read reads a container's variables; an empty one is not set. Every problem is an error of the
// result.
func Read(vars map[string]string) (Model, []error) {
	r := reader{vars: vars}
	m := Model{Queue: Unbounded}
	r.read(Latency, func(v string) (err error) { m.Latency, err = ParseLaw(v); return })
	r.read(Errors, func(v string) (err error) { m.Errors, err = ParseShares(v); return })
	r.read(Concurrency, func(v string) (err error) { m.Concurrency, err = number(v, 1); return })
	r.read(Queue, func(v string) (err error) {
		if vars[Concurrency] == "" {
			return fmt.Errorf("nothing waits without %s", Concurrency)
		}
		m.Queue, err = number(v, 0)
		return
	})
	r.read(Startup, func(v string) (err error) { m.Startup, err = duration(v); return })
	m.ReadyAfter = m.Startup
	r.read(ReadyAfter, func(v string) (err error) { m.ReadyAfter, err = duration(v); return })
	r.read(Ready, func(v string) error {
		ready, err := ParseReady(v)
		if err == nil && !ready && vars[ReadyAfter] != "" {
			return fmt.Errorf("such a pod is never ready, but %s says when it is", ReadyAfter)
		}
		return err
	})
	r.read(Remember, func(v string) (err error) { m.Remember, err = number(v, 1); return })
	return m, r.errs
}

// Unknown returns the variables that begin like a model's and are none.
func Unknown(vars map[string]string) []error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if strings.HasPrefix(name, Prefix) && !slices.Contains(Names, name) {
			errs = append(errs, &Problem{
				Name: name, Value: vars[name], Msg: "known are " + strings.Join(Names, ", "),
			})
		}
	}
	return errs
}

type reader struct {
	vars map[string]string
	errs []error
}

// read has a variable read that is set.
func (r *reader) read(name string, parse func(string) error) {
	v := strings.TrimSpace(r.vars[name])
	if v == "" {
		return
	}
	if err := parse(v); err != nil {
		r.errs = append(r.errs, &Problem{Name: name, Value: r.vars[name], Msg: err.Error()})
	}
}

// ParseReady reads whether a pod is ever ready.
func ParseReady(text string) (bool, error) {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return true, fmt.Errorf("want true or false")
	}
	return b, nil
}

// most bounds numbers: what a process can keep in memory.
const most = 1_000_000

func number(text string, least int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("want a whole number from %d to %d", least, most)
	}
	return n, nil
}

// Longest is the longest time that a model takes for anything.
const Longest = time.Hour

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > Longest {
		return 0, fmt.Errorf("want a time up to 1h, written as 20ms or 1.5s")
	}
	return d, nil
}
