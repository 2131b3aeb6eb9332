package chaos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/scenarios"
)

// Pods finds the pods that a name stands for: one pod, or all of a workload or of an app.
func Pods(reg *translate.Registry, name string) ([]*translate.Pod, error) {
	first, err := request.Pod(reg, name)
	if err != nil {
		return nil, err
	}
	for _, key := range []func(*translate.Pod) string{
		func(p *translate.Pod) string { return p.Name },
		func(p *translate.Pod) string { return p.Workload },
		func(p *translate.Pod) string { return p.Labels["app"] },
	} {
		if k := key(first); k == "" || k != name && k+"."+first.Namespace != name {
			continue
		}
		var out []*translate.Pod
		for _, p := range reg.Pods {
			if key(p) == key(first) && p.Namespace == first.Namespace {
				out = append(out, p)
			}
		}
		return out, nil
	}
	return []*translate.Pod{first}, nil
}

// ids finds the IDs of the pods that names stand for, each once; outside stands for itself.
func ids(reg *translate.Registry, names []string) ([]string, error) {
	var out []string
	for _, n := range names {
		if n == topology.Outside {
			out = append(out, n)
			continue
		}
		pods, err := Pods(reg, n)
		if err != nil {
			return nil, err
		}
		for _, p := range pods {
			if !slices.Contains(out, p.ID()) {
				out = append(out, p.ID())
			}
		}
	}
	return out, nil
}

// Orders turns a fault as it is written into orders, all of its name: one, or one for each pod that
// is killed, so that each can be restarted.
func Orders(f *scenarios.Fault, reg *translate.Registry) ([]Order, error) {
	o := Order{Fault: plain(f), Target: target(f)}
	var errs [4]error
	o.Fault.Pods, errs[0] = ids(reg, f.Pods)
	o.Fault.From, errs[1] = ids(reg, f.From)
	o.Fault.To, errs[2] = ids(reg, f.To)
	o.Fault.Control.Withhold, errs[3] = ids(reg, f.Withhold)
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Kind, err)
		}
	}
	o.Schedule = schedule(f, o.Fault)
	if f.Kind != "kill" {
		return []Order{o}, nil
	}
	var out []Order
	for _, pod := range o.Fault.Pods {
		one := o
		one.Fault.Pods, one.Target = []string{pod}, partOf(f)+pod
		out = append(out, one)
	}
	return out, nil
}

// plain is a fault by its kind and strength, of no pods.
func plain(f *scenarios.Fault) topology.Fault {
	o := topology.Fault{
		Kind: topology.FaultKind(f.Kind), Name: f.Name, Part: topology.Part(f.Part),
		Both: f.Both, Ports: f.Ports, Delay: f.Slow, CPU: f.CPU, Names: f.Names,
	}
	switch f.Kind {
	case "delay", "link":
		o.Kind = topology.FaultLink
		o.Link = topology.Link{
			Delay: f.Delay, Jitter: f.Jitter, Bandwidth: f.Bandwidth, Loss: f.Loss,
			ResetAfter: f.ResetAfter, HalfOpen: f.HalfOpen,
		}
	case "dns":
		o.DNS = topology.DNSFault{
			Silent: f.Answer == "none", Fail: f.Answer == "fail", Delay: f.Delay,
		}
		if f.Answer != "none" && f.Answer != "fail" {
			o.DNS.Wrong = f.Answer
		}
	case "control plane":
		o.Control.Down, o.Control.Slow = f.State != "", f.Delay
	}
	return o
}

// Able says why a topology can not do a fault as it is written; nil: it can. Whether its pods exist
// is another matter.
func (l *Ledger) Able(f *scenarios.Fault) error {
	o := plain(f)
	o.Control.Withhold = f.Withhold
	return l.able(o)
}

// Sample is a mild fault of a kind, to ask whether a topology can do such.
func Sample(kind string) *scenarios.Fault {
	f := &scenarios.Fault{Kind: kind}
	switch kind {
	case "delay", "link":
		f.Delay = time.Millisecond
	case "starve":
		f.CPU = 1
	case "dns":
		f.Answer = "fail"
	case "control plane":
		f.State = "down"
	}
	return f
}

