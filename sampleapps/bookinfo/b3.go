package bookinfo

import (
	"net/http"
	"regexp"
	"strings"
)

var (
	traceID = regexp.MustCompile(`^([0-9a-fA-F]{16}|[0-9a-fA-F]{32})$`)
	spanID  = regexp.MustCompile(`^[0-9a-fA-F]{16}$`)
)

// reinject writes the B3 context of a request, where it has a valid one, as productpage's tracing
// library does: it reads one header or several, and writes several, with a trace id of 128 bits and
// without the parent's span.
func reinject(out, in http.Header) {
	trace, span := in.Get("x-b3-traceid"), in.Get("x-b3-spanid")
	sampled := in.Get("x-b3-sampled")
	if in.Get("x-b3-flags") == "1" {
		sampled = "d"
	}
	if one := strings.Split(in.Get("b3"), "-"); len(one) > 1 {
		trace, span, sampled = one[0], one[1], ""
		if len(one) > 2 {
			sampled = one[2]
		}
	}
	if !traceID.MatchString(trace) || !spanID.MatchString(span) {
		return
	}
	out.Set("x-b3-traceid", strings.Repeat("0", 32-len(trace))+strings.ToLower(trace))
	out.Set("x-b3-spanid", strings.ToLower(span))
	switch sampled {
	case "1", "d", "true", "True":
		out.Set("x-b3-sampled", "1")
	default:
		out.Set("x-b3-sampled", "0")
	}
}
