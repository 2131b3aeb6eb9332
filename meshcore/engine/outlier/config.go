package outlier

import (
	"fmt"
	"strings"
	"time"
)

// Config is a Cluster's outlier_detection, every field given. Start from Default.
type Config struct {
	Interval               time.Duration
	BaseEjectionTime       time.Duration
	MaxEjectionTime        time.Duration // 0: max(300s, BaseEjectionTime)
	MaxEjectionTimeJitter  time.Duration
	MaxEjectionPercent     uint32
	AlwaysEjectOneHost     bool
	SplitLocalOriginErrors bool // split_external_local_origin_errors

	Consecutive5xx                uint32 // 0: off
	ConsecutiveGatewayFailure     uint32 // 0: off
	ConsecutiveLocalOriginFailure uint32 // 0: off; acts only when local errors are split

	// The enforcing percentages: how likely a detected outlier is ejected.
	EnforcingConsecutive5xx                uint32
	EnforcingConsecutiveGatewayFailure     uint32
	EnforcingConsecutiveLocalOriginFailure uint32
	EnforcingSuccessRate                   uint32
	EnforcingLocalOriginSuccessRate        uint32
	EnforcingFailurePercentage             uint32
	EnforcingFailurePercentageLocalOrigin  uint32

	SuccessRateMinimumHosts        uint32
	SuccessRateRequestVolume       uint32
	SuccessRateStdevFactor         uint32 // divided by 1000
	FailurePercentageThreshold     uint32
	FailurePercentageMinimumHosts  uint32
	FailurePercentageRequestVolume uint32
}

// Default returns Envoy's defaults (DetectorConfig in outlier_detection_impl.h).
func Default() Config {
	return Config{
		Interval:                               10 * time.Second,
		BaseEjectionTime:                       30 * time.Second,
		MaxEjectionPercent:                     10,
		Consecutive5xx:                         5,
		ConsecutiveGatewayFailure:              5,
		ConsecutiveLocalOriginFailure:          5,
		EnforcingConsecutive5xx:                100,
		EnforcingConsecutiveLocalOriginFailure: 100,
		EnforcingSuccessRate:                   100,
		EnforcingLocalOriginSuccessRate:        100,
		SuccessRateMinimumHosts:                5,
		SuccessRateRequestVolume:               100,
		SuccessRateStdevFactor:                 1900,
		FailurePercentageThreshold:             85,
		FailurePercentageMinimumHosts:          5,
		FailurePercentageRequestVolume:         50,
	}
}

// checked returns the configuration with what Envoy fills in, or says what Envoy would refuse.
func (c Config) checked() (Config, error) {
	for _, d := range []*time.Duration{
		&c.Interval, &c.BaseEjectionTime, &c.MaxEjectionTime, &c.MaxEjectionTimeJitter,
	} {
		*d = d.Truncate(time.Millisecond) // Envoy keeps milliseconds
	}
	switch {
	case c.Interval <= 0:
		return c, fmt.Errorf("outlier_detection.interval: %v; must be greater than 0", c.Interval)
	case c.BaseEjectionTime <= 0:
		return c, fmt.Errorf("outlier_detection.base_ejection_time: %v; must be greater than 0",
			c.BaseEjectionTime)
	}
	for _, p := range []struct {
		name  string
		value uint32
	}{
		{"max_ejection_percent", c.MaxEjectionPercent},
		{"enforcing_consecutive_5xx", c.EnforcingConsecutive5xx},
		{"enforcing_consecutive_gateway_failure", c.EnforcingConsecutiveGatewayFailure},
		{"enforcing_consecutive_local_origin_failure", c.EnforcingConsecutiveLocalOriginFailure},
		{"enforcing_success_rate", c.EnforcingSuccessRate},
		{"enforcing_local_origin_success_rate", c.EnforcingLocalOriginSuccessRate},
		{"enforcing_failure_percentage", c.EnforcingFailurePercentage},
		{"enforcing_failure_percentage_local_origin", c.EnforcingFailurePercentageLocalOrigin},
		{"failure_percentage_threshold", c.FailurePercentageThreshold},
	} {
		if p.value > 100 {
			return c, fmt.Errorf("outlier_detection.%s: %d; must be at most 100", p.name, p.value)
		}
	}
	if c.MaxEjectionTime == 0 {
		c.MaxEjectionTime = max(300*time.Second, c.BaseEjectionTime)
	}
	if c.MaxEjectionTime < c.BaseEjectionTime {
		return c, fmt.Errorf("outlier detector's max_ejection_time (%v) cannot be smaller than "+
			"base_ejection_time (%v)", c.MaxEjectionTime, c.BaseEjectionTime)
	}
	return c, nil
}

// enforcing returns the percentage that belongs to a cause.
func (c *Config) enforcing(cause Cause) uint32 {
	switch cause {
	case Consecutive5xx:
		return c.EnforcingConsecutive5xx
	case ConsecutiveGatewayFailure:
		return c.EnforcingConsecutiveGatewayFailure
	case SuccessRate:
		return c.EnforcingSuccessRate
	case ConsecutiveLocalOriginFailure:
		return c.EnforcingConsecutiveLocalOriginFailure
	case SuccessRateLocalOrigin:
		return c.EnforcingLocalOriginSuccessRate
	case FailurePercentage:
		return c.EnforcingFailurePercentage
	case FailurePercentageLocalOrigin:
		return c.EnforcingFailurePercentageLocalOrigin
	}
	panic("outlier: unknown cause")
}

// String says in words when hosts are ejected, and for how long.
func (c *Config) String() string {
	var when []string
	add := func(n, enforced uint32, what string) {
		if n > 0 && enforced > 0 {
			when = append(when, fmt.Sprintf("%d %s in a row", n, what))
		}
	}
	add(c.Consecutive5xx, c.EnforcingConsecutive5xx, "5xx")
	add(c.ConsecutiveGatewayFailure, c.EnforcingConsecutiveGatewayFailure, "gateway errors")
	if c.SplitLocalOriginErrors {
		add(c.ConsecutiveLocalOriginFailure, c.EnforcingConsecutiveLocalOriginFailure,
			"connection errors")
	}
	if len(when) == 0 {
		return "nobody is ejected for errors in a row"
	}
	return strings.Join(when, " or ") + fmt.Sprintf(": out for %s, at most %d%% of the hosts",
		c.BaseEjectionTime, c.MaxEjectionPercent)
}
