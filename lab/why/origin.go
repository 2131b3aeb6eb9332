package why

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/trace"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// origins says where what was in force at a hop is written.
func (w *World) origins(t *trace.Trace, r *observe.Request) []Origin {
	o := originator{w: w, t: t}
	if w.InForce != nil {
		o.inForce = w.InForce(r.Proxy)
	}
	o.route()
	o.connection()
	o.cluster(r)
	for _, f := range t.Filters {
		o.policy(&f)
	}
	if r.Reporter == observe.Destination && !t.Outbound {
		o.mutualTLS(r)
	}
	o.listed("gateway", "server."+t.RouteTable)
	return o.out
}

type originator struct {
	w       *World
	t       *trace.Trace
	inForce map[string][]string
	out     []Origin
}

// listed notes the rules that are in force about something.
func (o *originator) listed(of, about string) (any bool) {
	for _, s := range o.inForce[about] {
		object, field := rule(s)
		any = o.add(of, object, field) || any
	}
	return any
}

// mutualTLS says why a sidecar takes plain text, or only TLS.
func (o *originator) mutualTLS(r *observe.Request) {
	found := o.inForce[fmt.Sprintf("mtls.%d", address(r.Local).Port())]
	if found == nil {
		found = o.inForce["mtls"]
	}
	out := Origin{Of: "mutual TLS", Note: "Istio's default"}
	if len(found) == 0 {
		return
	}
	if out.Value = found[0]; len(found) > 1 {
		out.Note, out.Object, out.Field = "", "", ""
		out.Object, out.Field = rule(found[1])
		out.Place, _ = o.w.Places.Of(out.Object, out.Field)
	}
	o.out = append(o.out, out)
}

// configPath takes metadata istio.config apart.
var configPath = regexp.MustCompile(`/namespaces/([^/]*)/virtual-service/([^/]*)$`)

// connection says which rule for connections made the filter chain that was taken.
func (o *originator) connection() {
	if o.t.RouteTable != "" {
		return
	}
	for _, c := range o.t.Chains {
		m := configPath.FindStringSubmatch(c.Config)
		if c.Failed != "" || m == nil {
			continue
		}
		object := "VirtualService " + m[1] + "/" + m[2]
		for _, section := range []string{"spec.tls", "spec.tcp"} {
			if _, written := o.w.Places.Of(object, section); !written {
				continue
			}
			if _, several := o.w.Places.Of(object, section+"[1]"); !several {
				section += "[0]"
			}
			o.add("connection rule", object, section)
		}
	}
}

// add notes a field, or its nearest parent that is written.
func (o *originator) add(of, object, field string) bool {
	place, _ := o.w.Places.Of(object, field)
	if place == "" {
		return false
	}
	o.out = append(o.out, Origin{Of: of, Object: object, Field: field, Place: place})
	return true
}

// either notes a field that is written, else whose default is in force.
func (o *originator) either(of, object, field, otherwise string) {
	if _, written := o.w.Places.Of(object, field); written && object != "" {
		o.add(of, object, field)
		return
	}
	o.out = append(o.out, Origin{Of: of, Note: otherwise})
}

// rule takes "VirtualService ns/name spec.http[0].match[1]" apart.
func rule(s string) (object, field string) {
	i := strings.LastIndexByte(s, ' ')
	if i < 0 {
		return "", ""
	}
	return s[:i], s[i+1:]
}

// httpRule finds the rule of a match: "spec.http[0]" of "spec.http[0].match[1]".
var httpRule = regexp.MustCompile(`^spec\.http\[\d+\]`)

func (o *originator) route() {
	r := o.t.Taken
	if r == nil {
		return
	}
	object, field := rule(r.Rule)
	base := httpRule.FindString(field)
	if object != "" {
		o.add("route", object, field)
	} else {
		o.out = append(o.out, Origin{Of: "route", Note: o.madeByIstio()})
	}
	if o.t.Limits != nil {
		o.limits(object, base)
	}
	for _, x := range []struct {
		of, field string
		when      bool
	}{
		{"split", ".route", o.t.Split != nil},
		{"fault", ".fault", o.filterDid("fault")},
		{"mirror", ".mirror", len(o.t.Mirrors) > 0},
		{"mirror", ".mirrors", len(o.t.Mirrors) > 0},
		{"rewrite", ".rewrite", len(o.t.Changes) > 0},
		{"headers", ".headers", len(o.t.Changes) > 0},
		{"CORS", ".corsPolicy", o.filterDid("cors")},
	} {
		if _, written := o.w.Places.Of(object, base+x.field); written && x.when && base != "" {
			o.add(x.of, object, base+x.field)
		}
	}
}

