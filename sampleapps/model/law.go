package model

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Law is how long answers take: Quantile(u) is the time that a share u of them, 0 ≤ u < 1, does not
// take longer than. Its value at a uniform draw is a draw of the law.
type Law interface {
	Quantile(u float64) time.Duration
}

// ParseLaw reads a law: one time for all ("20ms"), a log-normal one by two of its quantiles
// ("p50=5ms p99=80ms"), or a histogram ("histogram: 1ms:50 5ms:45 100ms:5").
func ParseLaw(text string) (Law, error) {
	if buckets, ok := strings.CutPrefix(text, "histogram:"); ok {
		return parseHistogram(strings.Fields(buckets))
	}
	if strings.Contains(text, "=") {
		return parseLogNormal(strings.Fields(text))
	}
	d, err := duration(text)
	if err != nil {
		return nil, fmt.Errorf(`want "20ms", "p50=5ms p99=80ms" or "histogram: 1ms:50 100ms:5"`)
	}
	return Fixed(d), nil
}

// Fixed is one time for all.
type Fixed time.Duration

// Quantile returns that time.
func (f Fixed) Quantile(float64) time.Duration { return time.Duration(f) }

// LogNormal has a logarithm, of seconds, that is normal with this mean and standard deviation.
type LogNormal struct{ Mu, Sigma float64 }

// z99 is the 99th percentile of the standard normal law.
const z99 = 2.3263478740408408

// NewLogNormal returns the law with these quantiles: half of all answers take p50 or less, 99 of
// 100 p99 or less.
func NewLogNormal(p50, p99 time.Duration) LogNormal {
	mu := math.Log(p50.Seconds())
	return LogNormal{Mu: mu, Sigma: (math.Log(p99.Seconds()) - mu) / z99}
}

// Quantile is exp(μ + σ Φ⁻¹(u)), and never longer than Longest.
func (l LogNormal) Quantile(u float64) time.Duration {
	z := math.Sqrt2 * math.Erfinv(2*u-1) // -Inf for 0
	seconds := math.Exp(l.Mu + l.Sigma*z)
	return time.Duration(min(seconds, Longest.Seconds()) * float64(time.Second))
}

func parseLogNormal(fields []string) (Law, error) {
	at := map[string]time.Duration{}
	for _, f := range fields {
		name, text, _ := strings.Cut(f, "=")
		d, err := duration(text)
		if _, twice := at[name]; err != nil || twice || name != "p50" && name != "p99" {
			return nil, fmt.Errorf(`%q: want both quantiles, as in "p50=5ms p99=80ms"`, f)
		}
		at[name] = d
	}
	switch p50, p99 := at["p50"], at["p99"]; {
	case len(at) < 2:
		return nil, fmt.Errorf(`want both quantiles, as in "p50=5ms p99=80ms"`)
	case p50 == 0:
		return nil, fmt.Errorf("p50 must be longer than nothing")
	case p99 < p50:
		return nil, fmt.Errorf("p99 must not be shorter than p50")
	default:
		return NewLogNormal(p50, p99), nil
	}
}

// Histogram is a law by its buckets, in ascending order.
type Histogram []Bucket

// Bucket is a share of the answers, of all shares together, that take longer than the bucket before
// it says (the first: than nothing) and at most UpTo. Within it every time is as likely.
type Bucket struct {
	UpTo  time.Duration
	Share float64
}

// Quantile goes up the buckets until their shares reach u.
func (h Histogram) Quantile(u float64) time.Duration {
	total := 0.0
	for _, b := range h {
		total += b.Share
	}
	rest, from := u*total, time.Duration(0)
	for _, b := range h {
		if rest < b.Share {
			return from + time.Duration(rest/b.Share*float64(b.UpTo-from))
		}
		rest, from = rest-b.Share, b.UpTo
	}
	return from // rounding has left a little
}

func parseHistogram(fields []string) (Law, error) {
	var h Histogram
	total := 0.0
	for _, f := range fields {
		bound, share, _ := strings.Cut(f, ":")
		d, err := duration(bound)
		n, nerr := strconv.ParseFloat(share, 64)
		if err != nil || nerr != nil || !(n >= 0 && n <= most) {
			return nil, fmt.Errorf(`bucket %q: want TIME:SHARE, as in "1ms:50"`, f)
		}
		if len(h) > 0 && d <= h[len(h)-1].UpTo {
			return nil, fmt.Errorf("bucket %q: each must end later than the one before it", f)
		}
		h, total = append(h, Bucket{UpTo: d, Share: n}), total+n
	}
	if total == 0 {
		return nil, fmt.Errorf(`want buckets with shares, as in "histogram: 1ms:50 5ms:45 100ms:5"`)
	}
	return h, nil
}

// Shares are the answers that fail, by status.
type Shares []Share

// Share is a part, between 0 and 1, of all answers.
type Share struct {
	Status int
	Part   float64
}

// Status returns what a uniform draw, 0 ≤ u < 1, comes to; 0 is no failure.
func (s Shares) Status(u float64) int {
	for _, e := range s {
		if u < e.Part {
			return e.Status
		}
		u -= e.Part
	}
	return 0
}

// unavailable is the status of failures that name none.
const unavailable = 503

// ParseShares reads "5%", which is "503:5%", or some of the latter with spaces between.
func ParseShares(text string) (Shares, error) {
	var out Shares
	total := 0.0
	for _, f := range strings.Fields(text) {
		code, part, named := strings.Cut(f, ":")
		status, err := unavailable, error(nil)
		if named {
			status, err = strconv.Atoi(code)
		} else {
			part = f
		}
		digits, isPercent := strings.CutSuffix(part, "%")
		n, nerr := strconv.ParseFloat(digits, 64)
		if err != nil || nerr != nil || !isPercent || !(n >= 0 && n <= 100) {
			return nil, fmt.Errorf(`%q: want a share, "5%%", or one of a status, "503:5%%"`, f)
		}
		if status < 400 || status > 599 {
			return nil, fmt.Errorf("%q: a failure's status is 400 to 599", f)
		}
		for _, e := range out {
			if e.Status == status {
				return nil, fmt.Errorf("%q: status %d has a share already", f, status)
			}
		}
		out, total = append(out, Share{Status: status, Part: n / 100}), total+n
	}
	if total > 100 {
		return nil, fmt.Errorf("its shares are more than 100%%")
	}
	return out, nil
}
