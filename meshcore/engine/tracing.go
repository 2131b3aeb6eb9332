package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/rbac"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/trace"
	"github.com/mesh-lab/mesh-lab/meshcore/wire"
)

// Trace has what begins from now on traced, until f is nil. f gets each trace when its exchange has
// ended, before the driver records it; it is called from many goroutines. A trace costs memory and
// time; without f an exchange asks once whether there is one.
func (e *Engine) Trace(f func(*trace.Trace)) {
	if f == nil {
		e.tracer.Store(nil)
		return
	}
	e.tracer.Store(&f)
}

// Eject has a host of a cluster be ejected, or not any more, as outlier detection does; nothing
// when there is none. It is for who decides again what was decided then.
func (e *Engine) Eject(cluster, address string, out bool, now clock.Instant) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.clusterSlot(cluster).Load()
	if c == nil || c.balancer == nil {
		return
	}
	c.mu.Lock()
	for _, ep := range c.hosts {
		if ep.host.Address == address {
			ep.host.Ejected.Store(out)
		}
	}
	c.mu.Unlock()
	c.refreshed(c.balancer.Refresh(now))
}

// traceBegin begins the trace of an exchange and tells which filter chains were looked at.
func (x *Exchange) traceBegin(f *func(*trace.Trace)) {
	l := x.listener
	x.traced, x.tr = f, &trace.Trace{Listener: l.Name, Outbound: l.Outbound, Chain: x.chain.Name}
	failed := map[*Chain]string{}
	l.chain(x.ci, func(criterion string, left []*Chain) {
		for _, c := range l.chains {
			if failed[c] == "" && !slices.Contains(left, c) {
				failed[c] = criterion + ": " + x.seen(criterion)
			}
		}
	})
	taken := false
	for _, c := range l.chains {
		why := failed[c]
		switch {
		case c == x.chain:
			why, taken = "", true
		case why == "":
			why = "another is before it"
		}
		x.tr.Chains = append(x.tr.Chains, trace.Chain{Name: c.Name, Config: configOf(c.metadata),
			Wants: c.match.text(), Failed: why})
	}
	if l.fallback != nil {
		out := trace.Chain{Name: l.fallback.Name, Wants: "whatever no other takes"}
		if taken {
			out.Failed = "another takes it"
		}
		x.tr.Chains = append(x.tr.Chains, out)
	}
}

// traceHost notes the virtual host, nil for none; the routes of an earlier search are forgotten.
func (x *Exchange) traceHost(rc *routeConfig, v *vhost, host []byte) {
	t := x.tr
	t.RouteTable, t.Authority = rc.name, string(host)
	t.Domain, t.Routes, t.Taken, t.Host, t.Split = rc.hosts.Domain(host), nil, nil, "", nil
	if v != nil {
		t.Host = v.name
	}
}

// traceRoute notes a route that was tried.
func (x *Exchange) traceRoute(r *route, missed condition, h *wire.Head) {
	out := trace.Route{Name: r.name, Config: r.config, Rule: ruleOf(r.metadata),
		Wants: r.text(), Failed: r.failed(missed, x, h), Leads: r.leads()}
	x.tr.Routes = append(x.tr.Routes, out)
	if missed.kind == fits {
		x.tr.Taken = &out
	}
}

// traceSplit notes the choice of a cluster.
func (x *Exchange) traceSplit(a *action, n uint64, by string) {
	if len(a.targets) < 2 {
		return
	}
	if by == "header" {
		by += " " + a.drawHeader
	}
	s := &trace.Split{Draw: n % a.total, Total: a.total, By: by}
	from := uint64(0)
	for i := range a.targets {
		t := &a.targets[i]
		s.Options = append(s.Options, trace.Option{Cluster: t.name, Weight: t.weight, From: from})
		from += t.weight
		if x.target == t {
			s.Chosen = i
		}
	}
	x.tr.Split = s
}

// traceFilter begins the entry of a filter.
func (x *Exchange) traceFilter(name string) {
	x.tr.Filters = append(x.tr.Filters, trace.Filter{Name: name})
}

// passed says that a filter let a request pass that is decided again (Options.Again).
func (x *Exchange) passed(filter string) bool {
	if x.e.opt.Again == nil || !x.e.opt.Again(filter) {
		return false
	}
	if x.tr != nil {
		x.did("let it pass; what that rested on is not recorded")
	}
	return true
}