// madeByIstio says why there is a route that nobody wrote.
func (o *originator) madeByIstio() string {
	switch {
	case !o.t.Outbound:
		return "made by Istio for what comes in"
	case o.t.Host == "allow_any":
		return "made by Istio: no Service or ServiceEntry has this host, and " +
			"outboundTrafficPolicy is ALLOW_ANY"
	case o.t.Host == "block_all":
		return "made by Istio: no Service or ServiceEntry has this host, and " +
			"outboundTrafficPolicy is REGISTRY_ONLY"
	}
	return "made of the Service by Istio; no VirtualService rules here"
}

func (o *originator) filterDid(name string) bool {
	for _, f := range o.t.Filters {
		if strings.Contains(f.Name, name) && f.Did != "" {
			return true
		}
	}
	return false
}

// limits says where time-outs and retries are written.
func (o *originator) limits(object, base string) {
	l := o.t.Limits
	none := "none by Istio's default"
	if !o.t.Outbound {
		none = "none: a sidecar sets none for what comes in"
	}
	o.either("timeout", object, base+".timeout", none)
	switch {
	case l.Retries > 0 || l.RetryOn != "":
		whose := "Istio's default (meshConfig.defaultHttpRetryPolicy, else 2)"
		if !o.t.Outbound {
			whose = "Istio's default for what comes in"
		}
		o.either("retries", object, base+".retries", whose)
	default:
		o.either("retries", object, base+".retries", "none")
	}
}

// clusterParts takes a cluster's name apart: direction, port, subset, host.
func clusterParts(name string) (direction, port, subset, host string) {
	p := strings.SplitN(strings.TrimSuffix(name, "."), "|", 4)
	if len(p) != 4 {
		return name, "", "", ""
	}
	return p[0], p[1], p[2], p[3]
}

// cluster says where a cluster's subset and policy are written.
func (o *originator) cluster(r *observe.Request) {
	name := r.Cluster
	if n := len(o.t.Attempts); n > 0 && name == "" {
		name = o.t.Attempts[n-1].Cluster
	}
	direction, port, subset, host := clusterParts(name)
	if direction != "outbound" {
		return
	}
	defer o.upstreamTLS(r)
	object := o.destinationRule(host, subset)
	if object == "" {
		return
	}
	policies := []string{}
	if at := o.subset(object, subset); at != "" {
		o.add("subset", object, at)
		policies = append(policies, at+".trafficPolicy")
	}
	policies = append(policies, "spec.trafficPolicy")
	for _, x := range []struct{ of, field string }{
		{"balancing", "loadBalancer"}, {"circuit breaker", "connectionPool"},
		{"outlier detection", "outlierDetection"}, {"TLS", "tls"},
	} {
		for _, p := range policies {
			if at := o.atPort(object, p, port, x.field); at != "" {
				o.add(x.of, object, at)
				break
			}
			if _, written := o.w.Places.Of(object, p+"."+x.field); written {
				o.add(x.of, object, p+"."+x.field)
				break
			}
		}
	}
}

// upstreamTLS says whose default it is, where no DestinationRule says whether there is TLS.
func (o *originator) upstreamTLS(r *observe.Request) {
	for _, x := range o.out {
		if x.Of == "TLS" {
			return
		}
	}
	note := "auto mTLS, Istio's default: the host has a sidecar"
	if r.UpstreamTLS == "" {
		note = "auto mTLS, Istio's default: the host has no sidecar, or takes no TLS"
	}
	o.out = append(o.out, Origin{Of: "TLS", Note: note})
}

// most settings of one list that are looked at.
const mostListed = 64

