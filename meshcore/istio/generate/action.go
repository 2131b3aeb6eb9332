package generate

// redirect answers with another place. Only rules that match by prefix may rewrite the prefix.
func (w *world) redirect(prefixed bool) tree {
	fields := []field{
		of(w.draw, "authority", 40, "new.example.com", "new.example.com:8080"),
		of(w.draw, "scheme", 30, "http", "https"),
	}
	switch {
	case prefixed && w.chance(40):
		fields = append(fields, of(w.draw, "prefixRewrite", 80, paths...))
	default:
		fields = append(fields, of(w.draw, "uri", 60, "/new", "/", "new", "/new?q=1",
			"%PREFIX()%/x"))
	}
	r := w.least(tree{}, fields...)
	switch w.r.IntN(5) {
	case 0:
		r["port"] = pick(w.draw, 80, 8080, 443)
	case 1:
		r["derivePort"] = pick(w.draw, "FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT")
	}
	return w.fields(r, of(w.draw, "redirectCode", 60, 301, 302, 303, 307, 308))
}

// directResponse answers at once.
func (w *world) directResponse() tree {
	return w.fields(tree{"status": pick(w.draw, 200, 204, 304, 404, 418, 503, 599)},
		field{"body", 60, func() any {
			return pick(w.draw, tree{"string": "tea"}, tree{"bytes": "AAEC/w=="},
				tree{"string": "100% sure"},
				tree{"string": ""})
		}})
}

// rewrite changes path or authority.
func (w *world) rewrite() tree {
	r := tree{}
	switch w.r.IntN(3) {
	case 0:
		r["uri"] = pick(w.draw, paths...)
	case 1:
		r["uriRegexRewrite"] = tree{
			"match":   pick(w.draw, "/a/(.*)", "^/([^/]+)", "b", "(?i)a"),
			"rewrite": pick(w.draw, `/\1`, "/x", `\0`, "/y/"),
		}
		if w.chance(30) {
			r["uriRegexRewrite"] = tree{"match": "/", "rewrite": "//"}
		}
		if rewrite := r["uriRegexRewrite"].(tree); rewrite["rewrite"] == `/\1` {
			rewrite["match"] = "/a/(.*)" // an expression with a group
		}
	default:
		r["authority"] = "other.example.com"
	}
	return w.fields(r, of(w.draw, "authority", 20, "other.example.com", "host:8080"))
}

// retries asks again.
func (w *world) retries() tree {
	if w.chance(15) {
		return tree{"attempts": 0}
	}
	return w.fields(tree{"attempts": pick(w.draw, 1, 2, 3, 10)},
		field{"perTryTimeout", 30, w.duration},
		of(w.draw, "retryOn", 60, "5xx", "gateway-error,reset", "409,5xx", "retriable-4xx", "503",
			"connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
			"reset-before-request", "retriable-headers",
			"deadline-exceeded,internal,resource-exhausted",
			"envoy-ratelimited", "http3-post-connect-failure"),
		of(w.draw, "retryRemoteLocalities", 20, true, false),
		of(w.draw, "retryIgnorePreviousHosts", 20, true, false),
		of(w.draw, "backoff", 20, "1ms", "30ms", "2s"),
	)
}

// fault delays, aborts, or both.
func (w *world) fault() tree {
	return w.least(tree{},
		field{"delay", 50, func() any {
			d := tree{"fixedDelay": w.short()}
			if w.chance(30) {
				d["percent"] = pick(w.draw, 1, 50, 100)
				return d
			}
			return w.fields(d, field{"percentage", 90, w.percent})
		}},
		field{"abort", 50, func() any {
			a := tree{"httpStatus": pick(w.draw, 200, 404, 500, 503, 599)}
			if w.chance(30) {
				a = tree{"grpcStatus": pick(w.draw, "UNAVAILABLE", "OK", "NOT_FOUND", "DATA_LOSS")}
			}
			return w.fields(a, field{"percentage", 90, w.percent})
		}},
	)
}

// cors answers browsers of other origins.
func (w *world) cors() tree {
	return w.fields(tree{},
		field{"allowOrigins", 70, func() any {
			return someOf[any](w.draw, tree{"exact": "https://a.example.com"}, tree{"exact": "*"},
				tree{"prefix": "https://b."}, tree{"regex": "https://.*[.]example[.]com"})
		}},
		of[any](w.draw, "allowOrigin", 20, list{"https://old.example.com"}, list{"*"}),
		field{"allowMethods", 50, func() any {
			return someOf(w.draw, "GET", "PUT", "OPTIONS",
				"*")
		}},
		field{"allowHeaders", 40, func() any { return someOf(w.draw, "x-a", "Content-Type") }},
		field{"exposeHeaders", 40, func() any { return someOf(w.draw, "x-c", "Server") }},
		of(w.draw, "maxAge", 40, "24h", "1s", "1m30s"),
		of(w.draw, "allowCredentials", 40, true, false),
		of(w.draw, "unmatchedPreflights", 30, "FORWARD", "IGNORE", "UNSPECIFIED"),
	)
}

// headers changes headers of requests and responses. The authority may be set once only.
func (w *world) headers(authority bool) tree {
	return w.least(tree{},
		field{"request", 60, func() any {
			ops := w.operations()
			if authority && w.chance(20) {
				set, ok := ops["set"].(tree)
				if !ok {
					set = tree{}
					ops["set"] = set
				}
				set[pick(w.draw, "host", "Host", ":authority")] = "set.example.com"
			}
			return ops
		}},
		field{"response", 50, func() any { return w.operations() }},
	)
}

func (w *world) operations() tree {
	entries := func() any {
		out := tree{}
		for _, n := range some(w.draw, "x-set", "x-a", "X-Request-Id", "content-type",
			"x-envoy-any") {
			out[n] = pick(w.draw, "1", "", "a, b", "100%%", "%DOWNSTREAM_REMOTE_ADDRESS%",
				"%REQ(X-A?:PATH)%:12", "%PROTOCOL%", "%START_TIME%", "%UPSTREAM_HOST%",
				"%RESPONSE_CODE%", "%RESP(server)%", "%HOSTNAME%", "{a: b}")
		}
		return out
	}
	return w.least(tree{},
		field{"set", 50, entries},
		field{"add", 40, entries},
		field{"remove", 40, func() any {
			return someOf(w.draw, "x-gone", "Server", "accept",
				"x-a")
		}},
	)
}
