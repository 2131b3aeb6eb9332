package model

import (
	"fmt"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// ejection is one host that one proxy does not send to for a while.
type ejection struct {
	what, by    string // as the change says it
	from, until clock.Instant
	times       int // how often it was, this one included
}

// Ejected is a host that a proxy does not send to for a while.
type Ejected struct {
	Service, Subset string
	Address, Pod    string
	By              string // the proxy
	Since           clock.Instant
	// Back is when it may return: the base time for each time that it was ejected. Envoy looks at
	// intervals, so that it may be later.
	Back  clock.Instant
	Times int
}

func (m *Model) ejected(c *observe.Change) {
	e := ejection{what: c.What, by: c.By, from: c.At, until: clock.Never, times: 1}
	for i := len(m.out) - 1; i >= 0; i-- {
		if x := &m.out[i]; x.what == c.What && x.by == c.By {
			e.times = x.times + 1
			break
		}
	}
	m.out = latest(append(m.out, e))
}

// broken adds what is out of order at a moment: hosts that are ejected, faults.
func (m *Model) broken(v *View, t clock.Instant) {
	for _, e := range m.out {
		if t < e.from || t >= e.until {
			continue
		}
		cluster, address, _ := strings.Cut(e.what, " ")
		subset, _ := subsetOf(cluster)
		x := Ejected{Service: serviceOf(cluster), Subset: subset, Address: address, By: e.by,
			Pod: m.pods[hostOf(address)], Since: e.from, Times: e.times}
		base := 30 * time.Second // Envoy's
		for _, l := range v.Config.Limits {
			if l.Service == x.Service && l.Ejection > 0 && (l.Subset == "" || l.Subset == subset) {
				base = l.Ejection
			}
		}
		x.Back = e.from.Add(time.Duration(e.times) * base)
		v.Out = append(v.Out, x)
	}
	for _, f := range m.faults {
		moment := f.Until == 0 && f.ID == 0
		if f.From > t || f.Until != 0 && f.Until <= t || moment || f.Skipped != "" {
			continue
		}
		v.Faults = append(v.Faults, Fault{Fault: f})
	}
	for _, x := range v.Config.Faults {
		f := Fault{Fault: observe.Fault{Kind: x.Kind, Target: x.Object, Unit: "requests"}}
		f.Istio = fmt.Sprintf("%s %.4g %% of %s", x.Kind, 100*x.Share, x.Service)
		flag := "DI"
		if x.Kind == "abort" {
			f.Istio += fmt.Sprintf(" with %d", x.Status)
			flag = "FI"
		} else {
			f.Istio += fmt.Sprintf(" by %v", x.Delay)
		}
		m.receipt(&f.Fault, flag, t)
		v.Faults = append(v.Faults, f)
	}
}

// receipt counts the requests that an Istio rule touched, among those that are remembered.
func (m *Model) receipt(f *observe.Fault, flag string, t clock.Instant) {
	kind, object, _ := strings.Cut(f.Target, " ")
	ns, name, _ := strings.Cut(object, "/")
	_ = kind // a VirtualService; nothing else injects faults
	config := "/namespaces/" + ns + "/virtual-service/" + name
	m.tap.newest(func(r *observe.Request, many int) bool {
		if r.Start > t || !HasFlag(r, flag) || !strings.HasSuffix(r.Config, config) {
			return true
		}
		f.Fired += int64(many)
		if many > 1 {
			f.Unit = "requests, about"
		}
		f.First = r.Start
		f.Last = max(f.Last, r.Start)
		return true
	})
}

// breakers tells how full each limit is.
func (m *Model) breakers(v *View, end int64) {
	over := m.over(end)
	seconds := float64(over) * Slot.Seconds()
	for _, l := range v.Config.Limits {
		b := Breaker{Limit: l}
		if l.Connections+l.Pending+l.Requests+l.Retries == 0 {
			continue
		}
		version := l.Subset
		for _, s := range v.Config.Splits {
			for _, p := range s.Parts {
				if s.Service == l.Service && p.Subset == l.Subset {
					version = p.Version
				}
			}
		}
		for _, e := range m.edges {
			if e.to != l.Service || e.mirror {
				continue
			}
			for _, t := range e.tracks {
				if l.Subset != "" && t.version != version && t.version != "" {
					continue
				}
				for number := end - over; number < end; number++ {
					if s := t.read(number); s != nil {
						b.Busy += float64(s.busy) / float64(time.Second) / seconds
						b.Refused += float64(s.over) / seconds
					}
				}
			}
		}
		v.Breakers = append(v.Breakers, b)
	}
}