// atPort is the field of a policy's settings for a port.
func (o *originator) atPort(object, policy, port, field string) string {
	for i := range mostListed {
		at := fmt.Sprintf("%s.portLevelSettings[%d]", policy, i)
		if _, written := o.w.Places.Of(object, at); !written {
			return ""
		}
		if o.w.value(object, at+".port.number") == port {
			if _, written := o.w.Places.Of(object, at+"."+field); written {
				return at + "." + field
			}
		}
	}
	return ""
}

// subset is the field of a subset.
func (o *originator) subset(object, name string) string {
	for i := range mostListed {
		at := fmt.Sprintf("spec.subsets[%d]", i)
		if _, written := o.w.Places.Of(object, at); !written || name == "" {
			return ""
		}
		if o.w.value(object, at+".name") == name {
			return at
		}
	}
	return ""
}

// destinationRule finds the rule for a host: the one that has the subset, else any.
func (o *originator) destinationRule(host, subset string) string {
	found := ""
	for object := range o.w.Places {
		if !strings.HasPrefix(object, "DestinationRule ") {
			continue
		}
		namespace, _, _ := strings.Cut(strings.TrimPrefix(object, "DestinationRule "), "/")
		h := o.w.value(object, "spec.host")
		if !strings.Contains(h, ".") && h != "*" {
			h += "." + namespace + ".svc.cluster.local"
		}
		if h != host && !(strings.HasPrefix(h, "*") && strings.HasSuffix(host, h[1:])) {
			continue
		}
		if o.subset(object, subset) != "" {
			return object
		}
		if found == "" || object < found {
			found = object
		}
	}
	return found
}

// policyName finds what istiod calls a rule of an AuthorizationPolicy.
var policyName = regexp.MustCompile(`ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(\d+)\]`)

func (o *originator) policy(f *trace.Filter) {
	switch {
	case strings.Contains(f.Name, "jwt"):
		o.listed("tokens", "tokens")
	case strings.Contains(f.Name, "rbac") && f.Policy == "":
		o.policies()
	}
	if m := policyName.FindStringSubmatch(f.Policy + " " + f.Did); m != nil {
		o.add("policy", "AuthorizationPolicy "+m[1]+"/"+m[2], "spec.rules["+m[3]+"]")
	}
}

// policies are those that were asked, once: where none of them decided, each had its say.
func (o *originator) policies() {
	for _, x := range o.out {
		if x.Of == "policies" {
			return
		}
	}
	o.listed("policies", "policies")
}

// words are Envoy's response flags (source/common/stream_info/utility.h).
var words = map[string]string{
	"UH": "no healthy host: the cluster has none, or all are ejected", "UF": "could not connect",
	"UO":  "overflow: a circuit breaker was full",
	"NR":  "no route: no virtual host, route or filter chain is for it",
	"URX": "retries, or attempts to connect, were used up", "NC": "no such cluster",
	"UT": "the upstream did not answer in time", "DC": "the client went away",
	"LH": "the host failed its health check", "LR": "this side reset the stream",
	"UR": "the upstream reset the stream", "UC": "the upstream closed the connection",
	"DI":   "delayed by fault injection",
	"FI":   "aborted by fault injection",
	"RL":   "the rate limit was reached",
	"UAEX": "refused by the external authorizer",
	"RLSE": "the rate limit service failed", "IH": "a header had an invalid value",
	"SI": "idle for too long", "DPE": "the client broke the protocol",
	"UPE": "the upstream broke the protocol", "UMSDR": "the stream took too long",
	"OM": "the overload manager ended it", "DF": "DNS failed", "DO": "an overload dropped it",
	"DT": "the connection lasted too long", "NFCF": "no filter configuration was there",
	"DR": "the client reset the stream",
}

// Words are a record's response flags in plain words, each with its flag in front.
func Words(r *observe.Request) []string {
	var out []string
	for _, f := range strings.Split(r.Flags, ",") {
		switch text := words[f]; {
		case f == "":
		case text == "":
			out = append(out, f)
		default:
			out = append(out, f+": "+text)
		}
	}
	switch {
	case r.Policy == "" || len(out) > 0:
	case r.Policy == "none":
		out = append(out, "refused: there are ALLOW policies, and none of their rules holds")
	default:
		out = append(out, "refused by policy "+r.Policy)
	}
	return out
}
