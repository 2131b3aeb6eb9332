package generate

// meshConfig sets what the whole mesh is told.
func (w *world) meshConfig() tree {
	exports := func() any {
		return pick(w.draw, list{"*"}, list{"."}, list{"shop", "stock"}, list{"*", "."})
	}
	m := w.least(tree{},
		of(w.draw, "connectTimeout", 25, "1ms", "3s", "1h"),
		of(w.draw, "protocolDetectionTimeout", 25, "0s", "2s", "100ms"),
		of(w.draw, "outboundTrafficPolicy", 25, tree{"mode": "REGISTRY_ONLY"},
			tree{"mode": "ALLOW_ANY"}),
		of(w.draw, "pathNormalization", 25, tree{"normalization": "NONE"},
			tree{"normalization": "BASE"},
			tree{"normalization": "DEFAULT"}, tree{"normalization": "MERGE_SLASHES"},
			tree{"normalization": "DECODE_AND_MERGE_SLASHES"}),
		field{"defaultServiceExportTo", 8, exports},
		field{"defaultVirtualServiceExportTo", 8, exports},
		field{"defaultDestinationRuleExportTo", 8, exports},
		field{"localityLbSetting", 15, func() any { return w.localities() }},
		field{"defaultHttpRetryPolicy", 15, func() any { return w.retries() }},
		field{"defaultTrafficPolicy", 20, func() any {
			return w.least(tree{},
				field{"connectionPool", 50, func() any { return w.connectionPool() }},
				field{"outlierDetection", 50, func() any { return w.outliers() }})
		}},
		field{"defaultConfig", 20, func() any {
			return tree{"proxyHeaders": w.least(tree{},
				of(w.draw, "attemptCount", 50, tree{"disabled": true}, tree{"disabled": false}),
				of(w.draw, "xForwardedHost", 50, tree{"enabled": true}, tree{"enabled": false}))}
		}},
		of(w.draw, "enableTracing", 5, true, false),
		of(w.draw, "accessLogFile", 10, "/dev/stdout"),
		of(w.draw, "accessLogFormat", 10, "%START_TIME% %REQ(:METHOD)% %RESPONSE_FLAGS%\n",
			"[%UPSTREAM_CLUSTER%] %PROTOCOL%\n"),
		of(w.draw, "accessLogEncoding", 10, "TEXT", "JSON"),
		of(w.draw, "disableEnvoyListenerLog", 10, true, false),
	)
	if w.chance(5) {
		w.root = "mesh-root"
		m["rootNamespace"] = w.root
	}
	return m
}
