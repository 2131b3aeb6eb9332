package assert

import "reflect"

// Kind is one sort of expectation: its key in a scenario, and an empty one to be filled.
type Kind struct {
	Key   string
	About string
	New   func() Expectation
}

// Kinds is the table of all expectations. To add one, write its file and its line.
var Kinds = []Kind{
	{"split", "how requests to a service are shared out among its versions, workloads or pods",
		func() Expectation { return &Split{} }},
	{"success", "share of requests that are answered with 2xx or 3xx",
		func() Expectation { return &Success{} }},
	{"status", "shares or numbers of statuses",
		func() Expectation { return &Status{} }},
	{"flags", "shares or numbers of Envoy response flags",
		func() Expectation { return &Flags{} }},
	{"slower", "share of requests that take at least so long",
		func() Expectation { return &Slower{} }},
	{"faster", "share of requests that take less",
		func() Expectation { return &Faster{} }},
	{"count", "exact number of records",
		func() Expectation { return &Count{} }},
	{"never", "what must not be seen at all",
		func() Expectation { return &Never{} }},
	{"eventually", "what must be seen at least once",
		func() Expectation { return &Eventually{} }},
	{"share", "share of some requests of which something else was seen too, by request id",
		func() Expectation { return &Relation{} }},
	{"hidden", "failures that no client sees",
		func() Expectation { return &Hidden{} }},
	{"sticky", "one pod for each value of a header, cookie, query parameter or source",
		func() Expectation { return &Sticky{} }},
	{"scattered", "requests with one key meet several pods",
		func() Expectation { return &Scattered{} }},
	{"rotation", "strict round robin",
		func() Expectation { return &Rotation{} }},
	{"attempts", "tries for each request, as made or as they arrive",
		func() Expectation { return &Attempts{} }},
	{"overflow", "requests that a circuit breaker refuses, and accounts that agree",
		func() Expectation { return &Overflow{} }},
	{"ejected", "hosts that outlier detection takes out",
		func() Expectation { return &Ejected{} }},
	{"returned", "hosts that come back from ejection",
		func() Expectation { return &Returned{} }},
	{"mirrored", "share of requests that are copied",
		func() Expectation { return &Mirrored{} }},
	{"headers", "request headers that the destination sees",
		func() Expectation { return &Headers{} }},
	{"boundedRetries", "a failed call is tried again so often and no more",
		func() Expectation { return &BoundedRetries{} }},
	{"circuitBreaker", "what fails is no longer asked, and is again when it is healed",
		func() Expectation { return &CircuitBreaker{} }},
	{"timeouts", "calls end in time although the destination does not answer",
		func() Expectation { return &Timeouts{} }},
	{"bulkhead", "a slow neighbour does not take the healthy one down",
		func() Expectation { return &Bulkhead{} }},
	{"noneLost", "every request is answered, and every success is the destination's",
		func() Expectation { return &NoneLost{} }},
	{"answeredOnce", "no request is answered twice, whatever was tried again",
		func() Expectation { return &AnsweredOnce{} }},
	{"recovers", "success holds again soon after what was broken is healed",
		func() Expectation { return &Recovers{} }},
	{"unchanged", "requests fare as in an earlier step although something is away",
		func() Expectation { return &Unchanged{} }},
	{"p99", "a latency quantile: p50, p90, p99, p99.9, ...",
		func() Expectation { return &Quantile{Q: 0.99} }},
}

// New returns an empty expectation of a key.
func New(key string) (Expectation, bool) {
	if q, ok := quantile(key); ok {
		return q, true
	}
	for _, k := range Kinds {
		if k.Key == key {
			return k.New(), true
		}
	}
	return nil, false
}

// HeadersOf returns the request headers that records must keep for an expectation, lower-case. It
// finds them in the expectation itself and in every Where of it.
func HeadersOf(e Expectation) []string {
	if h, ok := e.(interface{ Headers() []string }); ok {
		return h.Headers()
	}
	var out []string
	v := reflect.ValueOf(e).Elem()
	for i := range v.NumField() {
		if w, ok := v.Field(i).Addr().Interface().(*Where); ok {
			out = append(out, w.Headers()...)
		}
	}
	return out
}
