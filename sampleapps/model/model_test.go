package model_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/sampleapps/model"
)

// TestRead reads variables that say something.
func TestRead(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		vars map[string]string
		want model.Model
	}{
		{nil, model.Model{Queue: model.Unbounded}},
		{map[string]string{"MESHLAB_LATENCY": "", "SLOW_MS": "x"}, model.Model{Queue: model.Unbounded}},
		{
			map[string]string{"MESHLAB_LATENCY": "20ms", "MESHLAB_ERRORS": "5%"},
			model.Model{
				Latency: model.Fixed(20 * ms), Errors: model.Shares{{503, 0.05}},
				Queue: model.Unbounded,
			},
		},
		{
			map[string]string{
				"MESHLAB_LATENCY": "p99=80ms  p50=5ms",
				"MESHLAB_ERRORS":  "503:5% 500:0.5%", "MESHLAB_CONCURRENCY": "4",
			},
			model.Model{
				Latency: model.NewLogNormal(5*ms, 80*ms), Concurrency: 4, Queue: model.Unbounded,
				Errors: model.Shares{{503, 0.05}, {500, 0.005}},
			},
		},
		{
			map[string]string{
				"MESHLAB_LATENCY": "histogram: 1ms:50 5ms:0 100ms:2.5", "MESHLAB_QUEUE": "0",
				"MESHLAB_CONCURRENCY": "1", "MESHLAB_STARTUP": "2s", "MESHLAB_READY_AFTER": "3s",
				"MESHLAB_READY": "true", "MESHLAB_REMEMBER": "1000",
			},
			model.Model{
				Latency:     model.Histogram{{1 * ms, 50}, {5 * ms, 0}, {100 * ms, 2.5}},
				Concurrency: 1, Startup: 2 * time.Second, ReadyAfter: 3 * time.Second, Remember: 1000,
			},
		},
		{
			map[string]string{"MESHLAB_STARTUP": "2s"},
			model.Model{
				Queue: model.Unbounded, Startup: 2 * time.Second, ReadyAfter: 2 * time.Second,
			},
		},
		{
			map[string]string{"MESHLAB_STARTUP": "2s", "MESHLAB_READY_AFTER": "0s"},
			model.Model{Queue: model.Unbounded, Startup: 2 * time.Second},
		},
		{
			map[string]string{"MESHLAB_READY": "false"},
			model.Model{Queue: model.Unbounded},
		},
	} {
		got, errs := model.Read(c.vars)
		if errs != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: %+v, %v; want %+v", c.vars, got, errs, c.want)
		}
	}
}

// TestReadRefuses reads what says nothing; the error names the variable and what would be right.
func TestReadRefuses(t *testing.T) {
	const laws = `want "20ms", "p50=5ms p99=80ms" or "histogram: 1ms:50 100ms:5"`
	const both = `want both quantiles, as in "p50=5ms p99=80ms"`
	for _, c := range []struct{ name, value, want string }{
		{"LATENCY", "20", laws},
		{"LATENCY", "-1ms", laws},
		{"LATENCY", "2h", laws},
		{"LATENCY", "p50=5ms", both},
		{"LATENCY", "p50=5ms p95=9ms", `"p95=9ms": ` + both},
		{"LATENCY", "p50=5ms p50=9ms", `"p50=9ms": ` + both},
		{"LATENCY", "p50=5 p99=9ms", `"p50=5": ` + both},
		{"LATENCY", "p50=5ms p99=4ms", "p99 must not be shorter than p50"},
		{"LATENCY", "p50=0s p99=4ms", "p50 must be longer than nothing"},
		{
			"LATENCY", "histogram:",
			`want buckets with shares, as in "histogram: 1ms:50 5ms:45 100ms:5"`,
		},
		{"LATENCY", "histogram: 1ms", `bucket "1ms": want TIME:SHARE, as in "1ms:50"`},
		{"LATENCY", "histogram: 1ms:-1", `bucket "1ms:-1": want TIME:SHARE, as in "1ms:50"`},
		{"LATENCY", "histogram: 1ms:NaN", `bucket "1ms:NaN": want TIME:SHARE, as in "1ms:50"`},
		{
			"LATENCY", "histogram: 5ms:1 5ms:2",
			`bucket "5ms:2": each must end later than the one before it`,
		},
		{"ERRORS", "0.05", `"0.05": want a share, "5%", or one of a status, "503:5%"`},
		{"ERRORS", "101%", `"101%": want a share, "5%", or one of a status, "503:5%"`},
		{"ERRORS", "x:5%", `"x:5%": want a share, "5%", or one of a status, "503:5%"`},
		{"ERRORS", "200:5%", `"200:5%": a failure's status is 400 to 599`},
		{"ERRORS", "5% 503:5%", `"503:5%": status 503 has a share already`},
		{"ERRORS", "500:60% 503:41%", "its shares are more than 100%"},
		{"CONCURRENCY", "0", "want a whole number from 1 to 1000000"},
		{"CONCURRENCY", "4.5", "want a whole number from 1 to 1000000"},
		{"QUEUE", "5", "nothing waits without MESHLAB_CONCURRENCY"},
		{"STARTUP", "2", "want a time up to 1h, written as 20ms or 1.5s"},
		{"READY_AFTER", "-2s", "want a time up to 1h, written as 20ms or 1.5s"},
		{"READY", "maybe", "want true or false"},
		{"REMEMBER", "all", "want a whole number from 1 to 1000000"},
	} {
		name := "MESHLAB_" + c.name
		_, errs := model.Read(map[string]string{name: c.value})
		if len(errs) != 1 {
			t.Errorf("%s = %q: %v, want one problem", name, c.value, errs)
			continue
		}
		var p *model.Problem
		if !errors.As(errs[0], &p) || p.Name != name || p.Value != c.value || p.Msg != c.want {
			t.Errorf("%s = %q:\n got %v\nwant %s", name, c.value, errs[0], c.want)
		}
	}
	_, errs := model.Read(map[string]string{
		"MESHLAB_READY": "false", "MESHLAB_READY_AFTER": "1s", "MESHLAB_QUEUE": "x",
		"MESHLAB_CONCURRENCY": "1",
	})
	if len(errs) != 2 {
		t.Errorf("two problems: %v", errs)
	}
	if errs := model.Unknown(map[string]string{
		"MESHLAB_LATENCEY": "1s", "MESHLAB_ERRORS": "", "LATENCY": "",
	}); len(errs) != 1 {
		t.Errorf("one unknown name: %v", errs)
	}
}

