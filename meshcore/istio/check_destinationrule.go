package istio

import (
	"math/big"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// destinationRule checks what istiod's webhook checks (pkg/config/validation/validation.go).
func (c *checker) destinationRule() {
	dr := c.object.Body.(*networkingv1alpha3.DestinationRule)
	if msg := wildcardDomain(dr.Host); msg != "" {
		c.errorf("spec.host", "%s", msg)
	}
	c.trafficPolicy("spec.trafficPolicy", dr.TrafficPolicy)
	names := map[string]int{}
	for i, s := range dr.Subsets {
		f := at("spec.subsets", i)
		if !istioLabel.MatchString(s.Name) {
			c.errorf(f+".name", "the name of a subset must be a DNS label: "+aLabel)
		}
		if first, twice := names[s.Name]; twice {
			c.errorf(f+".name", "duplicate subset names: subsets[%d] is %s as well", first, s.Name)
		} else {
			names[s.Name] = i
		}
		c.istioLabels(f+".labels", s.Labels)
		c.trafficPolicy(f+".trafficPolicy", s.TrafficPolicy)
	}
	c.exportTo("spec.exportTo", dr.ExportTo)
	if dr.WorkloadSelector != nil {
		c.workloadSelector(dr)
	}
}

// workloadSelector checks the selector of a rule for some clients only.
func (c *checker) workloadSelector(dr *networkingv1alpha3.DestinationRule) {
	labels := dr.WorkloadSelector.MatchLabels
	for _, key := range sortedNames(labels) {
		f := in("spec.workloadSelector.matchLabels", key)
		if key == "" || strings.Contains(key, "*") || strings.Contains(labels[key], "*") {
			c.errorf(f, "must be a label and its value; wildcards are not allowed")
		}
	}
	if len(labels) == 0 {
		c.warnf(
			"spec.workloadSelector",
			"has no labels, so it selects every workload of the namespace",
		)
	}
	for i, ns := range dr.ExportTo {
		if ns != "." && ns != c.object.Namespace {
			c.errorf(
				at("spec.exportTo", i),
				"a rule with a workloadSelector is for its own namespace only",
			)
		}
	}
}

// policy is what TrafficPolicy and PortTrafficPolicy share.
type policy interface {
	GetLoadBalancer() *networkingv1alpha3.LoadBalancerSettings
	GetConnectionPool() *networkingv1alpha3.ConnectionPoolSettings
	GetOutlierDetection() *networkingv1alpha3.OutlierDetection
	GetTls() *networkingv1alpha3.ClientTLSSettings
}

func (c *checker) trafficPolicy(field string, p *networkingv1alpha3.TrafficPolicy) {
	if p == nil {
		return
	}
	if emptyPolicy(p) && p.PortLevelSettings == nil && p.RetryBudget == nil {
		c.errorf(field, "must have at least one field")
	}
	c.policy(field, p)
	for i, port := range p.PortLevelSettings {
		f := at(field+".portLevelSettings", i)
		switch {
		case port.Port == nil:
			c.errorf(f+".port", "is required")
		default:
			c.port(f+".port.number", int64(port.Port.Number))
		}
		if emptyPolicy(port) {
			c.errorf(f, "must have at least one field besides port")
		}
		c.policy(f, port)
	}
	if v := p.RetryBudget.GetPercent().GetValue(); v < 0 || v > 100 {
		c.errorf(
			field+".retryBudget.percent",
			"percentage %v is out of range; must be from 0 to 100",
			v,
		)
	}
}

func emptyPolicy(p policy) bool {
	return p.GetLoadBalancer() == nil && p.GetConnectionPool() == nil &&
		p.GetOutlierDetection() == nil && p.GetTls() == nil
}

func (c *checker) policy(field string, p policy) {
	c.loadBalancer(field+".loadBalancer", p.GetLoadBalancer(), p.GetOutlierDetection() != nil)
	c.connectionPool(field+".connectionPool", p.GetConnectionPool())
	c.outlierDetection(field+".outlierDetection", p.GetOutlierDetection())
	c.clientTLS(field+".tls", p.GetTls())
}

func (c *checker) connectionPool(field string, p *networkingv1alpha3.ConnectionPoolSettings) {
	if p == nil {
		return
	}
	if p.Http == nil && p.Tcp == nil {
		c.errorf(field, "must have tcp, http or both")
	}
	notNegative := func(name string, v int32) {
		if v < 0 {
			c.errorf(field+name, "must not be negative")
		}
	}
	notNegative(".http.http1MaxPendingRequests", p.Http.GetHttp1MaxPendingRequests())
	notNegative(".http.http2MaxRequests", p.Http.GetHttp2MaxRequests())
	notNegative(".http.maxRequestsPerConnection", p.Http.GetMaxRequestsPerConnection())
	notNegative(".http.maxRetries", p.Http.GetMaxRetries())
	notNegative(".http.maxConcurrentStreams", p.Http.GetMaxConcurrentStreams())
	notNegative(".tcp.maxConnections", p.Tcp.GetMaxConnections())
	if k := p.Http.GetHttp2KeepAlive(); k != nil && (k.Interval == nil || k.Timeout == nil) {
		c.errorf(field+".http.http2KeepAlive", "must have both interval and timeout")
	}
}

func (c *checker) outlierDetection(field string, o *networkingv1alpha3.OutlierDetection) {
	if o == nil {
		return
	}
	if o.ConsecutiveErrors != 0 { //nolint:staticcheck // obsolete, but carried out
		c.warnf(field+".consecutiveErrors", "is obsolete; write consecutive5xxErrors or "+
			"consecutiveGatewayErrors")
	}
	if !o.SplitExternalLocalOriginErrors && o.ConsecutiveLocalOriginFailures.GetValue() > 0 {
		c.errorf(field+".consecutiveLocalOriginFailures",
			"counts only with splitExternalLocalOriginErrors: true")
	}
	percent := func(name string, v int32) {
		if v < 0 || v > 100 {
			c.errorf(field+name, "percentage %d is out of range; must be from 0 to 100", v)
		}
	}
	percent(".maxEjectionPercent", o.MaxEjectionPercent)
	percent(".minHealthPercent", o.MinHealthPercent)
	for i, code := range o.OutlierDetectionHttpErrorCodes {
		if code < 100 || code > 599 {
			c.errorf(at(field+".outlierDetectionHttpErrorCodes", i), "must be from 100 to 599")
		}
	}
}

func (c *checker) loadBalancer(
	field string, lb *networkingv1alpha3.LoadBalancerSettings, outliers bool,
) {
	if lb == nil {
		return
	}
	if lb.GetSimple() == networkingv1alpha3.LoadBalancerSettings_LEAST_CONN { //nolint:staticcheck
		c.warnf(field+".simple", "LEAST_CONN is obsolete; write LEAST_REQUEST")
	}
	if h := lb.GetConsistentHash(); h != nil {
		c.consistentHash(field+".consistentHash", h)
	}
	c.localities(field+".localityLbSetting", lb.LocalityLbSetting, outliers)
}

func (c *checker) consistentHash(
	field string, h *networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB,
) {
	if h.HashKey == nil {
		c.warnf(
			field,
			"has no key to hash: requests are spread as with RANDOM; give httpHeaderName, "+
				"httpCookie, useSourceIp or httpQueryParameterName",
		)
	}
	if name := h.GetHttpHeaderName(); name != "" && !headerName.MatchString(name) &&
		!slices.Contains(pseudoHeaders, name) {
		c.errorf(field+".httpHeaderName", "%q is not a valid name of a header", name)
	}
	cookie := h.GetHttpCookie()
	if cookie != nil && cookie.Name == "" {
		c.errorf(field+".httpCookie.name", "must not be empty")
	}
	seen := map[string]bool{}
	for i, a := range cookie.GetAttributes() {
		f := at(field+".httpCookie.attributes", i) + ".name"
		if a.Name == "" {
			c.errorf(f, "must not be empty")
		} else if seen[a.Name] {
			c.errorf(f, "is given twice: %s", a.Name)
		}
		seen[a.Name] = true
	}
	if h.MinimumRingSize != 0 { //nolint:staticcheck // obsolete, but carried out
		if h.HashAlgorithm != nil {
			c.errorf(field+".minimumRingSize", "cannot stand beside ringHash or maglev")
		} else {
			c.warnf(field+".minimumRingSize", "is obsolete; write ringHash: {minimumRingSize: ...}")
		}
	}
	if m := h.GetMaglev(); m != nil {
		const limit = 5_000_011 // Envoy's largest table
		prime := new(big.Int).SetUint64(m.TableSize).ProbablyPrime(0)
		if m.TableSize == 0 || m.TableSize >= limit || !prime {
			c.errorf(
				field+".maglev.tableSize",
				"%d must be a prime number below %d",
				m.TableSize,
				limit,
			)
		}
	}
}

// topologyLabels are what failover by region compares.
var topologyLabels = []string{
	"topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone",
}

// localities checks how requests are spread over localities.
func (c *checker) localities(
	field string, l *networkingv1alpha3.LocalityLoadBalancerSetting, outliers bool,
) {
	if l == nil {
		return
	}
	if len(l.Distribute) > 0 && len(l.Failover) > 0 {
		c.errorf(field+".failover", "cannot stand beside distribute")
		return
	}
	for i, label := range l.FailoverPriority {
		if len(l.Failover) > 0 && slices.Contains(topologyLabels, label) {
			c.errorf(at(field+".failoverPriority", i), "%s cannot stand beside failover", label)
		}
	}
	if len(l.Failover)+len(l.FailoverPriority) > 0 && !outliers {
		c.warnf(field, "failover does nothing without outlierDetection in the same policy")
	}
	var from []string
	for i, d := range l.Distribute {
		f := at(field+".distribute", i)
		from = append(from, d.From)
		total := uint64(0)
		for _, to := range sortedNames(d.To) {
			if w := d.To[to]; w < 1 || w > 100 {
				c.errorf(
					in(f+".to", to),
					"locality weight %d is out of range; must be from 1 to 100",
					w,
				)
			}
			total += uint64(d.To[to])
		}
		if total != 100 {
			c.errorf(f+".to", "total locality weight %d != 100", total)
		}
		c.overlaps(func(j int, locality string) string { return in(f+".to", locality) },
			sortedNames(d.To))
	}
	c.overlaps(func(j int, _ string) string { return at(field+".distribute", j) + ".from" }, from)
	for i, f := range l.Failover {
		c.failover(at(field+".failover", i), f)
	}
}

func (c *checker) failover(
	field string,
	f *networkingv1alpha3.LocalityLoadBalancerSetting_Failover,
) {
	if f.From == f.To {
		c.errorf(field+".to", "must be another region than from")
	}
	region := func(field, name string) {
		if strings.ContainsAny(name, "/*") {
			c.errorf(field, "%q must be a region alone, without zone or wildcard", name)
		}
	}
	region(field+".from", f.From)
	region(field+".to", f.To)
}

// overlaps checks region/zone/subzone patterns: a '*' at the end only, and none that covers
// another.
func (c *checker) overlaps(field func(int, string) string, localities []string) {
	var valid []string
	for i, l := range localities {
		f := field(i, l)
		if strings.Contains(strings.TrimSuffix(l, "*"), "*") {
			c.errorf(f, "locality %q may have one '*', at its end", l)
			continue
		}
		if slices.Contains(strings.SplitN(l, "/", 3), "") {
			c.errorf(f, "locality %q must not have an empty region, zone or subzone", l)
			continue
		}
		for _, other := range valid {
			if covers(other, l) || covers(l, other) {
				c.errorf(f, "locality %s overlaps with %s", l, other)
			}
		}
		valid = append(valid, l)
	}
}

// covers reports whether a pattern covers a locality: "region" and "region/*" cover all its zones.
func covers(pattern, locality string) bool {
	have := strings.SplitN(locality, "/", 3)
	for i, want := range strings.SplitN(pattern, "/", 3) {
		switch {
		case want == "*":
			return true
		case i >= len(have) || have[i] != want:
			return false
		}
	}
	return true
}
