package scenarios

import (
	"errors"
	"time"
)

// shape is a fault as it is written, a struct for each kind.
type shape interface {
	validator
	fault() Fault
}

// faultKinds are the keys of faults. Where a bare word or a list of them may stand for the whole,
// words takes them.
var faultKinds = []struct {
	key, about string
	example    string
	shape      func() shape
	words      func(words []string) shape
}{
	{"kill", "pods to end at once, as kill -9 does", "reviews-v2",
		func() shape { return &killShape{} },
		func(w []string) shape { return &killShape{Targets: Targets{w}} }},
	{"pause", "pods to stop: connections stay open, nothing answers", "{pods: ratings-v1, for: 1s}",
		func() shape { return &pauseShape{} },
		func(w []string) shape { return &pauseShape{Targets: Targets{w}} }},
	{"partition", "connections that fall silent, new ones find nobody", "{from: a, to: b}",
		func() shape { return &partitionShape{} }, nil},
	{"delay", "connections that are slow", "{from: a, to: b, by: 100ms}",
		func() shape { return &delayShape{} }, nil},
	{"link", "connections that are bad", "{from: a, to: b, bandwidth: 20KB/s}",
		func() shape { return &linkShape{} }, nil},
	{"refuse", "pods whose apps refuse new connections", "{pods: reviews-v2, ports: [9080]}",
		func() shape { return &refuseShape{} },
		func(w []string) shape { return &refuseShape{Targets: Targets{w}} }},
	{"unready", "pods whose readiness probes fail, or are slow", "reviews-v2",
		func() shape { return &unreadyShape{} },
		func(w []string) shape { return &unreadyShape{Targets: Targets{w}} }},
	{"starve", "pods that get little CPU", "{pods: reviews-v2, cpu: 10%}",
		func() shape { return &starveShape{} }, nil},
	{"dns", "pods whose look-ups of names go wrong", "{pods: productpage-v1, answer: fail}",
		func() shape { return &dnsShape{} }, nil},
	{"control plane", "the control plane: down, restarted, slow, or withholding pushes", "down",
		func() shape { return &controlShape{} },
		func(w []string) shape { return &controlShape{words: w} }},
}

// FaultKinds lists the keys of faults.
func FaultKinds() []string {
	var out []string
	for i := range faultKinds {
		out = append(out, faultKinds[i].key)
	}
	return out
}

// killShape and those below are faults as they are written.
type (
	killShape struct {
		Targets `yaml:",inline"`
		Part    string `yaml:"part" about:"pod (all of it, unless said), app or proxy"`
		When    `yaml:",inline"`
	}
	pauseShape struct {
		Targets `yaml:",inline"`
		Part    string `yaml:"part" about:"pod (all of it, unless said), app or proxy"`
		When    `yaml:",inline"`
	}
	partitionShape struct {
		Path  `yaml:",inline"`
		Ports []int `yaml:"ports" about:"of to; all unless said"`
		When  `yaml:",inline"`
	}
	delayShape struct {
		Path   `yaml:",inline"`
		Ports  []int         `yaml:"ports" about:"of to; all unless said"`
		By     time.Duration `yaml:"by" about:"so much later arrives every byte"`
		Jitter time.Duration `yaml:"jitter" about:"more or less by so much, evenly"`
		When   `yaml:",inline"`
	}
	linkShape struct {
		Path       `yaml:",inline"`
		Ports      []int         `yaml:"ports" about:"of to; all unless said"`
		Delay      time.Duration `yaml:"delay" about:"so much later arrives every byte"`
		Jitter     time.Duration `yaml:"jitter" about:"more or less by so much, evenly"`
		Bandwidth  *Bandwidth    `yaml:"bandwidth" about:"of each connection: 20KB/s"`
		Loss       Portion       `yaml:"loss" about:"share of packets that are dropped: 10%"`
		ResetAfter *Size         `yaml:"resetAfter" about:"bytes after which it is reset: 1KB"`
		HalfOpen   bool          `yaml:"halfOpen" about:"true: accepted, and nothing passes"`
		When       `yaml:",inline"`
	}
	refuseShape struct {
		Targets `yaml:",inline"`
		Ports   []int `yaml:"ports" about:"of the app; all unless said"`
		When    `yaml:",inline"`
	}
	unreadyShape struct {
		Targets `yaml:",inline"`
		Slow    time.Duration `yaml:"slow" about:"probes take so long; they fail unless said"`
		When    `yaml:",inline"`
	}
	starveShape struct {
		Targets `yaml:",inline"`
		CPU     Portion `yaml:"cpu" about:"share of one core that is left: 10%"`
		When    `yaml:",inline"`
	}
	dnsShape struct {
		Targets `yaml:",inline"`
		Names   []string      `yaml:"names" about:"names that are looked up; all unless said"`
		Answer  string        `yaml:"answer" about:"none, fail, or a wrong address: 192.0.2.1"`
		Delay   time.Duration `yaml:"delay" about:"before any answer"`
		When    `yaml:",inline"`
	}
	controlShape struct {
		words    []string
		State    string        `yaml:"state" about:"down, or restarted with an empty memory"`
		Slow     time.Duration `yaml:"slow" about:"so much later leaves each push"`
		Withhold []string      `yaml:"withhold" about:"pods or workloads whose proxies get no push"`
		When     `yaml:",inline"`
	}
)