// TestQuantiles holds laws to their definitions.
func TestQuantiles(t *testing.T) {
	for _, c := range []struct {
		law  string
		u    float64
		want time.Duration
	}{
		{"20ms", 0, 20 * time.Millisecond},
		{"20ms", 0.999, 20 * time.Millisecond},
		{"p50=5ms p99=80ms", 0, 0},
		{"p50=5ms p99=80ms", 0.5, 5 * time.Millisecond},
		{"p50=5ms p99=80ms", 0.99, 80 * time.Millisecond},
		// 5 ms × 16^(Φ⁻¹(0.9)/Φ⁻¹(0.99)), with Φ⁻¹(0.9) = 1.2815515655
		{"p50=5ms p99=80ms", 0.9, 23_031_373},
		{"p50=5ms p99=5ms", 0.999, 5 * time.Millisecond},
		{"p50=30m p99=1h", 0.999999, time.Hour},
		{"histogram: 1ms:50 5ms:45 100ms:5", 0, 0},
		{"histogram: 1ms:50 5ms:45 100ms:5", 0.25, 500 * time.Microsecond},
		{"histogram: 1ms:50 5ms:45 100ms:5", 0.5, 1 * time.Millisecond},
		{"histogram: 1ms:50 5ms:45 100ms:5", 0.725, 3 * time.Millisecond},
		{"histogram: 1ms:50 5ms:45 100ms:5", 0.95, 5 * time.Millisecond},
		{"histogram: 1ms:50 5ms:45 100ms:5", 0.975, 52_500 * time.Microsecond},
		{"histogram: 1ms:0 2ms:1", 0, 1 * time.Millisecond},
	} {
		law, err := model.ParseLaw(c.law)
		if err != nil {
			t.Fatal(err)
		}
		if got := law.Quantile(c.u); (got - c.want).Abs() > time.Microsecond {
			t.Errorf("%s: quantile %v is %v, want %v", c.law, c.u, got, c.want)
		}
	}
}

// TestDraws draws from laws and shares, always the same draws: no run differs from another. What is
// counted is binomial; the bound of five standard deviations is missed by one seed in a million.
func TestDraws(t *testing.T) {
	const n = 100_000
	near := func(what string, count int, p float64) {
		t.Helper()
		if sd := math.Sqrt(n * p * (1 - p)); math.Abs(float64(count)-n*p) > 5*sd {
			t.Errorf("%s: %d of %d, want %v of all", what, count, n, p)
		}
	}
	draws := func() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }
	for _, text := range []string{"p50=5ms p99=80ms", "histogram: 1ms:50 5ms:49 80ms:1"} {
		law, err := model.ParseLaw(text)
		if err != nil {
			t.Fatal(err)
		}
		r, below5, below80 := draws(), 0, 0
		for range n {
			d := law.Quantile(r.Float64())
			if d <= 5*time.Millisecond {
				below5++
			}
			if d <= 80*time.Millisecond {
				below80++
			}
		}
		if text[0] == 'p' {
			near(text+" up to p50", below5, 0.5)
			near(text+" up to p99", below80, 0.99)
		} else {
			near(text+" up to 5ms", below5, 0.99)
			near(text+" up to 80ms", below80, 1)
		}
	}
	shares, err := model.ParseShares("503:5% 500:1%")
	if err != nil {
		t.Fatal(err)
	}
	seen, r := map[int]int{}, draws()
	for range n {
		seen[shares.Status(r.Float64())]++
	}
	near("503", seen[503], 0.05)
	near("500", seen[500], 0.01)
	near("no failure", seen[0], 0.94)
}
