package assert

import (
	"fmt"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Split wants the requests to a service to be shared out among its versions, workloads or pods.
// It looks at the callers' sidecars: one draw a request, counted for the host that answered.
// Named shares that add up to 100 % leave nothing for others.
type Split struct {
	Service   string `yaml:"service" about:"the destination; NAME or NAME.NAMESPACE"`
	By        string `yaml:"by" about:"version (default), workload or pod"`
	Where     Where  `yaml:"where" about:"which requests; all of them unless said"`
	Tolerance Points `yaml:"tolerance" about:"how far a share may be off; 5% unless said"`
	Shares    Shares `yaml:",inline" about:"share of each version: v1: 90%"`
}

// Name says what is judged.
func (s *Split) Name() string { return "split " + s.Service }

// Validate says what is wrong with the expectation itself.
func (s *Split) Validate() error {
	switch {
	case s.Service == "":
		return fmt.Errorf("split needs a service")
	case len(s.Shares) == 0:
		return fmt.Errorf("split needs shares: v1: 90%%, v2: 10%%")
	case s.By != "" && s.By != "version" && s.By != "workload" && s.By != "pod":
		return fmt.Errorf("by is version, workload or pod, not %s", s.By)
	case s.Where.At != "":
		return fmt.Errorf("split looks at the callers' sidecars; at has no place in it")
	}
	total, single := 0.0, true
	for _, n := range s.Shares {
		total += n.Share.Low
		single = single && n.Share.Low == n.Share.High
	}
	if total > 1+1e-9 {
		return fmt.Errorf("shares add up to %s", pct(total))
	}
	if single && len(s.Shares) > 1 && total < 1-1e-9 {
		return fmt.Errorf("shares add up to %s, not to 100%%", pct(total))
	}
	return nil
}

// Statistical says whether it takes a part of α.
func (s *Split) Statistical() bool { return s.Shares.statistical() }

func (s Shares) statistical() bool {
	for _, n := range s {
		if !n.Share.Exact() {
			return true
		}
	}
	return false
}

// Monitor returns a judge.
func (s *Split) Monitor(t Terms) Monitor {
	if s.Tolerance > 0 {
		t.Tolerance = float64(s.Tolerance)
	}
	where := s.Where
	where.To = s.Service
	c := &categories{
		name: s.Name(), exact: &enumerated{kind: "split"}, tolerance: t.Tolerance,
		of: func(r *observe.Request) bool { return where.Holds(r) && r.Upstream != "" },
	}
	for _, n := range s.Shares {
		c.all = append(c.all, &category{
			name: n.Name, want: Amount{Share: n.Share},
			is: func(r *observe.Request) bool { return s.of(&r.Dest) == n.Name },
		})
	}
	return newCategories(c, t, true)
}

// Counts returns a function that says whether a request's record counts, and for what it counts: a
// version, workload or pod. A chart of the split draws what the verdict judges.
func (s *Split) Counts() func(r *observe.Request) (name string, counts bool) {
	where := s.Where
	where.To = s.Service
	return func(r *observe.Request) (string, bool) {
		if r.Reporter == observe.Destination || r.Upstream == "" || !where.Holds(r) {
			return "", false
		}
		return s.of(&r.Dest), true
	}
}

func (s *Split) of(d *observe.Workload) string {
	switch s.By {
	case "pod":
		return d.Pod
	case "workload":
		return d.Workload
	}
	return d.Version
}