// schedule is when a fault is to be in effect.
func schedule(f *scenarios.Fault, from topology.Fault) Schedule {
	s := Schedule{
		At: f.At, For: f.For, Every: f.Every, Times: f.Times, Moment: f.State == "restarted",
	}
	if f.Random != nil {
		s.Within = f.Random.Within
	}
	if f.Ramp == nil {
		return s
	}
	s.Over, s.To = f.Ramp.Over, from
	to := &f.Ramp.To
	put(&s.To.Link.Delay, to.By)
	put(&s.To.Link.Delay, to.Delay)
	put(&s.To.Link.Jitter, to.Jitter)
	put(&s.To.Delay, to.Slow)
	if to.Bandwidth != nil {
		s.To.Link.Bandwidth = int64(*to.Bandwidth)
	}
	if to.Loss != nil {
		s.To.Link.Loss = float64(*to.Loss)
	}
	if to.CPU != nil {
		s.To.CPU = float64(*to.CPU)
	}
	return s
}

func put(to *time.Duration, d *time.Duration) {
	if d != nil {
		*to = *d
	}
}

// target says in plain words what a fault breaks and how, as one goes on after its kind.
func target(f *scenarios.Fault) string {
	out := partOf(f) + strings.Join(f.Pods, ", ")
	if len(f.From)+len(f.To) > 0 {
		arrow := " → "
		if f.Both {
			arrow = " ⇄ "
		}
		out = all(f.From, "all") + arrow + all(f.To, "all")
	}
	for i, p := range f.Ports {
		out += []string{" port ", ", "}[min(i, 1)] + strconv.Itoa(p)
	}
	if how := strength(f); how != "" && out != "" {
		return out + ": " + how
	} else if how != "" {
		return how
	}
	return out
}

// Describe says what is broken, and when.
func Describe(f *scenarios.Fault) string {
	out := target(f)
	add := func(set bool, format string, args ...any) {
		if set {
			out += fmt.Sprintf(format, args...)
		}
	}
	add(f.At > 0, ", after %v", f.At)
	add(f.For > 0, ", for %v", f.For)
	add(f.Every > 0, ", every %v", f.Every)
	add(f.Times > 0, ", %d times", f.Times)
	if f.Random != nil {
		add(true, ", at random within %v", f.Random.Within)
	}
	if f.Ramp != nil {
		add(true, ", growing over %v", f.Ramp.Over)
	}
	return out
}

func all(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return strings.Join(names, ", ")
}

// partOf names the part of the pods, and whose it is.
func partOf(f *scenarios.Fault) string {
	switch f.Part {
	case "app":
		return "the app of "
	case "proxy":
		return "the proxy of "
	}
	return ""
}

// strength says how bad a fault is.
func strength(f *scenarios.Fault) string {
	var how []string
	add := func(set bool, format string, args ...any) {
		if set {
			how = append(how, fmt.Sprintf(format, args...))
		}
	}
	switch f.Kind {
	case "control plane":
		add(f.State != "", "%s", f.State)
		add(f.Delay > 0, "slow by %v", f.Delay)
		add(len(f.Withhold) > 0, "withholds from %s", strings.Join(f.Withhold, ", "))
		return strings.Join(how, ", ")
	case "dns":
		add(len(f.Names) > 0, "%s", strings.Join(f.Names, ", "))
		add(f.Answer == "none", "no answer")
		add(f.Answer == "fail", "fails")
		add(f.Answer != "" && f.Answer != "none" && f.Answer != "fail", "answers %s", f.Answer)
	}
	add(f.Jitter > 0, "%v ± %v", f.Delay, f.Jitter)
	add(f.Delay > 0 && f.Jitter == 0, "%v", f.Delay)
	add(f.Slow > 0, "late by %v", f.Slow)
	add(f.Bandwidth > 0, "%s/s", bytes(f.Bandwidth))
	add(f.Loss > 0, "%g %% lost", 100*f.Loss)
	if f.ResetAfter != nil {
		add(true, "reset after %s", bytes(*f.ResetAfter))
	}
	add(f.HalfOpen, "half-open")
	add(f.CPU > 0, "%g %% of a core", 100*f.CPU)
	return strings.Join(how, ", ")
}

// bytes prints a number of bytes as it is written: 20KB.
func bytes(n int64) string {
	switch {
	case n > 0 && n%1e6 == 0:
		return fmt.Sprintf("%dMB", n/1e6)
	case n > 0 && n%1e3 == 0:
		return fmt.Sprintf("%dKB", n/1e3)
	}
	return fmt.Sprintf("%dB", n)
}
