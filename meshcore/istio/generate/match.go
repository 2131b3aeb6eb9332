package generate

// Paths that prefixes, matches and rewrites share.
var (
	paths   = []string{"/", "/a", "/a/", "/a/b", "/A", "/status/200", "/x.y", "/a%20b"}
	regexes = []string{"/a.*", "/(a|b)/[0-9]+", ".*", "^/x$", "/[^/]*", "(?i)/a"}
	words   = []string{"1", "yes-it-is", "a b", "A", "v=1; w=2", "é"}
	names   = []string{"x-a", "x-b", "X-User", "cookie", "user-agent", "accept"}
)

// stringMatch draws exact, prefix or regex.
func (w *world) stringMatch(words, regexes []string) any {
	switch w.r.IntN(3) {
	case 0:
		return tree{"exact": pick(w.draw, words...)}
	case 1:
		return tree{"prefix": pick(w.draw, words...)}
	}
	return tree{"regex": pick(w.draw, regexes...)}
}

// value matches a header or parameter; {} is any value.
func (w *world) value() any {
	if w.chance(20) {
		return tree{}
	}
	return w.stringMatch(words, []string{".*", "[0-9]+", "^a.*b$", "(yes|no).*", ".+"})
}

// values are matches of some names.
func (w *world) values(names ...string) any {
	out := tree{}
	for _, n := range some(w.draw, names...) {
		out[n] = w.value()
	}
	return out
}

// match is one condition; prefixed keeps its path a prefix.
func (w *world) match(ns string, prefixed bool) tree {
	m := tree{}
	switch {
	case prefixed:
		w.fields(m, field{"uri", 60, func() any { return tree{"prefix": pick(w.draw, paths...)} }})
	default:
		w.fields(m, field{"uri", 60, func() any {
			return w.stringMatch(paths, regexes)
		}})
	}
	w.least(m,
		field{"headers", 25, func() any {
			return w.values(append([]string{":authority", ":method", ":path", ":scheme"},
				names...)...)
		}},
		field{"withoutHeaders", 15, func() any { return w.values(names...) }},
		field{"queryParams", 15, func() any { return w.values("q", "p", "Q") }},
		field{"method", 15, func() any {
			return w.stringMatch([]string{"GET", "POST", "P"}, []string{"GET|PUT", "P.*"})
		}},
		field{"scheme", 10, func() any {
			return w.stringMatch([]string{"http", "https"}, []string{"https?"})
		}},
		field{"authority", 10, func() any {
			return w.stringMatch([]string{"a", "a.shop", "shop.example.com:80"}, []string{"a.*",
				"[a-z.]+"})
		}},
		of(w.draw, "port", 10, 80, 8000, 9000),
		field{"sourceLabels", 10, func() any {
			return pick(w.draw, tree{"app": "client"}, tree{"app": "a", "version": "v1"},
				tree{"istio": "ingressgateway"})
		}},
		of(w.draw, "sourceNamespace", 10, "shop", "stock"),
		of(w.draw, "ignoreUriCase", 15, true, false),
		of(w.draw, "name", 10, "one", "two"),
		of(w.draw, "statPrefix", 5, "counted"),
	)
	if len(w.gateways) > 0 && w.chance(8) {
		m["gateways"] = list{pick(w.draw, "mesh", w.gatewayName(ns))}
	}
	return m
}