// did notes what the filter that runs does. Only with a trace.
func (x *Exchange) did(format string, args ...any) {
	if n := len(x.tr.Filters); n > 0 {
		f := &x.tr.Filters[n-1]
		if f.Did != "" {
			f.Did += "; "
		}
		f.Did += fmt.Sprintf(format, args...)
	}
}

// traceStop notes that the filter that runs has answered.
func (x *Exchange) traceStop() {
	if n := len(x.tr.Filters); n > 0 {
		x.tr.Filters[n-1].Stops = true
	}
}

// traceChoice notes what a balancer told of the choice of a host; nil: there was no balancer.
func traceChoice(c *lb.Choice) *trace.Choice {
	if c == nil {
		return nil
	}
	out := &trace.Choice{Policy: c.Policy.String(), Priority: c.Priority, Panic: c.Panic,
		Locality: c.Locality, Drawn: c.Drawn, TriedAgain: c.Refused}
	if len(c.Loads) > 1 {
		out.Loads = c.Loads
	}
	addresses := func(hosts []*lb.Host) (list []string) {
		for _, h := range hosts {
			list = append(list, h.Address)
		}
		return list
	}
	out.Candidates, out.LeftOut = addresses(c.Candidates), addresses(c.LeftOut)
	return out
}

// traceAttempt notes a choice of a host; ep is nil where there was none.
func (x *Exchange) traceAttempt(c *Cluster, ep *Endpoint, told *lb.Choice) {
	a := trace.Attempt{Cluster: c.Name, Choice: traceChoice(told)}
	if x.lbc.HasHash {
		a.Hash = x.hashed()
	}
	if ep != nil {
		a.Host, a.Pod = ep.host.Address, ep.Workload().Pod
	}
	x.tr.Attempts = append(x.tr.Attempts, a)
}

// hashed says what the hash policies hashed.
func (x *Exchange) hashed() string {
	if x.route == nil || x.route.action == nil {
		return "the client's address"
	}
	var out []string
	for _, p := range x.route.action.hash {
		switch p.kind {
		case hashHeader:
			out = append(out, "header "+p.name)
		case hashCookie:
			out = append(out, "cookie "+p.name)
		case hashQuery:
			out = append(out, "query "+p.name)
		default:
			out = append(out, "the client's address")
		}
		if p.terminal {
			break
		}
	}
	return strings.Join(out, ", ")
}

// traceOutcome notes how the attempt in flight ended.
func (x *Exchange) traceOutcome(status int, flag string) {
	if len(x.tr.Attempts) == 0 {
		return
	}
	a := &x.tr.Attempts[len(x.tr.Attempts)-1]
	switch {
	case flag != "":
		a.Outcome = flag
	case status != 0:
		a.Outcome = strconv.Itoa(status)
	}
}

// traceRetry notes what was decided about another attempt.
func (x *Exchange) traceRetry(v verdict, why string) {
	if len(x.tr.Attempts) == 0 {
		return
	}
	text := ""
	switch v {
	case yesRetry:
		text = fmt.Sprintf("tried again for %s; %d left", why, x.retry.remaining)
	case retryLimit:
		text = "not tried again: no retries are left"
	case retryOverflow:
		text = "not tried again: the circuit breaker or the budget has no room for retries"
	default:
		text = "not tried again: " + why + " is no condition of " + x.retry.on.text()
	}
	x.tr.Attempts[len(x.tr.Attempts)-1].Retry = text
}

// traceLimits notes the bounds that are in force.
func (x *Exchange) traceLimits(a *action) {
	c := x.cluster
	l := &trace.Limits{Timeout: trace.Duration(x.global), PerTry: trace.Duration(x.perTry),
		Idle: trace.Duration(x.StreamIdleTimeout()), Connect: trace.Duration(c.ConnectTimeout)}
	if x.duration != noDeadline {
		l.Stream = trace.Duration(x.duration.Sub(x.start))
	}
	if a.retry != nil && a.retry.on != 0 {
		l.Retries, l.RetryOn = a.retry.retries, a.retry.on.text()
		for _, code := range a.retry.codes {
			l.RetryOn += "," + strconv.Itoa(code)
		}
	}
	l.Breaker, l.Ejection = c.limitsText(), c.ejectionText()
	x.tr.Limits = l
}

