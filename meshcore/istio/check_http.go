package istio

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

var (
	headerName  = regexp.MustCompile("^[!#$%&'*+.^_`|~A-Za-z0-9-]+$")
	headerValue = regexp.MustCompile("^[^\x00-\x08\x0A-\x1F\x7F]*$")
)

// headers checks operations on request and response headers.
func (c *checker) headers(field string, h *networkingv1alpha3.Headers) {
	c.operations(field+".request", h.GetRequest(), true)
	c.operations(field+".response", h.GetResponse(), false)
}

func (c *checker) operations(
	field string, ops *networkingv1alpha3.Headers_HeaderOperations, request bool,
) {
	check := func(field string, entries map[string]string) {
		for _, name := range sortedNames(entries) {
			c.operation(in(field, name), name, request)
			c.headerValue(in(field, name), entries[name])
		}
	}
	check(field+".set", ops.GetSet())
	check(field+".add", ops.GetAdd())
	for i, name := range ops.GetRemove() {
		c.operation(at(field+".remove", i), name, false)
	}
}

// operation checks the name of a header that is set, added or removed. Only the authority of a
// request may be set under its special names.
func (c *checker) operation(field, name string, authority bool) {
	switch {
	case name == "":
		c.errorf(field, "the name of a header must not be empty")
	case authority && isAuthority(name):
	case strings.EqualFold(name, "host"):
		c.errorf(field, "the Host header can only be set in requests")
	case strings.HasPrefix(name, ":"):
		c.errorf(field, "%s is a pseudo header, which cannot be changed here", name)
	case !headerName.MatchString(name):
		c.errorf(field, "%q is not a valid name of a header", name)
	}
}

func isAuthority(name string) bool {
	return strings.EqualFold(name, ":authority") || strings.EqualFold(name, "host")
}

// headerValue checks a value with Envoy's %VARIABLES% (source/common/formatter: "%%" is a percent
// sign).
func (c *checker) headerValue(field, value string) {
	if !headerValue.MatchString(value) {
		c.errorf(field, "the value of a header must not contain control characters")
		return
	}
	for rest := value; ; {
		start := strings.IndexByte(rest, '%')
		if start < 0 {
			return
		}
		rest = rest[start+1:]
		if strings.HasPrefix(rest, "%") {
			rest = rest[1:]
			continue
		}
		end := variable(rest)
		if end < 0 {
			c.errorf(field, "the variable that begins with %q has no end; "+
				"write %%NAME%% or %%NAME(argument)%%, and %%%% for a percent sign", "%"+clip(rest))
			return
		}
		rest = rest[end:]
	}
}

// variable returns where NAME% or NAME(argument)% ends, or -1.
func variable(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '%':
			return i + 1
		case '(':
			end := argument(s[i+1:])
			if end < 0 {
				return -1
			}
			for i += end + 1; i < len(s) && s[i] == ' '; i++ {
			}
			if i < len(s) && s[i] == '%' {
				return i + 1
			}
			return -1
		}
	}
	return -1
}

// argument returns where the argument of a variable ends, its parenthesis included, or -1.
func argument(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ')':
			return i + 1
		}
	}
	return -1
}

// stringMatch checks exact, prefix and regex. An empty prefix is allowed for paths only: Envoy
// refuses it in other string matchers.
func (c *checker) stringMatch(field string, m *networkingv1alpha3.StringMatch, emptyPrefix bool) {
	switch t := m.GetMatchType().(type) {
	case *networkingv1alpha3.StringMatch_Prefix:
		if t.Prefix == "" && !emptyPrefix {
			c.errorf(field+".prefix", "must not be empty; without a prefix, any value matches {}")
		}
	case *networkingv1alpha3.StringMatch_Regex:
		c.regex(field+".regex", t.Regex)
	}
}

// regex checks a regular expression as Envoy's RE2 takes it.
func (c *checker) regex(field, re string) {
	const longest = 1024 // istiod refuses longer ones: Envoy limits the size of compiled programs
	switch {
	case re == "":
		c.errorf(field, "a regular expression must not be empty")
	case len(re) > longest:
		c.errorf(field, "a regular expression has at most %d characters, not %d", longest, len(re))
	default:
		if _, err := regexp.Compile(re); err != nil {
			msg := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
			c.errorf(
				field,
				"is no RE2 regular expression (no look-ahead, no back-references): %s",
				msg,
			)
		}
	}
}

