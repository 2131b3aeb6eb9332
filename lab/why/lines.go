package why

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/trace"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Style is what a piece of text is.
type Style uint8

// The styles.
const (
	Plain Style = iota
	Title       // a hop, the request
	Label       // what a line is about
	Good        // what was chosen
	Bad         // what failed
	Dim         // what was ruled out, where things are written
)

// Span is a piece of text in one style.
type Span struct {
	Text  string
	Style Style
}

// Line is one line of text.
type Line []Span

// String is the line without its styles.
func (l Line) String() string {
	var b strings.Builder
	for _, s := range l {
		b.WriteString(s.Text)
	}
	return b.String()
}

// Width returns how many columns a line takes.
func (l Line) Width() int { return utf8.RuneCountInString(l.String()) }

// indent is where what a line says begins; below it stands what the line is about.
const indent = 16

// Lines renders an explanation, at most width columns wide (at least 40).
func (e *Explanation) Lines(width int) []Line {
	p := &page{width: max(width, 40)}
	if e.Asked != "" {
		p.text(0, Span{e.Asked, Title})
		p.text(0, Span{"→ ", Label}, Span{e.Answer, Plain})
	}
	if e.ID != "" {
		p.text(0, Span{"request " + e.ID, Dim})
	}
	for i := range e.Hops {
		p.blank()
		p.hop(i+1, &e.Hops[i])
	}
	if len(e.Hops) == 0 {
		p.blank()
		p.text(0, Span{"no proxy recorded it: it never reached one, or nobody has a sidecar", Bad})
	}
	p.unknown(e.Unknown)
	return p.lines
}

// Lines renders one hop alone.
func (h *Hop) Lines(width int) []Line {
	p := &page{width: max(width, 40)}
	p.hop(1, h)
	return p.lines
}

// ansi are the colours of the styles on a terminal.
var ansi = map[Style]string{
	Title: "\x1b[1m", Label: "\x1b[36m", Good: "\x1b[32m", Bad: "\x1b[31m", Dim: "\x1b[2m",
}

