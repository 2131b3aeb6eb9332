package match

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// Every row was measured with Envoy 1.40.
func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{
		"/": "/", "/a/../b": "/b", "//a//b": "//a//b", "/a/./b/../../../c": "/c", "/a/..": "/",
		"/a/.": "/a/", "/a/%2e%2E/b": "/b", "/..a/b": "/..a/b", "/a/...": "/a/...", "/%2e": "/",
		"/a%2": "/a%2", "/a%": "/a%", "/a%2gb": "/a%2gb", "/%zz/../x": "/x", `/a\..\b`: "/b",
		"/a/..;/b": "/b", "/a/..;x/b": "/b", "/a/.;x/b": "/a/b", "/a/b;c/d": "/a/b;c/d",
		"/a/..;": "/", "/a/%2e%2e;/b": "/a/..;/b", "/x;/..;/b": "/b", "/a;": "/a;", "/a/;/b": "/a/;/b",
		"/a/.;": "/a/", "/a/...;/b": "/a/...;/b", "/a/..%3b/b": "/a/..%3b/b", "/x/y/.;..": "/x/y/",
		"/a/%C3%A9": "/a/%C3%A9", "/a/.%2e/b": "/b", "/a//../b": "/a/b", "/..//a": "//a",
		"/.//a": "//a", "/a%25b%2541": "/a%25b%2541", "/a/%2e%2e%2fb": "/a/..%2fb",
		"/a/b/..%2f..%5c": "/a/b/..%2f..%5c", "/%73afe/a": "/safe/a", "/a%7eb": "/a~b",
		"/a^b{|}`<>\"": "/a%5Eb%7B%7C%7D%60%3C%3E%22", "/a%00b": "", "/a#b": "", "a": "",
	} {
		got, ok := Normalize(nil, []byte(in))
		if ok != (want != "") || string(got) != want {
			t.Errorf("%s: %q %v, want %q", in, got, ok, want)
		}
		if Clean([]byte(in)) && in != want {
			t.Errorf("%s is not clean", in)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/a/../b", "/%2e%2e;/x", `/\..//.`, "/a%4", "/.;/..;a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, ok := Normalize(nil, in)
		if !ok {
			return
		}
		if len(out) == 0 || out[0] != '/' {
			t.Fatalf("%q: %q does not begin with a slash", in, out)
		}
		for _, seg := range strings.Split(string(out), "/") {
			if seg == "." || seg == ".." {
				t.Fatalf("%q: %q has a dot segment", in, out)
			}
		}
		if bytes.IndexByte(out, '\\') >= 0 {
			t.Fatalf("%q: %q has a backslash", in, out)
		}
		if Clean(in) && !bytes.Equal(in, out) {
			t.Fatalf("%q is called clean but becomes %q", in, out)
		}
	})
}

// measured is what Envoy 1.40 answered for a matcher of x-d and lists of its values.
func TestHeader(t *testing.T) {
	str := func(k Kind, s string) Header { return Header{Value: NewString(k, s, false)} }
	re, err := NewRegex(`south.*north`)
	if err != nil {
		t.Fatal(err)
	}
	inverted := str(Exact, "north")
	inverted.Invert = true
	empty := inverted
	empty.MissingEmpty = true
	number := Header{Range: true, Start: 1, End: 10}
	lists := [][]string{nil, {""}, {"north"}, {"south", "north"}, {"5"}, {"50"}, {"+5"}}
	for name, row := range map[string]struct {
		m    Header
		want string // y or n for each list
	}{
		"exact":                 {str(Exact, "north"), "nnyynnn"},
		"exact inverted":        {inverted, "nynnyyy"},
		"inverted, empty":       {empty, "yynnyyy"},
		"prefix":                {str(Prefix, "no"), "nnyynnn"},
		"lines are not joined":  {str(Exact, "south,north"), "nnnnnnn"},
		"nor for regex":         {Header{Value: re}, "nnnnnnn"},
		"present":               {Header{Present: true, Want: true}, "nyyyyyy"},
		"absent":                {Header{Present: true}, "ynnnnnn"},
		"present inverted":      {Header{Present: true, Want: true, Invert: true}, "ynnnnnn"},
		"absent inverted":       {Header{Present: true, Invert: true}, "nyyyyyy"},
		"present, empty counts": {Header{Present: true, Want: true, MissingEmpty: true}, "yyyyyyy"},
		"range":                 {number, "nnnnyny"},
		"suffix":                {str(Suffix, "th"), "nnyynnn"},
		"contains, any case":    {Header{Value: NewString(Contains, "OR", true)}, "nnyynnn"},
	} {
		row.m.Name = "x-d"
		for i, values := range lists {
			h := &wire.Head{}
			for _, v := range values {
				h.Add("x-d", v)
			}
			if got := row.m.Match(h); got != (row.want[i] == 'y') {
				t.Errorf("%s %q: %v", name, values, got)
			}
		}
	}
}

