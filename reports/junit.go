package reports

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Time       string          `xml:"time,attr"`
	Timestamp  string          `xml:"timestamp,attr,omitempty"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitProblem `xml:"failure"`
	Error   *junitProblem `xml:"error"`
	Skipped *junitProblem `xml:"skipped"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitProblem struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes Results as JUnit XML: a scenario is a test suite, an expectation a test case.
// Inconclusive is an error, since it is no pass.
func JUnit(w io.Writer, results ...*Result) error {
	all := junitSuites{Name: "mesh-lab"}
	total := 0.0
	for _, r := range results {
		s := suite(r)
		all.Tests, all.Failures = all.Tests+s.Tests, all.Failures+s.Failures
		all.Errors += s.Errors
		total += r.DurationMS
		all.Suites = append(all.Suites, s)
	}
	all.Time = seconds(total)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func suite(r *Result) junitSuite {
	s := junitSuite{
		Name: r.Scenario, Time: seconds(r.DurationMS), Timestamp: strings.TrimSuffix(r.Began, "Z"),
		Properties: []junitProperty{
			{"topology", r.Topology}, {"proxy", r.Proxy}, {"seed", r.Seed}, {"version", r.Version},
			{"again", again(r)},
		},
	}
	if r.Envoy != "" {
		s.Properties = append(s.Properties, junitProperty{"envoy", r.Envoy})
	}
	if x := r.Exact; x != nil {
		for _, l := range x.Enumerated {
			s.Properties = append(s.Properties, junitProperty{"exact enumerated", l})
		}
		for _, l := range x.Altered {
			s.Properties = append(s.Properties, junitProperty{"exact altered", l})
		}
	}
	for i := range r.Faults {
		if f := &r.Faults[i]; f.Name != "" {
			s.Properties = append(s.Properties, junitProperty{"fault " + f.Title(), f.Receipt()})
		}
	}
	add := func(c junitCase) {
		s.Tests++
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
		s.Cases = append(s.Cases, c)
	}
	for i := range r.Steps {
		step := &r.Steps[i]
		class := r.Scenario + "." + step.Name
		if step.Skipped != "" {
			c := junitCase{Class: class, Name: step.Name, Time: "0.000"}
			if p := (&junitProblem{Message: step.Skipped}); step.Verdict == assert.Fail {
				c.Failure = p
			} else {
				c.Skipped = p
			}
			add(c)
		}
		if step.Error != "" {
			add(junitCase{Class: class, Name: step.Name, Time: seconds(step.DurationMS),
				Error: &junitProblem{Type: "environment", Message: step.Error}})
		}
		for k := range step.Expectations {
			c := testCase(&step.Expectations[k])
			c.Class, c.Time = class, "0.000"
			if k == 0 {
				c.Time = seconds(step.DurationMS)
			}
			add(c)
		}
	}
	if r.Reason != "" {
		add(junitCase{Class: r.Scenario, Name: "run", Time: "0.000",
			Error: &junitProblem{Type: "stopped", Message: r.Reason}})
	}
	return s
}

func testCase(v *assert.Verdict) junitCase {
	c := junitCase{Name: v.Name}
	message := fmt.Sprintf("wanted %s, observed %s", v.Wanted, v.Observed)
	var text strings.Builder
	for _, l := range explanation(v) {
		fmt.Fprintf(&text, "%s: %s\n", l.what, l.text)
	}
	problem := &junitProblem{Message: message, Text: text.String()}
	switch v.Outcome {
	case assert.Pass:
		c.Out = message
	case assert.Fail:
		c.Failure = problem
	default:
		problem.Type = "inconclusive"
		c.Error = problem
	}
	return c
}

func seconds(ms float64) string { return fmt.Sprintf("%.3f", ms/1000) }