// Text writes lines, with colours for a terminal or without.
func Text(w io.Writer, lines []Line, color bool) error {
	var b strings.Builder
	for _, l := range lines {
		for _, s := range l {
			if c := ansi[s.Style]; color && c != "" && s.Text != "" {
				b.WriteString(c + s.Text + "\x1b[0m")
			} else {
				b.WriteString(s.Text)
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// how says how decisions are known.
var how = map[string]string{
	Told:    "as the proxy told it",
	Decided: "decided again, from its record",
	Seen:    "as it was recorded",
}

func (p *page) hop(n int, h *Hop) {
	role := map[string]string{"source": "sends", "destination": "receives"}[h.Reporter]
	p.text(0, Span{fmt.Sprintf("%d  %s", n, h.Proxy), Title}, Span{"  " + role, Plain},
		Span{" · " + how[h.How], Dim})
	r := &h.Record
	if r.Method != "" {
		p.row("request", Span{r.Method + " " + r.Authority + " " + r.Path, Plain})
	}
	p.row("connection", Span{cmp.Or(r.Remote, "?") + " → " + cmp.Or(r.Local, "?"), Plain},
		Span{tlsText(r.TLS, r.SNI, r.Peer), Dim})
	if t := h.Trace; t != nil {
		p.chains(t, h.Origins)
		p.mutualTLS(h.Origins)
		p.routes(h)
		p.split(t, h.Origins)
		p.filters(t, h.Origins)
		p.limits(t, h.Origins)
		p.attempts(t, h.Origins)
		if n := len(t.Attempts); n > 0 && t.Attempts[n-1].Host != "" {
			p.upstreamTLS(r, h.Origins)
		}
	}
	p.outcome(h)
}

func tlsText(version, sni, peer string) string {
	out := ""
	if version != "" {
		out = "  " + version
	}
	if sni != "" {
		out += "  SNI " + sni
	}
	if peer != "" {
		out += "  " + peer
	}
	return out
}

// mutualTLS says what a sidecar takes of those that come.
func (p *page) mutualTLS(origins []Origin) {
	for _, o := range origins {
		if o.Of == "mutual TLS" {
			p.row("mutual TLS", Span{o.Value, Plain}, Span{"  " + o.String(), Dim})
		}
	}
}

// upstreamTLS says how the connection to the host was secured, and by whose word.
func (p *page) upstreamTLS(r *observe.Request, origins []Origin) {
	for _, o := range origins {
		if o.Of != "TLS" {
			continue
		}
		how := "plain text"
		if r.UpstreamTLS != "" {
			how = strings.TrimSpace(r.UpstreamTLS + "  " + r.UpstreamPeer)
		}
		p.row("upstream TLS", Span{how, Plain})
		p.more(2, Span{o.String(), Dim})
	}
}

func (p *page) chains(t *trace.Trace, origins []Origin) {
	p.row("listener", Span{t.Listener, Plain})
	p.origin(origins, "gateway")
	label := "filter chain"
	for i, c := range t.Chains {
		if c.Failed != "" && i > 0 && t.Chains[i-1].Failed == c.Failed &&
			t.Chains[i-1].Name == c.Name {
			continue // of a kind, such as one for each transport
		}
		name := cmp.Or(c.Name, "(no name)")
		mark, style := Span{"✔ ", Good}, Plain
		text := c.Wants
		if c.Failed != "" {
			mark, style, text = Span{"✗ ", Bad}, Dim, c.Failed
		}
		p.row(label, mark, Span{name, style}, Span{"  " + text, Dim})
		label = ""
		if c.Failed == "" {
			p.origin(origins, "connection rule")
		}
	}
	if len(t.Chains) == 0 || t.Chain == "" && !taken(t.Chains) {
		p.more(0, Span{"none takes the connection: it is closed", Bad})
	}
}

func taken(chains []trace.Chain) bool {
	for _, c := range chains {
		if c.Failed == "" {
			return true
		}
	}
	return false
}

func (p *page) routes(h *Hop) {
	t, origins := h.Trace, h.Origins
	if t.RouteTable == "" {
		return
	}
	if t.Path != "" {
		p.row("path", Span{"matched as " + t.Path, Plain})
	}
	if t.Host == "" {
		p.row("virtual host", Span{"✗ ", Bad}, Span{"none is for " + t.Authority, Plain})
		return
	}
	p.row("virtual host", Span{"✔ ", Good}, Span{t.Host, Plain},
		Span{"  by domain " + t.Domain, Dim})
	label := "routes"
	for i, r := range t.Routes {
		mark, style, text := Span{"✔ ", Good}, Plain, r.Wants
		if r.Failed != "" {
			mark, style, text = Span{"✗ ", Bad}, Dim, r.Failed
		}
		p.row(label, mark, Span{cmp.Or(r.Name, "(no name)"), style}, Span{"  " + text, style})
		label = ""
		if r.Failed == "" {
			if t.Split == nil {
				p.more(2, Span{"leads to " + r.Leads, Plain})
			}
			p.origin(origins, "route")
		} else if r.Rule != "" {
			place := ""
			if i < len(h.RoutePlaces) && h.RoutePlaces[i] != "" {
				place = h.RoutePlaces[i] + "  "
			}
			p.more(2, Span{place + r.Rule, Dim})
		}
	}
	if t.Taken == nil {
		p.more(0, Span{"none matches", Bad})
	}
}

// origin says below a row where something is written.
func (p *page) origin(origins []Origin, of ...string) {
	for _, o := range origins {
		for _, x := range of {
			if o.Of == x {
				p.more(2, Span{o.String(), Dim})
			}
		}
	}
}

func (p *page) split(t *trace.Trace, origins []Origin) {
	s := t.Split
	if s == nil {
		return
	}
	p.row("split", Span{fmt.Sprintf("drew %d of %d (%s)", s.Draw, s.Total, s.By), Plain})
	for i, o := range s.Options {
		mark, style := Span{"  ", Plain}, Dim
		if i == s.Chosen {
			mark, style = Span{"▶ ", Good}, Plain
		}
		span := "never"
		if o.Weight > 0 {
			span = fmt.Sprintf("%d–%d", o.From, o.From+o.Weight-1)
		}
		p.more(0, mark, Span{fmt.Sprintf("%s  %s", span, o.Cluster), style})
	}
	p.origin(origins, "split")
}

func (p *page) filters(t *trace.Trace, origins []Origin) {
	label := "filters"
	for _, f := range t.Filters {
		did, style := cmp.Or(f.Did, "lets it pass"), Dim
		if f.Did != "" {
			style = Plain
		}
		if strings.HasSuffix(f.Name, ".router") {
			did = cmp.Or(f.Did, "sends it on")
			if t.Reply != nil && len(t.Attempts) == 0 {
				did = "answers " + strconv.Itoa(t.Reply.Status)
			}
		}
		mark := Span{"  ", Plain}
		if f.Stops {
			mark, style = Span{"✗ ", Bad}, Plain
		}
		p.row(label, mark, Span{short(f.Name), style}, Span{"  " + did, style})
		label = ""
		switch {
		case f.Policy != "":
			p.origin(origins, "policy")
		case strings.Contains(f.Name, "rbac") && f.Did != "":
			p.origin(origins, "policies")
		case strings.Contains(f.Name, "jwt"):
			p.origin(origins, "tokens")
		}
		if strings.Contains(f.Name, "fault") && f.Did != "" {
			p.origin(origins, "fault")
		}
	}
	label = "changes"
	for _, c := range t.Changes {
		p.row(label, Span{c, Plain})
		label = ""
	}
	if len(t.Changes) > 0 {
		p.origin(origins, "rewrite", "headers")
	}
}

// short is a filter's name without what all have in front.
func short(name string) string {
	name = strings.TrimPrefix(name, "envoy.filters.http.")
	return strings.TrimPrefix(name, "envoy.filters.network.")
}

func (p *page) limits(t *trace.Trace, origins []Origin) {
	l := t.Limits
	if l == nil {
		return
	}
	p.row("time-out", Span{bound(l.Timeout), Plain}, from(origins, "timeout"))
	retries := "none"
	if l.RetryOn != "" {
		retries = fmt.Sprintf("%d on %s", l.Retries, strings.ReplaceAll(l.RetryOn, ",", ", "))
		if l.PerTry > 0 {
			retries += ", each try within " + bound(l.PerTry)
		}
	}
	p.row("retries", Span{retries, Plain}, from(origins, "retries"))
	p.row("connect", Span{"within " + bound(l.Connect), Plain})
	if l.Breaker != "" {
		p.row("breaker", Span{"at most " + l.Breaker, Plain})
		p.origin(origins, "circuit breaker")
	}
	if l.Ejection != "" {
		p.row("ejection", Span{l.Ejection, Plain})
		p.origin(origins, "outlier detection")
	}
}

func bound(d trace.Duration) string {
	if d == 0 {
		return "none"
	}
	return time.Duration(d).String()
}

// from says behind a value where it comes from.
func from(origins []Origin, of string) Span {
	for _, o := range origins {
		if o.Of == of {
			if o.Object == "" && strings.HasPrefix(o.Note, "none") {
				return Span{strings.TrimPrefix(o.Note, "none"), Dim}
			}
			return Span{"  " + o.String(), Dim}
		}
	}
	return Span{}
}

func (p *page) attempts(t *trace.Trace, origins []Origin) {
	for i, a := range t.Attempts {
		label := "host"
		if len(t.Attempts) > 1 {
			label = fmt.Sprintf("attempt %d", i+1)
		}
		where := Span{"none: the cluster has no healthy host", Bad}
		if a.Host != "" {
			where = Span{strings.TrimSpace(a.Host + " " + a.Pod), Good}
		}
		outcome := ""
		if a.Outcome != "" {
			outcome = "  → " + a.Outcome
		}
		p.row(label, where, Span{outcome, Plain})
		p.more(2, Span{a.Cluster, Plain})
		if i == 0 {
			p.origin(origins, "subset")
		}
		p.choice(&a, origins, i == 0)
		if a.Retry != "" {
			p.more(2, Span{strings.ReplaceAll(a.Retry, ",", ", "), Plain})
		}
	}
	for _, m := range t.Mirrors {
		p.row("mirror", Span{m.Cluster + " " + m.Host, Plain}, Span{"  " + m.Did, Dim})
		p.origin(origins, "mirror")
	}
}

func (p *page) choice(a *trace.Attempt, origins []Origin, first bool) {
	c := a.Choice
	if c == nil {
		if a.Host != "" {
			p.more(2, Span{"where the client was going (ORIGINAL_DST)", Dim})
		}
		return
	}
	text := fmt.Sprintf("%s among %d", c.Policy, len(c.Candidates))
	if a.Hash != "" {
		text += ", by " + a.Hash
	}
	if len(c.Candidates) > 1 && c.Drawn != "" {
		text += ": " + c.Drawn
	}
	if len(c.Loads) > 1 {
		text += fmt.Sprintf("; priority %d of loads %v %%", c.Priority, c.Loads)
	}
	if c.Locality != "" {
		text += "; locality " + c.Locality
	}
	if c.Panic {
		text += "; panic: unhealthy hosts count"
	}
	if c.TriedAgain > 0 {
		text += fmt.Sprintf("; drawn %d times more, to avoid hosts that were tried", c.TriedAgain)
	}
	p.more(2, Span{text, Dim})
	if len(c.LeftOut) > 0 {
		p.more(2, Span{"left out (unhealthy or ejected): " + strings.Join(c.LeftOut, ", "), Dim})
	}
	if first {
		p.origin(origins, "balancing")
	}
}

func (p *page) outcome(h *Hop) {
	r := &h.Record
	status := "no answer"
	style := Bad
	if r.Status > 0 {
		status = strconv.Itoa(r.Status)
		if r.Status < 400 {
			style = Good
		}
	}
	if r.Protocol == "TCP" && r.Status == 0 && r.Flags == "" {
		status, style = "a connection without HTTP", Plain
	}
	p.row("result", Span{status, style}, Span{"  " + r.Details, Plain},
		Span{fmt.Sprintf("  %.1f ms", float64(r.Duration)/float64(time.Millisecond)), Dim})
	if r.Upstream != "" && h.Trace == nil {
		p.more(0, Span{r.Cluster + " " + r.Upstream, Plain})
	}
	for _, w := range h.Words {
		p.more(0, Span{w, Bad})
	}
	if r.UpstreamFailure != "" {
		p.more(0, Span{r.UpstreamFailure, Bad})
	}
	if len(h.Words) == 0 && r.Flags == "" {
		p.more(0, Span{"no flags", Dim})
	}
	for _, d := range h.Differs {
		p.row("differs", Span{d, Bad})
	}
	p.unknown(h.Unknown)
}

func (p *page) unknown(list []string) {
	label := "not known"
	for _, u := range list {
		p.row(label, Span{u, Dim})
		label = ""
	}
}
