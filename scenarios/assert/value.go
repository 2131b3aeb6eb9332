package assert

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Share is a wanted share of requests: "10%", "10% ± 2%", ">= 99%", "< 1%", "20%..30%".
type Share struct {
	Low, High float64 // equal for a single share
	Tolerance float64 // of a single share; 0: the suite's
	set       bool
}

// Exactly returns the wanted share p.
func Exactly(p float64) Share { return Share{Low: p, High: p, set: true} }

// Set says whether the share was written at all.
func (s Share) Set() bool { return s.set }

// Exact says that one stray request decides: 0 % or 100 %.
func (s Share) Exact() bool { return s.High == 0 || s.Low == 1 }

// passRange is where the interval must lie.
func (s Share) passRange() (floor, roof float64) {
	if s.Low == s.High {
		return s.Low - s.Tolerance, s.High + s.Tolerance
	}
	return s.Low, s.High
}

// UnmarshalText reads a share.
func (s *Share) UnmarshalText(b []byte) error {
	text := strings.TrimSpace(string(b))
	*s = Share{set: true}
	if single, tolerance, ok := strings.Cut(text, "±"); ok {
		t, err := percent(tolerance)
		if err != nil {
			return err
		}
		text, s.Tolerance = single, t
	}
	op, rest := operator(text)
	if from, to, ok := strings.Cut(rest, ".."); ok && op == "" {
		lo, err := percent(from)
		if err != nil {
			return err
		}
		hi, err := percent(to)
		if err != nil {
			return err
		}
		if lo >= hi {
			return fmt.Errorf("%q runs backwards", text)
		}
		s.Low, s.High = lo, hi
		return nil
	}
	p, err := percent(rest)
	if err != nil {
		return err
	}
	switch op {
	case "":
		s.Low, s.High = p, p
	case "<", "<=":
		s.Low, s.High = 0, p
	default:
		s.Low, s.High = p, 1
	}
	return nil
}

// String prints a share as it may be written.
func (s Share) String() string {
	switch {
	case s.Low == s.High && s.Exact():
		return pct(s.Low)
	case s.Low == s.High && s.Tolerance > 0:
		return fmt.Sprintf("%s ± %s", pct(s.Low), points(s.Tolerance))
	case s.Low == s.High:
		return pct(s.Low)
	case s.Low == 0:
		return "<= " + pct(s.High)
	case s.High == 1:
		return ">= " + pct(s.Low)
	}
	return pct(s.Low) + " to " + pct(s.High)
}

func operator(text string) (op, rest string) {
	text = strings.TrimSpace(text)
	for _, op := range []string{"<=", ">=", "<", ">"} {
		if rest, ok := strings.CutPrefix(text, op); ok {
			return op, strings.TrimSpace(rest)
		}
	}
	return "", text
}

func percent(text string) (float64, error) {
	number, ok := strings.CutSuffix(strings.TrimSpace(text), "%")
	p, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !ok {
		return 0, fmt.Errorf("%q is no share; write it as 10%%", strings.TrimSpace(text))
	}
	if !(p >= 0 && p <= 100) {
		return 0, fmt.Errorf("a share lies between 0%% and 100%%, not at %s",
			strings.TrimSpace(text))
	}
	return p / 100, nil
}

// Number is a wanted number: "20", ">= 1", "<= 3", "1..3".
type Number struct {
	Low, High int64
	set       bool
}

// Exact returns the wanted number n.
func Exact(n int64) Number { return Number{Low: n, High: n, set: true} }

// AtLeast returns the wanted number n or more.
func AtLeast(n int64) Number { return Number{Low: n, High: math.MaxInt64, set: true} }

// Set says whether the number was written at all.
func (n Number) Set() bool { return n.set }

// Holds says whether x is as wanted.
func (n Number) Holds(x int64) bool { return n.Low <= x && x <= n.High }

// UnmarshalText reads a number.
func (n *Number) UnmarshalText(b []byte) error {
	op, rest := operator(string(b))
	*n = Number{set: true, High: math.MaxInt64}
	from, to, isRange := strings.Cut(rest, "..")
	x, err := strconv.ParseInt(strings.TrimSpace(from), 10, 64)
	if err != nil || x < 0 || isRange && op != "" {
		return fmt.Errorf("%q is no number; write it as 3, <= 3, >= 3 or 1..3", b)
	}
	switch {
	case isRange:
		n.Low = x
		n.High, err = strconv.ParseInt(strings.TrimSpace(to), 10, 64)
		if err != nil || n.High < n.Low {
			return fmt.Errorf("%q is no range; write it as 1..3", b)
		}
	case op == "":
		n.Low, n.High = x, x
	case op == "<":
		n.High = x - 1
	case op == "<=":
		n.High = x
	case op == ">":
		n.Low = x + 1
	default:
		n.Low = x
	}
	return nil
}

