package assert

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// pct prints a share with as many digits as it needs: "90 %", "89.7 %", "0.04 %".
func pct(p float64) string { return decimals(100*p) + " %" }

// points prints the distance of two shares in points: "4.2".
func points(d float64) string { return decimals(100 * d) }

// span prints an interval of shares: "7.9–13.2 %".
func span(lo, hi float64) string { return decimals(100*lo) + "–" + decimals(100*hi) + " %" }

func decimals(x float64) string {
	digits := 1
	if a := math.Abs(x); a != 0 && a < 0.1 {
		digits = 2
	}
	s := strconv.FormatFloat(x, 'f', digits, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// count prints a number in groups of three: "2,150".
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// millis prints a duration for a reader: "1.1 ms", "2.5 s".
func millis(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2g s", d.Seconds())
	}
	ms := float64(d) / float64(time.Millisecond)
	if ms >= 100 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.2g ms", ms)
}
