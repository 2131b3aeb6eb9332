package jwt

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/formatter"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/match"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// Namespace is where the filter puts what it tells into dynamic metadata.
const Namespace = "envoy.filters.http.jwt_authn"

// defaultSkew is clock_skew_seconds unless set.
const defaultSkew = 60

// provider is a compiled JwtProvider.
type provider struct {
	name, issuer string
	audiences    audiences
	subjects     *match.String
	needsExpiry  bool
	lifetime     *time.Duration // max_lifetime; nil: any
	keys         *Keys          // nil: there are none
	places       []place
	skew         uint64

	forward       bool
	payloadHeader string // lower case
	pad           bool
	payloadField  string // payload_in_metadata
	headerField   string
	failedField   string
	split         []string // space_delimited_claims
	claims        []claimHeader
	clearRoute    bool
}

type claimHeader struct {
	header string
	path   []string
}

// audiences are those of which a token must be for one; none asks for nothing.
type audiences []string

func (a audiences) allow(of []string) bool {
	if len(a) == 0 {
		return true
	}
	for _, x := range of {
		for _, y := range a {
			if plainAudience(x) == y {
				return true
			}
		}
	}
	return false
}

// plainAudience takes http:// or https:// and a slash at the end away
// (source/common/jwt/check_audience.cc).
func plainAudience(s string) string {
	if t, ok := strings.CutPrefix(s, "http://"); ok {
		s = t
	} else {
		s = strings.TrimPrefix(s, "https://")
	}
	return strings.TrimSuffix(s, "/")
}

// Request is one request on its way through the filter.
type Request struct {
	Head *wire.Head // changed
	Now  int64      // seconds since 1970
	// Told is what goes into the filter's namespace of dynamic metadata; nil for nothing.
	Told *structpb.Struct
	// ClearRoute says that the route is to be chosen anew.
	ClearRoute bool
}

func (r *Request) tell(name string, fields *structpb.Struct) {
	if r.Told == nil {
		r.Told = &structpb.Struct{Fields: map[string]*structpb.Value{}}
	}
	r.Told.Fields[name] = structpb.NewStructValue(fields)
}

// authenticator checks the tokens of some places (authenticator.cc).
type authenticator struct {
	filter       *Filter
	from         *extractor
	provider     *provider // nil: the one of a token's issuer
	audiences    audiences // instead of the provider's
	allowFailed  bool
	allowMissing bool
}

// verify looks at the tokens from the last to the first. All of them must be good, unless missing
// or failed ones are allowed: then the first one decides.
func (a *authenticator) verify(r *Request) Status {
	a.from.clean(r.Head)
	tokens := a.from.extract(r.Head)
	status, clear := OK, false
	if len(tokens) == 0 {
		status = Missing
		a.failed(r, nil, status)
	}
	for i := len(tokens) - 1; i >= 0; i-- {
		var p *provider
		if status, p = a.check(r, tokens[i], &clear); status == OK {
			continue
		}
		a.failed(r, p, status)
		if !a.allowFailed && !a.allowMissing {
			break
		}
	}
	r.ClearRoute = r.ClearRoute || clear
	if a.allowFailed || a.allowMissing && status == Missing {
		return OK
	}
	return status
}

// failed tells of a failure, if the provider wants that; without one, if there is only one.
func (a *authenticator) failed(r *Request, p *provider, s Status) {
	if p == nil && len(a.filter.providers) == 1 {
		p = a.filter.providers[0]
	}
	if p == nil || p.failedField == "" {
		return
	}
	r.tell(p.failedField, &structpb.Struct{Fields: map[string]*structpb.Value{
		"code":    structpb.NewNumberValue(float64(s)),
		"message": structpb.NewStringValue(s.String())}})
}

