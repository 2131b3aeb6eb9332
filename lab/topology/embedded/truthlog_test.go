package embedded_test

import (
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// podLogs keeps what the proxies of a case log, by pod.
type podLogs struct {
	mu    sync.Mutex
	lines map[string][]string
}

func (l *podLogs) take(pod string, line []byte) {
	name, _, _ := strings.Cut(pod, ".")
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		l.lines = map[string][]string{}
	}
	l.lines[name] = append(l.lines[name], strings.TrimSuffix(string(line), "\n"))
}

// logMasks hide what differs from run to run, and between hops with and without TLS: the recording
// masks times, ports and ids itself.
var logMasks = []struct {
	find *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`\[\d{4}-[^]]*\]`), "[<time>]"},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "<uuid>"},
	// Bytes sent (the echo's answer tells of TLS and of the pod), duration and service time.
	{regexp.MustCompile(`("-" 0) \d+ \d+ \d+ `), "$1 <bytes> <ms> <ms> "},
	{regexp.MustCompile(`(127\.0\.0\.6|10\.244\.0\.3):\d+`), "$1:<port>"},
}

// bound hides addresses: a real Envoy tells those that are really bound.
var bound = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+(:\d+|:<port>)?`)

func maskLine(s string, relocated bool) string {
	for _, m := range logMasks {
		s = m.find.ReplaceAllString(s, m.put)
	}
	if relocated {
		s = bound.ReplaceAllString(s, "<address>")
	}
	return s
}

// compare tells what differs from the recorded lines.
func (l *podLogs) compare(t *testing.T, want map[string][]string, relocated bool) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lines := range []map[string][]string{want, l.lines} {
		for pod := range lines {
			for i := range lines[pod] {
				lines[pod][i] = maskLine(lines[pod][i], relocated)
			}
		}
	}
	if diff := cmp.Diff(want, l.lines); diff != "" {
		t.Errorf("access logs (-recorded +ours):\n%s", diff)
	}
}