func TestPath(t *testing.T) {
	for _, row := range []struct {
		p        Path
		yes, not string // separated by blanks
	}{
		{Path{Kind: PathPrefix, Want: []byte("/a")}, "/a /ab /a/b", "/A /b"},
		{Path{Kind: PathExact, Want: []byte("/a")}, "/a", "/a/ /A"},
		{Path{Kind: PathExact, Want: []byte("/a"), Fold: true}, "/a /A", "/a/"},
		{Path{Kind: PathSeparated, Want: []byte("/a/b")}, "/a/b /a/b/ /a/b/c", "/a/bc /a /A/b"},
	} {
		for _, s := range strings.Fields(row.yes) {
			if !row.p.Match([]byte(s)) {
				t.Errorf("%s does not match %s", row.p.Want, s)
			}
		}
		for _, s := range strings.Fields(row.not) {
			if row.p.Match([]byte(s)) {
				t.Errorf("%s matches %s", row.p.Want, s)
			}
		}
	}
}

func TestQuery(t *testing.T) {
	for target, want := range map[string]string{
		"/a?x=1&x=2": "1", "/a?y=1": "", "/a?x": "", "/a?x=%31": "%31", "/a?x=a=b": "a=b", "/a": "",
	} {
		if v, _ := Param([]byte(target), "x"); string(v) != want {
			t.Errorf("%s: %q", target, v)
		}
	}
}

// slow looks for the best domain without any index.
func slow(domains []string, host string) string {
	best, rank := "", -1
	for _, d := range domains {
		d = strings.ToLower(d)
		r := -1
		switch {
		case d == "*":
			r = 0
		case strings.HasPrefix(d, "*"):
			if len(host) > len(d)-1 && strings.HasSuffix(host, d[1:]) {
				r = 2000 + len(d)
			}
		case strings.HasSuffix(d, "*"):
			if len(host) > len(d)-1 && strings.HasPrefix(host, d[:len(d)-1]) {
				r = 1000 + len(d)
			}
		case d == host:
			r = 4000
		}
		if r > rank {
			best, rank = d, r
		}
	}
	return best
}

func FuzzMatch(f *testing.F) {
	f.Add("*,*.b.c,a.*,a.b.c,*c", "A.b.c")
	f.Add("*.com,*x.com", "x.com")
	f.Fuzz(func(t *testing.T, list, host string) {
		if len(list) > 500 || len(host) > 200 {
			return
		}
		for _, c := range list + host {
			if c > 127 {
				return
			}
		}
		var h Hosts[string]
		var taken []string
		for _, d := range strings.Split(list, ",") {
			if d != "" && h.Add(d, strings.ToLower(d)) == nil {
				taken = append(taken, d)
			}
		}
		h.Sort()
		got, _ := h.Find([]byte(host), make([]byte, 0, 256))
		if want := slow(taken, strings.ToLower(host)); got != want {
			t.Errorf("%q in %q: %q, want %q", host, taken, got, want)
		}
	})
}

func TestHostsRefusesDuplicates(t *testing.T) {
	var h Hosts[int]
	for _, d := range []string{"a.b", "*.b", "a.*", "*"} {
		if err := h.Add(d, 1); err != nil {
			t.Error(d, err)
		}
	}
	for _, d := range []string{"A.b", "*.b", "a.*"} {
		if err := h.Add(d, 1); err != ErrDuplicate {
			t.Error(d, err)
		}
	}
	if err := h.Add("*", 1); err != ErrWildcards {
		t.Error(err)
	}
}

func TestWithoutPort(t *testing.T) {
	for in, want := range map[string]string{"a:80": "a", "a": "a", "[::1]:80": "[::1]",
		"[::1]": "[::1]", "a:": "a", "a:b": "a"} {
		if got := WithoutPort([]byte(in)); string(got) != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
