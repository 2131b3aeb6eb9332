package reports

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// receipts makes a verdict inconclusive that rests on a fault which had not taken effect by the end
// of the step: whichever way it went, it says nothing of what the story is about.
func receipts(v *assert.Verdict, h *observe.History, went *StepRun) {
	for i := range h.Faults {
		f := &h.Faults[i]
		if f.From >= went.Until || f.Until != 0 && f.Until <= went.From {
			continue
		}
		why := ""
		switch {
		case f.Skipped != "":
			why = f.Title() + " did not happen: " + f.Skipped
		case fired(f, h) == 0:
			why = f.Title() + " never took effect"
		case f.First >= went.Until:
			why = f.Title() + " took effect only after this step"
		default:
			continue
		}
		if v.Outcome == assert.Fail {
			why += "; without it this failed"
			if v.Reason != "" {
				why += ": " + v.Reason
			}
		} else if v.Outcome == assert.Inconclusive && v.Reason != "" {
			why = v.Reason + "; " + why
		}
		v.Outcome, v.Reason = assert.Inconclusive, why
		return
	}
}

// faultFlags are the flags that are the receipts of Istio's faults.
var faultFlags = map[string]string{"abort": "FI", "delay": "DI"}

// fired counts how often a fault took effect: its receipt, or the records that an Istio fault
// flagged.
func fired(f *observe.Fault, h *observe.History) int64 {
	flag, ok := faultFlags[f.Kind]
	if f.Fired > 0 || !ok {
		return f.Fired
	}
	var n int64
	for i := range h.Requests {
		r := &h.Requests[i]
		if hasFlag(r, flag) && objectRef(r.Config) == f.Target && r.Start >= f.From &&
			(f.Until == 0 || r.Start < f.Until) {
			n++
		}
	}
	return n
}

func hasFlag(r *observe.Request, flag string) bool {
	for f := range strings.SplitSeq(r.Flags, ",") {
		if f == flag {
			return true
		}
	}
	return false
}

// faults lists the injected faults with their receipts: those that the run recorded, and Istio's
// that show in the requests' records.
func faults(h *observe.History) []FaultResult {
	out := []FaultResult{}
	known := map[string]int{}
	for i := range h.Faults {
		f := &h.Faults[i]
		out = append(out, FaultResult{
			Kind: f.Kind, Target: f.Target, Fired: fired(f, h), Name: f.Name, Unit: f.Unit,
			Bytes: f.Bytes, From: f.From, Until: f.Until, First: f.First, Last: f.Last,
			Evidence: f.Evidence, Skipped: f.Skipped,
		})
		known[f.Kind+" "+f.Target] = -1
	}
	for i := range h.Requests {
		r := &h.Requests[i]
		for _, kind := range []string{"abort", "delay"} {
			if r.Reporter != observe.Source || !hasFlag(r, faultFlags[kind]) {
				continue
			}
			target := objectRef(r.Config)
			if target == "" {
				target = r.Cluster
			}
			at, seen := known[kind+" "+target]
			if !seen {
				at = len(out)
				known[kind+" "+target] = at
				out = append(out, FaultResult{Kind: kind, Target: target})
			}
			if at >= 0 {
				out[at].Fired++
			}
		}
	}
	return out
}

// Title is how a reader knows a fault.
func (f *FaultResult) Title() string {
	return (&observe.Fault{Kind: f.Kind, Target: f.Target, Name: f.Name}).Title()
}

// Receipt says in plain words how often a fault took effect, and when.
func (f *FaultResult) Receipt() string {
	switch {
	case f.Skipped != "":
		return "did not happen: " + f.Skipped
	case f.Fired == 0:
		return "never took effect"
	}
	out := grouped(f.Fired) + " " + counted(f.Fired, cmp.Or(f.Unit, "times"))
	if f.Bytes > 0 {
		out += fmt.Sprintf(", %s bytes", grouped(f.Bytes))
	}
	return out
}

// counted is what so many of a unit are called: pods killed, 1 pod killed.
func counted(n int64, unit string) string {
	first, rest, _ := strings.Cut(unit, " ")
	if n != 1 {
		return unit
	}
	switch {
	case strings.HasSuffix(first, "shes") || strings.HasSuffix(first, "ches"):
		first = strings.TrimSuffix(first, "es")
	case strings.HasSuffix(first, "ies"):
		first = strings.TrimSuffix(first, "ies") + "y"
	default:
		first = strings.TrimSuffix(first, "s")
	}
	return strings.TrimSpace(first + " " + rest)
}
