package engine

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
)

// compiler turns one resource into its compiled form and collects what is wrong with it.
type compiler struct {
	e    *Engine
	path []string
	errs []Refusal
}

// in enters a field of the resource; the result leaves it: defer c.in("name")().
func (c *compiler) in(field string) func() {
	c.path = append(c.path, field)
	return func() { c.path = c.path[:len(c.path)-1] }
}

func (c *compiler) at(field string, i int) func() {
	return c.in(field + "[" + strconv.Itoa(i) + "]")
}

// fail notes a fault of the field (which may be empty) where the compiler is.
func (c *compiler) fail(field, format string, args ...any) {
	at := strings.Join(c.path, ".")
	if field != "" && at != "" {
		at += "."
	}
	reason := format
	if len(args) > 0 {
		reason = fmt.Sprintf(format, args...)
	}
	c.errs = append(c.errs, Refusal{Field: at + field, Reason: reason})
}

// failAs notes an error that begins with the path of its field below prefix.
func (c *compiler) failAs(err error, prefix string) {
	field, reason, ok := strings.Cut(strings.TrimPrefix(err.Error(), prefix), ": ")
	if !ok {
		field, reason = "", err.Error()
	}
	c.fail(field, "%s", reason)
}

// notCarried refuses a value, or a kind of thing, that is not carried out.
func (c *compiler) notCarried(field, what string) { c.fail(field, "%s %s", what, notCarried) }

// duration converts a duration and refuses what Envoy calls an invalid one.
func (c *compiler) duration(field string, d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	if wrong := badDuration(d); wrong != "" {
		c.fail(field, "%s", wrong)
		return 0
	}
	return d.AsDuration()
}

// any unmarshals a typed_config into m and says whether it is one.
func (c *compiler) any(a *anypb.Any, m proto.Message) bool {
	if !a.MessageIs(m) {
		return false
	}
	if err := a.UnmarshalTo(m); err != nil {
		c.fail("typed_config", "%v", err)
		return false
	}
	return true
}

func (c *compiler) stringMatch(field string, m *matcherv3.StringMatcher) match.String {
	fold := m.GetIgnoreCase()
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return match.NewString(match.Exact, p.Exact, fold)
	case *matcherv3.StringMatcher_Prefix:
		return match.NewString(match.Prefix, p.Prefix, fold)
	case *matcherv3.StringMatcher_Suffix:
		return match.NewString(match.Suffix, p.Suffix, fold)
	case *matcherv3.StringMatcher_Contains:
		return match.NewString(match.Contains, p.Contains, fold)
	case *matcherv3.StringMatcher_SafeRegex:
		if fold {
			c.fail(field+".ignore_case", "ignore_case has no effect for safe_regex.")
		}
		return c.regex(field+".safe_regex", p.SafeRegex)
	}
	c.fail(field, "a match pattern is required")
	return match.String{}
}

func (c *compiler) regex(field string, m *matcherv3.RegexMatcher) match.String {
	s, err := match.NewRegex(m.GetRegex())
	if strings.Contains(m.GetRegex(), `\C`) && err != nil {
		c.fail(field+".regex", `\C (a byte) %s`, notCarried)
		return s
	}
	if m.GetRegex() == "" {
		c.fail(field+".regex", "value length must be at least 1 characters")
	}
	if err != nil {
		c.fail(field+".regex", "%v", err)
	}
	return s
}

func (c *compiler) headers(field string, list []*routev3.HeaderMatcher) []match.Header {
	out := make([]match.Header, 0, len(list))
	for i, m := range list {
		out = append(out, c.header(field+"["+strconv.Itoa(i)+"]", m))
	}
	return out
}

func (c *compiler) header(field string, m *routev3.HeaderMatcher) match.Header {
	h := match.Header{Name: strings.ToLower(m.GetName()), Invert: m.GetInvertMatch(),
		MissingEmpty: m.GetTreatMissingHeaderAsEmpty()}
	if h.Name == "" {
		c.fail(field+".name", "value length must be at least 1 characters")
		h.Name = "-"
	}
	if h.Name == "host" {
		h.Name = ":authority" // header_map_impl.cc maps the legacy name
	}
	switch s := m.GetHeaderMatchSpecifier().(type) {
	case nil:
		h.Present, h.Want = true, true
	case *routev3.HeaderMatcher_PresentMatch:
		h.Present, h.Want = true, s.PresentMatch
	case *routev3.HeaderMatcher_RangeMatch:
		h.Range, h.Start, h.End = true, s.RangeMatch.GetStart(), s.RangeMatch.GetEnd()
	case *routev3.HeaderMatcher_StringMatch:
		h.Value = c.stringMatch(field+".string_match", s.StringMatch)
	case *routev3.HeaderMatcher_ExactMatch:
		h.Value = match.NewString(match.Exact, s.ExactMatch, false)
	case *routev3.HeaderMatcher_PrefixMatch:
		h.Value = match.NewString(match.Prefix, s.PrefixMatch, false)
	case *routev3.HeaderMatcher_SuffixMatch:
		h.Value = match.NewString(match.Suffix, s.SuffixMatch, false)
	case *routev3.HeaderMatcher_ContainsMatch:
		h.Value = match.NewString(match.Contains, s.ContainsMatch, false)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		h.Value = c.regex(field+".safe_regex_match", s.SafeRegexMatch)
	}
	return h
}

// fraction is a FractionalPercent; the zero value never holds.
type fraction struct{ numerator, denominator uint64 }

// Envoy source/common/protobuf/utility.cc evaluateFractionalPercent: random % denominator <
// numerator.
func (f fraction) holds(rnd uint64) bool {
	return f.numerator != 0 && rnd%f.denominator < f.numerator
}

func fractionOf(p *typev3.FractionalPercent) fraction {
	f := fraction{numerator: uint64(p.GetNumerator()), denominator: 100}
	switch p.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		f.denominator = 10000
	case typev3.FractionalPercent_MILLION:
		f.denominator = 1000000
	}
	return f
}

func runtimeFraction(p *corev3.RuntimeFractionalPercent) fraction {
	return fractionOf(p.GetDefaultValue())
}

// The numbered draws of one request (clock.Draw). Route choice, weights and mirrors share the
// first, as they share the stream id in Envoy (conn_manager_impl.cc stream_id_): a mirror
// fraction and a weight are correlated there, and here.
const (
	drawStream uint8 = iota
	drawDelay
	drawAbort
	drawRequestIDHigh
	drawRequestIDLow
	drawCors
	drawOutlier
	drawMirror
	drawAuthz          // + the filter's place: the authorizer's endpoint
	drawRetry    = 16  // + attempt: back-off
	drawHost     = 96  // + attempt: load balancing
	drawStreamID = 238 // and the next: a TCP connection's id
	drawUnique   = 240 // and those behind: UNIQUE_ID
)

func draw(rnd uint64, k uint8, attempt int) uint64 {
	return clock.Draw(rnd, k+uint8(min(attempt, 79)))
}
