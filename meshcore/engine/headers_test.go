package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// Measured on Envoy 1.40 with repeated lines of every name: these are joined, others stay apart.
func TestJoinLines(t *testing.T) {
	for _, c := range []struct{ in, request, response string }{
		{"accept: a1; accept: b2", "accept: a1,b2", "accept: a1; accept: b2"},
		{"user-agent: x; x-a: 1; user-agent: y; user-agent: z", "user-agent: x,y,z; x-a: 1",
			"user-agent: x; x-a: 1; user-agent: y; user-agent: z"},
		{"x-a: 1; x-a: 2", "x-a: 1; x-a: 2", "x-a: 1; x-a: 2"},
		{"cookie: a=1; cookie: b=2", "cookie: a=1; cookie: b=2", "cookie: a=1; cookie: b=2"},
		{"etag: 1; set-cookie: a; set-cookie: b; etag: 2", "etag: 1; set-cookie: a; set-cookie: b; etag: 2",
			"etag: 1,2; set-cookie: a; set-cookie: b"},
		{"x-envoy-any: 1; x-envoy-any: 2", "x-envoy-any: 1; x-envoy-any: 2",
			"x-envoy-any: 1; x-envoy-any: 2"},
		{"x-envoy-retry-on: 5xx; x-envoy-retry-on: reset", "x-envoy-retry-on: 5xx,reset",
			"x-envoy-retry-on: 5xx; x-envoy-retry-on: reset"},
		{"x-envoy-degraded: 1; x-envoy-degraded: 2", "x-envoy-degraded: 1; x-envoy-degraded: 2",
			"x-envoy-degraded: 1,2"},
		{"te: ; te: a; te: ; te: b", "te: a,b", "te: ; te: a; te: ; te: b"},
		{"origin: a; origin: a", "origin: a,a", "origin: a; origin: a"},
	} {
		for _, side := range []struct {
			inline func(string) bool
			want   string
		}{{requestInline, c.request}, {responseInline, c.response}} {
			h := &wire.Head{}
			h.Reset()
			for line := range strings.SplitSeq(c.in, "; ") {
				name, value, _ := strings.Cut(line, ": ")
				h.Add(name, value)
			}
			joinLines(h, side.inline)
			var got []string
			for _, f := range h.Fields {
				got = append(got, fmt.Sprintf("%s: %s", f.Name, f.Value))
			}
			if s := strings.Join(got, "; "); s != side.want {
				t.Errorf("%s: got %s, want %s", c.in, s, side.want)
			}
		}
	}
}
