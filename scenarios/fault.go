package scenarios

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// Fault is one thing that a story breaks, and when. What does not belong to its Kind is empty.
type Fault struct {
	Kind string // its key: kill, pause, partition, delay, link, ...
	When
	Targets
	Path
	Part       string        // kill, pause: pod, app or proxy
	Delay      time.Duration // delay, link; dns: before an answer; control plane: of each push
	Jitter     time.Duration // delay, link
	Bandwidth  int64         // link: bytes a second; 0: not bounded
	Loss       float64       // link: in [0, 1]
	ResetAfter *int64        // link: bytes; nil: never
	HalfOpen   bool          // link
	Ports      []int         // refuse, partition, delay, link; none: all
	Slow       time.Duration // unready: until a probe tells the truth; 0: it fails
	CPU        float64       // starve: in (0, 1]
	Names      []string      // dns; none: all
	Answer     string        // dns: none, fail, an address; empty: the right one
	State      string        // control plane: down, restarted; empty: it is up
	Withhold   []string      // control plane: pods and workloads

	Place istio.Place
}

// Targets are the pods of a fault.
type Targets struct {
	Pods []string `yaml:"pods" about:"pods or workloads (all of their pods)"`
}

// Path is which connections a fault is about.
type Path struct {
	From []string `yaml:"from" about:"pods or workloads that connect, or outside; all unless said"`
	To   []string `yaml:"to" about:"pods or workloads that are connected to; all unless said"`
	Both bool     `yaml:"both" about:"true: what to sends to from, too"`
}

// When is when a fault begins and ends: Random is added to each beginning. Times are counted from
// the action, in a load's meanwhile from its first answer.
type When struct {
	Name   string        `yaml:"name" about:"what heal and reports call it; its kind unless said"`
	At     time.Duration `yaml:"at" about:"when it begins; at once unless said"`
	For    time.Duration `yaml:"for" about:"how long it lasts; until heal, or the end, unless said"`
	Every  time.Duration `yaml:"every" about:"it begins again so often: flapping; goes with for"`
	Times  int           `yaml:"times" about:"with every: how often in all; until heal unless said"`
	Ramp   *Ramp         `yaml:"ramp" about:"its strength changes evenly: {to: {by: 1s}, over: 5s}"`
	Random *Random       `yaml:"random" about:"moments are drawn from the run's seed"`
}

// Ramp changes a fault's strength while it lasts.
type Ramp struct {
	To   Strength      `yaml:"to" about:"the strength at the end"`
	Over time.Duration `yaml:"over" about:"how long it takes"`
}

// Strength is what a ramp may change of a fault.
type Strength struct {
	By        *time.Duration `yaml:"by" about:"of delay"`
	Delay     *time.Duration `yaml:"delay" about:"of link"`
	Jitter    *time.Duration `yaml:"jitter" about:"of delay and link"`
	Bandwidth *Bandwidth     `yaml:"bandwidth" about:"of link"`
	Loss      *Portion       `yaml:"loss" about:"of link"`
	CPU       *Portion       `yaml:"cpu" about:"of starve"`
	Slow      *time.Duration `yaml:"slow" about:"of unready"`
}

// Random draws moments.
type Random struct {
	Within time.Duration `yaml:"within" about:"each beginning is so much later at most"`
}

// check says what a schedule cannot mean.
func (w *When) check() error {
	var within time.Duration
	if w.Random != nil {
		if within = w.Random.Within; within == 0 {
			return errors.New("random needs a bound: {within: 3s}")
		}
	}
	switch {
	case w.Name == everything || strings.ContainsAny(w.Name, " ,"):
		return fmt.Errorf("name %q: want a word that is not all", w.Name)
	case w.Every > 0 && w.For == 0:
		return errors.New("every needs for: how long it lasts each time")
	case w.Every > 0 && within+w.For >= w.Every:
		return errors.New("every must be longer than what it repeats: for, and within of random")
	case w.Times > 0 && w.Every == 0:
		return errors.New("times goes with every: how often, and how far apart")
	case w.Ramp != nil && w.Ramp.Over == 0:
		return errors.New("a ramp takes its time: {to: {by: 1s}, over: 5s}")
	case w.Ramp != nil && w.For > 0 && w.Ramp.Over > w.For:
		return errors.New("the ramp takes longer than the fault lasts")
	}
	return nil
}