// String prints a number as it may be written.
func (n Number) String() string {
	switch {
	case n.Low == n.High:
		return count(n.Low)
	case n.High == math.MaxInt64:
		return "at least " + count(n.Low)
	case n.Low == 0:
		return "at most " + count(n.High)
	}
	return count(n.Low) + " to " + count(n.High)
}

// Duration is a time as Go writes it: "250ms", "1.5s".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(strings.TrimSpace(string(b)))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no duration; write it as 250ms, 1.5s or 2m", b)
	}
	*d = Duration(v)
	return nil
}

// String prints a duration.
func (d Duration) String() string { return time.Duration(d).String() }

// Span is a wanted duration: "< 250ms", ">= 1s", "1s..1.3s".
type Span struct {
	Low, High time.Duration // [Low, High)
	set       bool
}

// Set says whether the span was written at all.
func (s Span) Set() bool { return s.set }

// Holds says whether d is as wanted.
func (s Span) Holds(d time.Duration) bool { return s.Low <= d && d < s.High }

// UnmarshalText reads a span.
func (s *Span) UnmarshalText(b []byte) error {
	op, rest := operator(string(b))
	*s = Span{High: math.MaxInt64, set: true}
	from, to, isRange := strings.Cut(rest, "..")
	var d, e Duration
	if err := d.UnmarshalText([]byte(from)); err != nil {
		return err
	}
	switch {
	case isRange && op != "":
		return fmt.Errorf("%q has two bounds too many; write it as 1s..1.3s", b)
	case isRange:
		if err := e.UnmarshalText([]byte(to)); err != nil {
			return err
		}
		if e <= d {
			return fmt.Errorf("%q runs backwards", b)
		}
		s.Low, s.High = time.Duration(d), time.Duration(e)
	case strings.HasPrefix(op, "<"):
		s.High = time.Duration(d)
	case strings.HasPrefix(op, ">"):
		s.Low = time.Duration(d)
	default:
		return fmt.Errorf(`%q has no bound; write it as "< 250ms", ">= 1s" or "1s..1.3s"`, b)
	}
	return nil
}

// String prints a span as it may be written.
func (s Span) String() string {
	switch {
	case s.High == math.MaxInt64:
		return ">= " + s.Low.String()
	case s.Low == 0:
		return "< " + s.High.String()
	}
	return s.Low.String() + " to " + s.High.String()
}

// Amount is a wanted share or a wanted number: "30%" or "30".
type Amount struct {
	Share  Share
	Number Number
}

// UnmarshalText reads an amount.
func (a *Amount) UnmarshalText(b []byte) error {
	if strings.Contains(string(b), "%") {
		return a.Share.UnmarshalText(b)
	}
	return a.Number.UnmarshalText(b)
}

// String prints an amount as it may be written.
func (a Amount) String() string {
	if a.Share.Set() {
		return a.Share.String()
	}
	return a.Number.String()
}

// Points are a tolerance: "2%" is ± 2 points.
type Points float64

// UnmarshalText reads a tolerance.
func (p *Points) UnmarshalText(b []byte) error {
	v, err := percent(strings.TrimPrefix(strings.TrimSpace(string(b)), "±"))
	*p = Points(v)
	return err
}

// Shares are wanted shares by name, in the order written.
type Shares []NamedShare

// NamedShare is the wanted share of one version, pod or workload.
type NamedShare struct {
	Name  string
	Share Share
}

// Put adds one; it is how the scenario's reader fills them.
func (s *Shares) Put(name, value string) error {
	n := NamedShare{Name: name}
	if err := n.Share.UnmarshalText([]byte(value)); err != nil {
		return err
	}
	*s = append(*s, n)
	return nil
}

// Amounts are wanted shares or numbers by name, in the order written.
type Amounts []NamedAmount

// NamedAmount is the wanted share or number of one status or flag.
type NamedAmount struct {
	Name   string
	Amount Amount
}

// Put adds one; it is how the scenario's reader fills them.
func (a *Amounts) Put(name, value string) error {
	n := NamedAmount{Name: name}
	if err := n.Amount.UnmarshalText([]byte(value)); err != nil {
		return err
	}
	*a = append(*a, n)
	return nil
}

// Numbers are wanted numbers by name, in the order written.
type Numbers []NamedNumber

// NamedNumber is the wanted number of one text.
type NamedNumber struct {
	Name   string
	Number Number
}

// Put adds one; it is how the scenario's reader fills them.
func (s *Numbers) Put(name, value string) error {
	n := NamedNumber{Name: name}
	if name == "" {
		return errors.New("an empty text is everywhere")
	}
	if err := n.Number.UnmarshalText([]byte(value)); err != nil {
		return err
	}
	*s = append(*s, n)
	return nil
}
