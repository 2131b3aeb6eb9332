package outlier

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
)

// at is an instant in milliseconds.
func at(ms int) clock.Instant { return clock.Instant(time.Duration(ms) * time.Millisecond) }

func newDetector(t testing.TB, cfg Config, hosts int) (*Detector, []*Monitor) {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var ms []*Monitor
	for i := range hosts {
		ms = append(ms, d.Add(fmt.Sprint("h", i)))
	}
	return d, ms
}

// istio is what Istio makes of an outlierDetection block: success rates off, percentage as given.
func istio(change func(*Config)) Config {
	c := Default()
	c.EnforcingSuccessRate = 0
	c.MaxEjectionPercent = 100
	if change != nil {
		change(&c)
	}
	return c
}

func text(events []Event) string {
	var out []string
	for _, e := range events {
		s := fmt.Sprintf("%v %v", e.Kind, e.Monitor.Value)
		if e.Kind != Uneject {
			s += " " + e.Cause.String()
		}
		if e.Kind == Eject {
			s += fmt.Sprintf(" #%d for %v", e.Ejections, e.For)
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// TestConsecutive feeds results to the first of two hosts. A result is a status code, or t
// (timeout), f (connect failed), c (connected), or "sweep" after the ejection time.
func TestConsecutive(t *testing.T) {
	const eject5xx = "eject h0 CONSECUTIVE_5XX #1 for 30s"
	const ejectGateway = "eject h0 CONSECUTIVE_GATEWAY_FAILURE #1 for 30s"
	const ejectLocal = "eject h0 CONSECUTIVE_LOCAL_ORIGIN_FAILURE #1 for 30s"
	for _, c := range []struct {
		name    string
		change  func(*Config)
		results string
		want    string
	}{
		{"five", nil, "500 501 502 503 599", eject5xx},
		{"four", nil, "500 500 500 500", ""},
		{"interrupted", nil, "500 500 500 200 500 500 500 500", ""},
		{"404 is a success", nil, "500 500 500 500 404 500", ""},
		{"600 is none of it", nil, "600 600 600 600 600", ""},
		{"off", func(c *Config) { c.Consecutive5xx = 0 }, "500 500 500 500 500 500", ""},
		{"once only", nil, "500 500 500 500 500 500 500 500 500 500", eject5xx},
		{"gateway is not enforced unless asked", func(c *Config) { c.ConsecutiveGatewayFailure = 2 },
			"502 503", "unenforced h0 CONSECUTIVE_GATEWAY_FAILURE"},
		{"gateway", gateway, "502 504", ejectGateway},
		{"gateway first, then 5xx finds it out", func(c *Config) { gateway(c); c.Consecutive5xx = 2 },
			"502 504", ejectGateway},
		{"500 is no gateway error", gateway, "502 500 502 500", ""},
		{"local counts as 5xx", gateway, "f t", ejectGateway},
		{"connected says nothing yet", gateway, "f c t", ejectGateway},
		{"split", split, "f t", ejectLocal},
		{"split, connected in between", split, "f c f c f", ""},
		{"split, 503 is the host's own", split, "503 503 503 503", ""},
		{"split, statuses keep their counters", func(c *Config) { split(c); c.Consecutive5xx = 2 },
			"503 c 503", eject5xx},
		{"local counter is off without split",
			func(c *Config) { split(c); c.SplitLocalOriginErrors = false },
			"f f", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, ms := newDetector(t, istio(c.change), 2)
			var events []Event
			for i, r := range strings.Fields(c.results) {
				events = append(events, put(d, ms[0], r, at(i))...)
			}
			if got := text(events); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func gateway(c *Config) {
	c.ConsecutiveGatewayFailure, c.EnforcingConsecutiveGatewayFailure = 2, 100
}

func split(c *Config) { c.SplitLocalOriginErrors, c.ConsecutiveLocalOriginFailure = true, 2 }

func put(d *Detector, m *Monitor, result string, now clock.Instant) []Event {
	switch result {
	case "t":
		return d.PutResult(m, Put{Result: LocalOriginTimeout, Code: 504, Now: now})
	case "f":
		return d.PutResult(m, Put{Result: LocalOriginConnectFailed, Now: now})
	case "c":
		return d.PutResult(m, Put{Result: LocalOriginConnectSuccess, Now: now})
	}
	var code int
	if _, err := fmt.Sscan(result, &code); err != nil {
		panic(err)
	}
	return d.PutCode(m, code, now, 0)
}

// TestMaxEjectionPercent: the host to be ejected counts too.
func TestMaxEjectionPercent(t *testing.T) {
	for _, c := range []struct {
		hosts   int
		percent uint32
		always  bool
		want    int
	}{
		{2, 10, false, 0},
		{9, 10, false, 0},
		{10, 10, false, 1},
		{19, 10, false, 1},
		{20, 10, false, 2},
		{3, 33, false, 0}, // 33.3 % > 33 %
		{3, 34, false, 1},
		{3, 100, false, 3},
		{2, 10, true, 1},
		{2, 0, true, 1},
		{2, 0, false, 0},
	} {
		d, ms := newDetector(t, istio(func(cfg *Config) {
			cfg.Consecutive5xx, cfg.MaxEjectionPercent, cfg.AlwaysEjectOneHost = 1, c.percent, c.always
		}), c.hosts)
		ejected, overflow := 0, 0
		for _, m := range ms {
			for _, e := range d.PutCode(m, 503, 0, 0) {
				switch e.Kind {
				case Eject:
					ejected++
				case Overflow:
					overflow++
				}
			}
		}
		if ejected != c.want || overflow != c.hosts-c.want {
			t.Errorf("%+v: %d ejected, %d overflowed", c, ejected, overflow)
		}
	}
}

// TestRemovedHosts: an ejected host that leaves makes room; what it answers late is forgotten.
func TestRemovedHosts(t *testing.T) {
	half := func(c *Config) { c.Consecutive5xx, c.MaxEjectionPercent = 1, 50 }
	d, ms := newDetector(t, istio(half), 2)
	want := func(step, want string, events []Event) {
		t.Helper()
		if got := text(events); got != want {
			t.Errorf("%s: %q, want %q", step, got, want)
		}
	}
	want("first", "eject h0 CONSECUTIVE_5XX #1 for 30s", d.PutCode(ms[0], 500, 0, 0))
	want("second", "overflow h1 CONSECUTIVE_5XX", d.PutCode(ms[1], 500, 0, 0))
	d.Remove(ms[0])
	d.Remove(ms[0])
	want("late", "", d.PutCode(ms[0], 500, 0, 0))
	d.Add("h2")
	want("again", "eject h1 CONSECUTIVE_5XX #1 for 30s", d.PutCode(ms[1], 500, 0, 0))
	events, _ := d.Sweep(at(30000), 0)
	want("sweep", "uneject h1", events)
}

// TestTimeline: ejections last longer each time up to the maximum, end at sweeps only, and the time
// shrinks by one base for each whole interval in service.
func TestTimeline(t *testing.T) {
	d, ms := newDetector(t, istio(func(c *Config) {
		c.Consecutive5xx, c.Interval = 1, 10*time.Second
		c.BaseEjectionTime, c.MaxEjectionTime = 15*time.Second, 40*time.Second
	}), 1)
	var got []string
	now := 0
	note := func(events []Event) {
		for _, e := range events {
			s := fmt.Sprintf("%d %v", now/1000, e.Kind)
			if e.Kind == Eject {
				s += fmt.Sprint(" ", e.For)
			}
			got = append(got, s)
		}
	}
	fail := map[int]bool{0: true, 21: true, 52: true, 93: true, 181: true}
	for second := range 230 {
		now = second * 1000
		if second > 0 && second%10 == 0 {
			events, next := d.Sweep(at(now), 0)
			if next != at(now+10000) {
				t.Fatalf("next sweep at %v", next)
			}
			note(events)
		}
		if fail[second] {
			note(d.PutCode(ms[0], 500, at(now), 0))
		}
	}
	want := []string{
		"0 eject 15s", "20 uneject", // multiplier 1
		"21 eject 30s", "60 uneject", // multiplier 2; 52 came while it was out
		"93 eject 15s", // back since 60; sweeps at 70, 80 and 90 took the multiplier to 0
		"110 uneject",
		"181 eject 15s", "200 uneject",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}

	// Without a pause the time grows to the maximum and stays there.
	got = nil
	for second := 230; second < 500; second++ {
		now = second * 1000
		if second%10 == 0 {
			events, _ := d.Sweep(at(now), 0)
			note(events)
		}
		note(d.PutCode(ms[0], 500, at(now), 0))
	}
	want = []string{"230 eject 15s", "250 uneject", "250 eject 30s", "280 uneject", "280 eject 40s",
		"320 uneject", "320 eject 40s", "360 uneject", "360 eject 40s", "400 uneject", "400 eject 40s",
		"440 uneject", "440 eject 40s", "480 uneject", "480 eject 40s"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestUnejectClearsCounters: five more errors are needed, whatever came in while the host was out.
func TestUnejectClearsCounters(t *testing.T) {
	d, ms := newDetector(t, istio(nil), 1)
	for range 5 {
		d.PutCode(ms[0], 503, 0, 0)
	}
	for range 4 {
		d.PutCode(ms[0], 503, at(1), 0) // stragglers
	}
	if events, _ := d.Sweep(at(30000), 0); text(events) != "uneject h0" {
		t.Fatal(text(events))
	}
	for i := range 5 {
		if events := d.PutCode(ms[0], 503, at(30001), 0); (len(events) > 0) != (i == 4) {
			t.Errorf("error %d after the return: %s", i+1, text(events))
		}
	}
}

func TestEnforcingIsAShare(t *testing.T) {
	ejected := 0
	const n = 2000
	for i := range uint64(n) {
		d, ms := newDetector(t, istio(func(c *Config) {
			c.Consecutive5xx, c.EnforcingConsecutive5xx = 1, 30
		}), 1)
		for _, e := range d.PutCode(ms[0], 500, 0, clock.Mix(i)) {
			if e.Kind == Eject {
				ejected++
			}
		}
	}
	if ejected < 518 || ejected > 682 { // 600 and 4 standard deviations
		t.Errorf("%d of %d ejected, want 30 %%", ejected, n)
	}
}

func TestJitter(t *testing.T) {
	seen := map[time.Duration]int{}
	for i := range uint64(400) {
		d, ms := newDetector(t, istio(func(c *Config) {
			c.Consecutive5xx, c.MaxEjectionTimeJitter = 1, 3*time.Millisecond
		}), 1)
		seen[d.PutCode(ms[0], 500, 0, clock.Mix(i))[0].For]++
	}
	if len(seen) != 4 || seen[30*time.Second] == 0 || seen[30*time.Second+3*time.Millisecond] == 0 {
		t.Errorf("ejection times %v, want 30 s and up to 3 ms more", seen)
	}
}

// TestSuccessRate uses the example of successRateEjectionThreshold: 50, 100, 100, 100, 100 % give
// a mean of 90, a deviation of 20 and, with 1.9 deviations, a threshold of 52.
func TestSuccessRate(t *testing.T) {
	d, ms := newDetector(t, istio(func(c *Config) {
		c.Consecutive5xx, c.EnforcingSuccessRate = 0, 100
	}), 5)
	feed := func(m *Monitor, good, bad int) {
		for range good {
			d.PutCode(m, 200, 0, 0)
		}
		for range bad {
			d.PutCode(m, 500, 0, 0)
		}
	}
	feed(ms[0], 50, 50)
	for _, m := range ms[1:] {
		feed(m, 100, 0)
	}
	events, _ := d.Sweep(at(10000), 0)
	if text(events) != "eject h0 SUCCESS_RATE #1 for 30s" {
		t.Fatal(text(events))
	}
	if e := events[0]; e.SuccessRate != 50 || e.Average != 90 || e.Threshold != 52 {
		t.Errorf("rate %v, average %v, threshold %v", e.SuccessRate, e.Average, e.Threshold)
	}
	feed(ms[1], 0, 99) // too few requests
	for _, m := range ms[2:] {
		feed(m, 100, 0)
	}
	if events, _ = d.Sweep(at(20000), 0); text(events) != "" {
		t.Error("too few requests, too few hosts:", text(events))
	}
	if events, _ = d.Sweep(at(30000), 0); text(events) != "" {
		t.Error("an empty interval:", text(events))
	}
	if events, _ = d.Sweep(at(40000), 0); text(events) != "uneject h0" {
		t.Error(text(events))
	}
}

func TestFailurePercentage(t *testing.T) {
	d, ms := newDetector(t, istio(func(c *Config) {
		c.Consecutive5xx, c.EnforcingFailurePercentage = 0, 100
	}), 5)
	for i, m := range ms {
		for j := range 100 {
			code := 200
			if j < 83+i { // 83 ... 87 %
				code = 500
			}
			d.PutCode(m, code, 0, 0)
		}
	}
	events, _ := d.Sweep(at(10000), 0)
	want := "eject h2 FAILURE_PERCENTAGE #1 for 30s; eject h3 FAILURE_PERCENTAGE #1 for 30s; " +
		"eject h4 FAILURE_PERCENTAGE #1 for 30s"
	if text(events) != want {
		t.Errorf("got %q, want %q", text(events), want)
	}
}

func TestLocalSuccessRate(t *testing.T) {
	d, ms := newDetector(t, istio(func(c *Config) {
		c.SplitLocalOriginErrors, c.ConsecutiveLocalOriginFailure = true, 0
	}), 5)
	for i, m := range ms {
		for range 100 {
			put(d, m, map[bool]string{true: "f", false: "c"}[i == 3], 0)
		}
	}
	if events, _ := d.Sweep(at(10000), 0); text(events) !=
		"eject h3 SUCCESS_RATE_LOCAL_ORIGIN #1 for 30s" {
		t.Error(text(events))
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Interval = 0 }, "interval"},
		{func(c *Config) { c.BaseEjectionTime = 0 }, "base_ejection_time"},
		{func(c *Config) { c.MaxEjectionTime = time.Second }, "cannot be smaller"},
		{func(c *Config) { c.MaxEjectionPercent = 101 }, "max_ejection_percent: 101"},
	} {
		if _, err := New(istio(c.change)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	d, err := New(istio(func(c *Config) { c.BaseEjectionTime = 15 * time.Minute }))
	if err != nil || d.cfg.MaxEjectionTime != 15*time.Minute {
		t.Errorf("a long base is its own maximum: %v, %v", d.cfg.MaxEjectionTime, err)
	}
}

// TestAgainstHistory compares with a slow version that keeps every status and looks back.
func TestAgainstHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := rapid.IntRange(1, 6).Draw(t, "hosts")
		cfg := istio(nil)
		cfg.Consecutive5xx = rapid.Uint32Range(0, 4).Draw(t, "consecutive_5xx")
		cfg.MaxEjectionPercent = rapid.Uint32Range(0, 100).Draw(t, "max_ejection_percent")
		cfg.Interval, cfg.BaseEjectionTime = 10*time.Millisecond, 25*time.Millisecond
		d, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		type slow struct {
			m       *Monitor
			history []int
			out     bool
			since   int
			times   int
			back    int
		}
		all := make([]*slow, hosts)
		for i := range all {
			all[i] = &slow{m: d.Add(i), back: -1}
		}
		out := func() (n int) {
			for _, s := range all {
				if s.out {
					n++
				}
			}
			return n
		}
		for now := range rapid.IntRange(1, 300).Draw(t, "steps") {
			if now%10 == 9 {
				d.Sweep(at(now), 0)
				for _, s := range all {
					if s.out && now-s.since >= min(25*s.times, 300000) {
						s.out, s.history, s.back = false, nil, now
					}
				}
				for _, s := range all {
					if !s.out && s.back >= 0 && now-s.back >= 10 && s.times > 0 {
						s.times--
					}
				}
			}
			s := all[rapid.IntRange(0, hosts-1).Draw(t, "host")]
			code := rapid.SampledFrom([]int{200, 500, 500, 503}).Draw(t, "code")
			d.PutCode(s.m, code, at(now), 0)
			s.history = append(s.history, code)
			run := 0
			for i := len(s.history) - 1; i >= 0 && s.history[i] >= 500; i-- {
				run++
			}
			if run == int(cfg.Consecutive5xx) && run > 0 && !s.out {
				s.history = nil
				if float64(out()+1)*100/float64(hosts) <= float64(cfg.MaxEjectionPercent) {
					s.out, s.since = true, now
					s.times++
				}
			}
			for i, s := range all {
				if s.m.Ejected() != s.out {
					t.Fatalf("at %d host %d: ejected %v, want %v", now, i, s.m.Ejected(), s.out)
				}
			}
		}
	})
}

func TestSuccessAllocatesNothing(t *testing.T) {
	d, ms := newDetector(t, istio(nil), 3)
	if n := testing.AllocsPerRun(100, func() {
		d.PutResult(ms[0], Put{Result: LocalOriginConnectSuccess})
		d.PutCode(ms[0], 500, 0, 1)
		d.PutCode(ms[0], 200, 0, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	d, ms := newDetector(t, istio(func(c *Config) { c.MaxEjectionPercent = 50 }), 4)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 500 {
				d.PutCode(ms[(i+j)%4], 500+j%2*3, at(j), uint64(j))
			}
		})
	}
	wg.Go(func() {
		for j := range 50 {
			d.Sweep(at(j*1000), 0)
		}
	})
	wg.Wait()
	out := 0
	for _, m := range ms {
		if m.Ejected() {
			out++
		}
	}
	if out != d.ejected || out > 2 {
		t.Errorf("%d hosts are out, counted %d, at most 2 may be", out, d.ejected)
	}
}