// everything is the word with which heal heals all.
const everything = "all"

// Bandwidth is a number of bytes a second: "20KB/s".
type Bandwidth int64

// UnmarshalText reads a bandwidth.
func (b *Bandwidth) UnmarshalText(text []byte) error {
	n, err := bytesOf(strings.TrimSuffix(string(text), "/s"))
	if err != nil || n == 0 || !strings.HasSuffix(string(text), "/s") {
		return fmt.Errorf("%q is no bandwidth; write it as 20KB/s", text)
	}
	*b = Bandwidth(n)
	return nil
}

// Size is a number of bytes: "1KB".
type Size int64

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := bytesOf(string(text))
	*s = Size(n)
	return err
}

// units are what bytes may be counted in.
var units = []struct {
	name  string
	bytes float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"KB", 1e3}, {"MB", 1e6}, {"B", 1}}

// bytesOf reads "1KB"; a bare number is of bytes.
func bytesOf(text string) (int64, error) {
	number, factor := text, 1.0
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			number, factor = n, u.bytes
			break
		}
	}
	f, err := parseNumber(number)
	if err != nil || f*factor > 1e15 {
		return 0, fmt.Errorf("%q is no number of bytes; write it as 100B, 1KB or 2MiB", text)
	}
	return int64(f * factor), nil
}

// Portion is a share in [0, 1]: "10%".
type Portion float64

// UnmarshalText reads a share.
func (p *Portion) UnmarshalText(text []byte) error {
	number, ok := strings.CutSuffix(strings.TrimSpace(string(text)), "%")
	f, err := parseNumber(strings.TrimSpace(number))
	if !ok || err != nil || f > 100 {
		return fmt.Errorf("%q is no share; write it as 10%%", text)
	}
	*p = Portion(f / 100)
	return nil
}

// answers are the words that say how look-ups go; an address is the wrong answer.
var answers = []string{"none", "fail"}

// checkAnswer says what is no answer of a DNS fault.
func checkAnswer(a string) error {
	if a == "" || slices.Contains(answers, a) {
		return nil
	}
	if _, err := netip.ParseAddr(a); err != nil {
		return fmt.Errorf("answer %q: want none, fail or an address", a)
	}
	return nil
}

// checkPart says what is no part of a pod.
func checkPart(p string) error {
	if p != "" && !slices.Contains([]string{"pod", "app", "proxy"}, p) {
		return fmt.Errorf("part %q: want pod, app or proxy", p)
	}
	return nil
}

// strengths says what is wrong with where a ramp leads: what is not among a kind's.
func (w *When) strengths(allowed ...string) error {
	if w.Ramp == nil {
		return nil
	}
	given := w.Ramp.To.given()
	if len(given) == 0 {
		return fmt.Errorf("a ramp leads somewhere: to: {%s: ...}", strings.Join(allowed, ", "))
	}
	for _, g := range given {
		if len(allowed) == 0 {
			return errors.New("it has no strength that a ramp could change")
		}
		if !slices.Contains(allowed, g) {
			return fmt.Errorf("its ramp has no %s; it has %s", g, strings.Join(allowed, ", "))
		}
	}
	return nil
}

// given lists the keys that a strength has.
func (s *Strength) given() []string {
	var out []string
	for _, k := range []struct {
		key string
		set bool
	}{
		{"by", s.By != nil}, {"delay", s.Delay != nil}, {"jitter", s.Jitter != nil},
		{"bandwidth", s.Bandwidth != nil}, {"loss", s.Loss != nil}, {"cpu", s.CPU != nil},
		{"slow", s.Slow != nil},
	} {
		if k.set {
			out = append(out, k.key)
		}
	}
	return out
}