// traceAbort notes whether the fault filter answers.
func (x *Exchange) traceAbort(f *fault, strikes bool) {
	what := "aborts with " + strconv.Itoa(f.abort)
	if f.abortGRPC >= 0 {
		what = "aborts with gRPC status " + strconv.Itoa(f.abortGRPC)
	}
	if !strikes {
		what = "does not abort"
	}
	x.did("%s (%s)", what, f.abortChance.text())
	if strikes {
		x.traceStop()
	}
}

// tracePolicy notes what RBAC rules decided.
func (x *Exchange) tracePolicy(o *rbac.Outcome, prefix string, shadow bool) {
	switch {
	case shadow && prefix == authorizerPrefix && o.Allowed:
		x.did("the authorizer is not to be asked")
	case shadow && prefix == authorizerPrefix:
		x.did("the authorizer is to be asked: %s", o.Name())
	case shadow:
		x.did("in dry run: %s", o.Verdict)
	case o.Policy == "" && o.Allowed:
		x.did("no policy denies")
	case o.Policy == "":
		x.did("denied: no ALLOW policy is for it")
	default:
		x.did("%s", o.Verdict)
	}
	if f := &x.tr.Filters[len(x.tr.Filters)-1]; o.Policy != "" && !shadow {
		f.Policy = o.Policy
	}
}

// traceJudged notes what an authorizer answered.
func (x *Exchange) traceJudged(v *judgement) {
	text := [...]string{authzError: "gave no answer that counts", authzDenied: "denied",
		authzAllowed: "allowed", authzInvalid: "asks for what can not be"}[v.outcome]
	x.did("the authorizer %s", text)
	if v.outcome == authzDenied {
		x.traceStop()
	}
}

// traceMirror notes a copy.
func (x *Exchange) traceMirror(p *mirrorPolicy, ep *Endpoint, did string) {
	m := trace.Mirror{Cluster: p.name, Did: did}
	if ep != nil {
		m.Host = ep.host.Address
	}
	x.tr.Mirrors = append(x.tr.Mirrors, m)
}

// traceTCP notes the choice of a TCP connection's cluster.
func (x *Exchange) traceTCP(c *Chain, t *tcpTarget, rnd uint64) {
	if len(c.tcp.clusters) < 2 {
		return
	}
	s := &trace.Split{Draw: draw(rnd, drawStream, 0) % max(c.tcp.total, 1), Total: c.tcp.total,
		By: "random"}
	from := uint64(0)
	for i := range c.tcp.clusters {
		o := &c.tcp.clusters[i]
		s.Options = append(s.Options, trace.Option{Cluster: o.name, Weight: o.weight, From: from})
		from += o.weight
		if o == t {
			s.Chosen = i
		}
	}
	x.tr.Split = s
}

// traceChanges notes what the router did to the head.
func (x *Exchange) traceChanges(was headCopy) {
	now := copyOf(x.head)
	add := func(format string, args ...any) {
		x.tr.Changes = append(x.tr.Changes, fmt.Sprintf(format, args...))
	}
	if now.authority != was.authority {
		add("host %s → %s", was.authority, now.authority)
	}
	if now.target != was.target {
		add("path %s → %s", was.target, now.target)
	}
	var names []string
	for n := range now.fields {
		names = append(names, n)
	}
	for n := range was.fields {
		if _, ok := now.fields[n]; !ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		v, has := now.fields[n]
		old, had := was.fields[n]
		if private(n) && has {
			v = "(not shown)"
		}
		switch {
		case has && !had:
			add("+ %s: %s", n, v)
		case had && !has:
			add("- %s", n)
		case now.fields[n] != old:
			add("~ %s: %s", n, v)
		}
	}
}

// traceEnd hands the trace out.
func (x *Exchange) traceEnd() {
	t := x.tr
	t.Record = x.Record
	t.Record.Attempts, t.Record.Mirrors = slices.Clone(t.Record.Attempts),
		slices.Clone(t.Record.Mirrors)
	(*x.traced)(t)
	x.tr, x.traced = nil, nil
}