// check judges one token and tells what it says; the provider is that which judged.
func (a *authenticator) check(r *Request, c candidate, clear *bool) (Status, *provider) {
	p := a.provider
	t, status := Parse(c.text)
	if status != OK {
		return status, p
	}
	if !c.from.allows(t.Iss) {
		return UnknownIssuer, p
	}
	if p == nil {
		if p = a.filter.byIssuer(t.Iss); p == nil {
			return UnknownIssuer, nil
		}
	}
	if status = p.judge(t, uint64(r.Now), a.audiences); status != OK {
		return status, p
	}
	p.good(r, t, c.from, clear)
	return OK, p
}

func (p *provider) judge(t *Token, now uint64, own audiences) Status {
	if s := t.timely(now, p.skew); s != OK {
		return s
	}
	if own == nil {
		own = p.audiences
	}
	if !own.allow(t.Audiences) {
		return AudienceNotAllowed
	}
	if p.subjects != nil && !p.subjects.MatchText(t.Sub) || !p.lives(t, now) {
		return VerificationFails
	}
	if p.keys == nil {
		return NoValidKeys
	}
	return p.keys.Verify(t)
}

// lives says whether the token ends, and soon enough (jwks_cache.cc isLifetimeAllowed).
func (p *provider) lives(t *Token, now uint64) bool {
	switch {
	case p.lifetime == nil && !p.needsExpiry:
		return true
	case t.Exp == 0:
		return false
	}
	return p.lifetime == nil || float64(t.Exp)-float64(now) < p.lifetime.Seconds()
}

// good tells what a good token says (handleGoodJwt).
func (p *provider) good(r *Request, t *Token, from *place, clear *bool) {
	if p.payloadHeader != "" {
		text := t.PayloadText
		if p.pad {
			text += strings.Repeat("=", -len(text)&3)
		}
		r.Head.Add(p.payloadHeader, text)
	}
	added := false
	for _, c := range p.claims {
		if v := claimText(t.Payload, c.path); v != "" {
			r.Head.Add(c.header, v)
			added = true
		}
	}
	*clear = *clear || p.clearRoute && (added || p.payloadField != "")
	if !p.forward {
		from.remove(r.Head)
	}
	if p.headerField != "" {
		r.tell(p.headerField, t.Header)
	}
	if p.payloadField != "" {
		r.tell(p.payloadField, p.normalized(t.Payload))
	}
}

// normalized makes lists of the claims that are words between blanks.
func (p *provider) normalized(payload *structpb.Struct) *structpb.Struct {
	out := payload
	for _, name := range p.split {
		s, ok := payload.GetFields()[name].GetKind().(*structpb.Value_StringValue)
		if !ok {
			continue
		}
		var list []*structpb.Value
		for _, w := range strings.Split(s.StringValue, " ") {
			if w != "" {
				list = append(list, structpb.NewStringValue(w))
			}
		}
		if len(list) == 0 {
			continue
		}
		if out == payload {
			out = &structpb.Struct{Fields: map[string]*structpb.Value{}}
			for k, v := range payload.GetFields() {
				out.Fields[k] = v
			}
		}
		out.Fields[name] = structpb.NewListValue(&structpb.ListValue{Values: list})
	}
	return out
}

// claimText is a claim as a header tells it: empty for what has no text
// (authenticator.cc addJWTClaimToHeader).
func claimText(payload *structpb.Struct, path []string) string {
	v := payload.GetFields()[path[0]]
	for _, name := range path[1:] {
		v = v.GetStructValue().GetFields()[name]
	}
	switch k := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return k.StringValue
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(k.BoolValue)
	case *structpb.Value_NumberValue:
		f := k.NumberValue
		if f < 0 || f >= math.MaxUint64 || f != math.Trunc(f) {
			return strconv.FormatFloat(f, 'f', 6, 64)
		}
		return strconv.FormatUint(uint64(f), 10)
	case *structpb.Value_StructValue, *structpb.Value_ListValue:
		return base64.StdEncoding.EncodeToString(formatter.AppendValue(nil, v))
	}
	return ""
}