func (t *Targets) check() error {
	if len(t.Pods) == 0 {
		return errors.New("it needs pods: a pod, a workload, or a list of them")
	}
	return nil
}

func (p *Path) check() error {
	if len(p.From) == 0 && len(p.To) == 0 {
		return errors.New("it needs from, to, or both: pods or workloads")
	}
	return nil
}

func (s *killShape) Validate() error {
	return cmpErr(s.Targets.check(), checkPart(s.Part), s.When.check(), s.When.strengths())
}

func (s *killShape) fault() Fault {
	return Fault{Targets: s.Targets, Part: s.Part, When: s.When}
}

func (s *pauseShape) Validate() error {
	return cmpErr(s.Targets.check(), checkPart(s.Part), s.When.check(), s.When.strengths())
}

func (s *pauseShape) fault() Fault {
	return Fault{Targets: s.Targets, Part: s.Part, When: s.When}
}

func (s *partitionShape) Validate() error {
	return cmpErr(s.Path.check(), s.When.check(), s.When.strengths())
}

func (s *partitionShape) fault() Fault {
	return Fault{Path: s.Path, Ports: s.Ports, When: s.When}
}

func (s *delayShape) Validate() error {
	var err error
	switch {
	case s.By == 0:
		err = errors.New("it needs by: how much later every byte arrives")
	case s.Jitter > s.By:
		err = errors.New("jitter is larger than by: nothing arrives before it is sent")
	}
	return cmpErr(s.Path.check(), err, s.When.check(), s.When.strengths("by", "jitter"))
}

func (s *delayShape) fault() Fault {
	return Fault{Path: s.Path, Ports: s.Ports, Delay: s.By, Jitter: s.Jitter, When: s.When}
}

func (s *linkShape) Validate() error {
	var err error
	switch {
	case s.Delay == 0 && s.Bandwidth == nil && s.Loss == 0 && s.ResetAfter == nil && !s.HalfOpen:
		err = errors.New("it needs what is bad: delay, bandwidth, loss, resetAfter or halfOpen")
	case s.Jitter > s.Delay:
		err = errors.New("jitter is larger than delay: nothing arrives before it is sent")
	}
	return cmpErr(s.Path.check(), err, s.When.check(),
		s.When.strengths("delay", "jitter", "bandwidth", "loss"))
}

func (s *linkShape) fault() Fault {
	f := Fault{
		Path: s.Path, Ports: s.Ports, Delay: s.Delay, Jitter: s.Jitter, Loss: float64(s.Loss),
		HalfOpen: s.HalfOpen, When: s.When,
	}
	if s.Bandwidth != nil {
		f.Bandwidth = int64(*s.Bandwidth)
	}
	if s.ResetAfter != nil {
		n := int64(*s.ResetAfter)
		f.ResetAfter = &n
	}
	return f
}

func (s *refuseShape) Validate() error {
	return cmpErr(s.Targets.check(), s.When.check(), s.When.strengths())
}

func (s *refuseShape) fault() Fault {
	return Fault{Targets: s.Targets, Ports: s.Ports, When: s.When}
}

func (s *unreadyShape) Validate() error {
	return cmpErr(s.Targets.check(), s.When.check(), s.When.strengths("slow"))
}

func (s *unreadyShape) fault() Fault {
	return Fault{Targets: s.Targets, Slow: s.Slow, When: s.When}
}

func (s *starveShape) Validate() error {
	var err error
	if s.CPU == 0 {
		err = errors.New("it needs cpu: the share of one core that is left, such as 10%")
	}
	return cmpErr(s.Targets.check(), err, s.When.check(), s.When.strengths("cpu"))
}

func (s *starveShape) fault() Fault {
	return Fault{Targets: s.Targets, CPU: float64(s.CPU), When: s.When}
}

func (s *dnsShape) Validate() error {
	err := checkAnswer(s.Answer)
	switch {
	case s.Answer == "" && s.Delay == 0:
		err = errors.New("it needs answer (none, fail or an address) or delay")
	case s.Answer != "" && s.Delay > 0:
		err = errors.New("either answer or delay: an answer that is late is the right one")
	}
	return cmpErr(s.Targets.check(), err, s.When.check(), s.When.strengths())
}

func (s *dnsShape) fault() Fault {
	return Fault{
		Targets: s.Targets, Names: s.Names, Answer: s.Answer, Delay: s.Delay, When: s.When,
	}
}

func (s *controlShape) Validate() error {
	if len(s.words) > 0 {
		s.State = s.words[0]
	}
	said := 0
	for _, set := range []bool{s.State != "", s.Slow > 0, len(s.Withhold) > 0} {
		if set {
			said++
		}
	}
	var err error
	switch {
	case len(s.words) > 1 || said != 1:
		err = errors.New("say one thing of it: down, restarted, {slow: 300ms} or " +
			"{withhold: [reviews-v1]}")
	case s.State != "" && s.State != "down" && s.State != "restarted":
		err = errors.New("it is down, restarted, {slow: 300ms} or {withhold: [reviews-v1]}, not " +
			s.State)
	case s.State == "restarted" && s.For > 0:
		err = errors.New("restarted is a moment; {state: down, for: 2s} takes it away for a time")
	}
	return cmpErr(err, s.When.check(), s.When.strengths())
}

func (s *controlShape) fault() Fault {
	return Fault{State: s.State, Delay: s.Slow, Withhold: s.Withhold, When: s.When}
}

// cmpErr returns the first error.
func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