// destination checks where a request is sent.
func (c *checker) destination(field string, d *networkingv1alpha3.Destination) {
	if d == nil {
		return
	}
	if d.Host == "*" {
		c.errorf(field+".host", "\"*\" is no destination")
	} else if msg := wildcardDomain(d.Host); msg != "" {
		c.errorf(field+".host", "%s", msg)
	}
	if d.Subset != "" && !istioLabel.MatchString(d.Subset) {
		c.errorf(field+".subset", "the name of a subset must be a DNS label: "+aLabel)
	}
	if d.Port != nil {
		c.port(field+".port.number", int64(d.Port.Number))
	}
}

// retries checks a retry policy.
func (c *checker) retries(field string, r *networkingv1alpha3.HTTPRetry) {
	if r == nil {
		return
	}
	if r.Attempts < 0 {
		c.errorf(field+".attempts", "must not be negative")
	}
	if r.Attempts == 0 &&
		(r.PerTryTimeout != nil || r.RetryOn != "" || r.RetryRemoteLocalities != nil) {
		c.errorf(
			field,
			"attempts is 0, which switches retries off; set attempts, or remove the rest",
		)
	}
	for policy := range strings.SplitSeq(r.RetryOn, ",") {
		if r.RetryOn != "" && !slices.Contains(retryPolicies, policy) && !statusCode(policy) {
			c.errorf(
				field+".retryOn",
				"%q is not a valid retryOn policy%s",
				policy,
				retryHint(policy),
			)
		}
	}
}

// retryPolicies are Envoy's (x-envoy-retry-on and x-envoy-retry-grpc-on).
var retryPolicies = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx",
	"refused-stream", "retriable-status-codes", "retriable-headers", "envoy-ratelimited",
	"http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal",
	"resource-exhausted", "unavailable",
}

func retryHint(policy string) string {
	if trimmed := strings.TrimSpace(policy); trimmed != policy {
		return "; the list has commas and no spaces"
	}
	if s := suggest(policy, retryPolicies); s != "" {
		return fmt.Sprintf("; did you mean %s?", s)
	}
	return "; must be a registered HTTP status, or one of " + strings.Join(retryPolicies, ", ")
}

// statusCode reports whether a word is an HTTP status that has a name in IANA's registry: istiod
// takes no other in retryOn.
func statusCode(word string) bool {
	if len(word) != 3 {
		return false
	}
	for _, r := range statusRanges {
		if r[0] <= word && word <= r[1] {
			return true
		}
	}
	return false
}

var statusRanges = [][2]string{
	{"100", "103"}, {"200", "208"}, {"226", "226"}, {"300", "305"}, {"307", "308"}, {"400", "418"},
	{"421", "426"}, {"428", "429"}, {"431", "431"}, {"451", "451"}, {"500", "508"}, {"510", "511"},
}

// cors checks a CORS policy.
func (c *checker) cors(field string, p *networkingv1alpha3.CorsPolicy) {
	for i, o := range p.GetAllowOrigins() {
		f := at(field+".allowOrigins", i)
		if o.GetExact() == "" && o.GetPrefix() == "" && o.GetRegex() == "" {
			c.errorf(f, "must have one of exact, prefix and regex, and not an empty one")
			continue
		}
		c.stringMatch(f, o, false)
	}
	for i, m := range p.GetAllowMethods() {
		if !slices.Contains(corsMethods, m) {
			c.errorf(at(field+".allowMethods", i), "%q is not an HTTP method; must be one of %s", m,
				strings.Join(corsMethods, ", "))
		}
	}
	names := func(field string, names []string) {
		for i, n := range names {
			if !headerName.MatchString(n) {
				c.errorf(at(field, i), "%q is not a valid name of a header", n)
			}
		}
	}
	names(field+".allowHeaders", p.GetAllowHeaders())
	names(field+".exposeHeaders", p.GetExposeHeaders())
	if age := p.GetMaxAge(); age != nil && age.AsDuration()%time.Second != 0 {
		c.errorf(field+".maxAge", "must be whole seconds")
	}
}

var corsMethods = []string{
	"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*",
}

// status checks the HTTP status of an answer that a proxy makes.
func (c *checker) status(field string, status int64) {
	if status < 200 || status > 599 {
		c.errorf(field, "HTTP status %d is out of range; must be from 200 to 599", status)
	}
}
