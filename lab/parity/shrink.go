package parity

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/mesh-lab/mesh-lab/lab/request"
)

// rounds bounds the shrinking of one request.
const rounds = 40

// shrink makes the finding's request as small as it can be while the same fact differs.
func (c *Checker) shrink(ctx context.Context, f *Finding) error {
	fact := subject(f.Differences)
	for range rounds {
		candidates := smaller(f.Smallest)
		if len(candidates) == 0 {
			return nil
		}
		a, b, err := c.Pair.ask(ctx, candidates)
		if err != nil {
			return err
		}
		i := -1
		for j := range candidates {
			if diff := c.compare(&a[j], &b[j]); subject(diff) == fact {
				i, f.Differences = j, diff
				break
			}
		}
		if i < 0 {
			return nil
		}
		f.Smallest = candidates[i]
	}
	return nil
}

// subject is the fact that a difference is about: what the client saw, if that differs.
func subject(d []Difference) string {
	for _, fact := range []string{"error", "status"} {
		for _, x := range d {
			if x.Fact == fact {
				return fact
			}
		}
	}
	if len(d) == 0 {
		return ""
	}
	return d[0].Fact
}

// smaller lists simpler requests, the simplest first.
func smaller(s request.Spec) []request.Spec {
	var out []request.Spec
	size := weight(s)
	try := func(change func(*request.Spec)) {
		t := s
		t.Headers = slices.Clone(s.Headers)
		change(&t)
		if _, err := url.Parse(t.URL); weight(t) < size && err == nil {
			out = append(out, t)
		}
	}
	try(func(t *request.Spec) { t.Headers, t.Body, t.Method = nil, "", "" })
	try(func(t *request.Spec) { t.Headers = nil })
	try(func(t *request.Spec) {
		t.Body, t.Method = "", ""
		t.Headers = slices.DeleteFunc(t.Headers, func(h string) bool {
			return strings.HasPrefix(h, "transfer-encoding") ||
				strings.HasPrefix(h, "content-length")
		})
	})
	for i := range s.Headers {
		try(func(t *request.Spec) { t.Headers = slices.Delete(t.Headers, i, i+1) })
	}
	try(func(t *request.Spec) { t.Method = "" })
	try(func(t *request.Spec) { t.Body = "" })
	try(func(t *request.Spec) { t.Body = t.Body[:len(t.Body)/2] })
	try(func(t *request.Spec) { t.Host = "" })
	try(func(t *request.Spec) { t.Connect = "" })
	base, target := divide(s.URL)
	for _, p := range shorter(target) {
		try(func(t *request.Spec) { t.URL = base + p })
	}
	for i, h := range s.Headers {
		name, value, _ := strings.Cut(h, ": ")
		if len(value) > 1 {
			try(func(t *request.Spec) { t.Headers[i] = name + ": " + value[:len(value)/2] })
			try(func(t *request.Spec) { t.Headers[i] = name + ": " + value[:len(value)-1] })
			try(func(t *request.Spec) { t.Headers[i] = name + ": " + value[1:] })
		}
	}
	return out
}

func weight(s request.Spec) int {
	b, err := json.Marshal(s)
	if err != nil {
		return 0
	}
	return len(b)
}

// divide splits a URL before its path.
func divide(u string) (base, target string) {
	i := strings.Index(u, "://") + len("://")
	if j := strings.IndexAny(u[i:], "/?#"); j >= 0 {
		return u[:i+j], u[i+j:]
	}
	return u, ""
}

// shorter lists shorter targets.
func shorter(target string) []string {
	out := []string{"/"}
	path, query, has := strings.Cut(target, "?")
	if has {
		out = append(out, path)
		parts := strings.Split(query, "&")
		for i := range parts {
			left := slices.Delete(slices.Clone(parts), i, i+1)
			out = append(out, path+"?"+strings.Join(left, "&"))
		}
		query = "?" + query
	}
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i := range segments {
		left := slices.Delete(slices.Clone(segments), i, i+1)
		out = append(out, "/"+strings.Join(left, "/")+query)
	}
	out = append(out, path[:len(path)/2]+query, target[:len(target)/2])
	for i := 1; i < len(path) && len(path) < 40; i++ {
		out = append(out, path[:i]+path[i+1:]+query)
	}
	for i := 1; i < len(query) && len(query) < 40; i++ {
		out = append(out, path+query[:i]+query[i+1:])
	}
	return slices.DeleteFunc(out, func(s string) bool { return !strings.HasPrefix(s, "/") })
}
