package engine

import (
	"cmp"
	"net/netip"
	"slices"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	withoutqueryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/req_without_query/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/engine/formatter"
	"github.com/mesh-lab/mesh-lab/meshcore/transport"
)

// LogSink takes access log lines, each with its end of line, for the file at a path as the
// configuration names it. line is borrowed; it is called from many goroutines.
type LogSink interface {
	AccessLog(path string, line []byte)
}

// accessLog is one compiled access log: a file, a format and which exchanges it is about.
type accessLog struct {
	path   string
	format formatter.Format[*Exchange]
	wanted func(*Exchange) bool
}

// logState is what only access logs and header formats ask for.
type logState struct {
	ended       bool   // values are those of the end
	unread      bool   // there is no request head
	kind        string // ACCESS_LOG_TYPE
	connection  uint64 // CONNECTION_ID
	unique      uint8  // draws for UNIQUE_ID so far
	vhost       *vhost
	endpoint    *Endpoint
	conn        UpstreamConn
	failure     string // transport failure reason
	downFailure string // likewise, of the downstream
	reached     []reached
	at          moments
}

// UpstreamConn is what is known of the connection that an attempt uses.
type UpstreamConn struct {
	ID               uint64         // unique among the proxy's connections
	Local            netip.AddrPort // our end's address
	Began, Connected clock.Instant
	TLS              *transport.State // nil on a plain connection
	Secured          clock.Instant    // when the handshake ended
}

// defaultLogFormat is what Envoy writes when nothing is configured
// (substitution_format_utility.cc DEFAULT_FORMAT).
const defaultLogFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% ` +
	`%PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ` +
	`%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ` +
	`"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"` + "\n"

func (c *compiler) accessLogs(list []*accesslogv3.AccessLog) []accessLog {
	var out []accessLog
	for i, m := range list {
		leave := c.at("access_log", i)
		if f := (&filelogv3.FileAccessLog{}); c.any(m.GetTypedConfig(), f) {
			l := accessLog{path: f.GetPath(), wanted: c.logFilter(m.GetFilter())}
			leaveAny := c.in("typed_config")
			l.format = c.logFormat(f)
			leaveAny()
			out = append(out, l)
		} else {
			c.fail("typed_config", "%s %s", m.GetName(), notCarried)
		}
		leave()
	}
	return out
}

func (c *compiler) logFormat(m *filelogv3.FileAccessLog) formatter.Format[*Exchange] {
	if m.GetPath() == "" {
		c.fail("path", "value length must be at least 1 characters")
	}
	format := &corev3.SubstitutionFormatString{}
	field := "log_format"
	switch f := m.GetAccessLogFormat().(type) {
	case *filelogv3.FileAccessLog_LogFormat:
		format = f.LogFormat
	case *filelogv3.FileAccessLog_TypedJsonFormat:
		format.Format = &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: f.TypedJsonFormat}
		field = "typed_json_format"
	default:
		//nolint:staticcheck // the deprecated field still acts in Envoy
		text := cmp.Or(m.GetFormat(), defaultLogFormat)
		format.Format = &corev3.SubstitutionFormatString_TextFormat{TextFormat: text}
		field = "format"
	}
	withoutQuery := slices.ContainsFunc(format.GetFormatters(),
		func(e *corev3.TypedExtensionConfig) bool {
			return e.GetTypedConfig().MessageIs(&withoutqueryv3.ReqWithoutQuery{})
		})
	out, err := formatter.Compile(format, findOperator(true, withoutQuery))
	if err != nil {
		defer c.in(field)()
		c.failAs(err, "")
	}
	return out
}

// logFilter compiles a filter; nil wants every exchange
// (source/common/access_log/access_log_impl.cc FilterFactory).
func (c *compiler) logFilter(m *accesslogv3.AccessLogFilter) func(*Exchange) bool {
	defer c.in("filter")()
	switch f := m.GetFilterSpecifier().(type) {
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		flags := f.ResponseFlagFilter.GetFlags()
		for i, flag := range flags {
			if longFlags[flag] == "" {
				leave := c.at("response_flag_filter.flags", i)
				c.fail("", "%s; must be a response flag", flag)
				leave()
			}
		}
		return func(x *Exchange) bool {
			return len(flags) == 0 && x.flagCount > 0 || slices.ContainsFunc(flags, x.hasFlag)
		}
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		holds := c.comparison("status_code_filter", f.StatusCodeFilter.GetComparison())
		return func(x *Exchange) bool { return holds(uint64(x.Record.Status)) }
	case *accesslogv3.AccessLogFilter_DurationFilter:
		holds := c.comparison("duration_filter", f.DurationFilter.GetComparison())
		return func(x *Exchange) bool { return holds(uint64(x.Record.Duration.Milliseconds())) }
	case *accesslogv3.AccessLogFilter_AndFilter:
		return c.logFilters("and_filter", f.AndFilter.GetFilters(), false)
	case *accesslogv3.AccessLogFilter_OrFilter:
		return c.logFilters("or_filter", f.OrFilter.GetFilters(), true)
	}
	return func(*Exchange) bool { return true }
}

// logFilters ends at the first filter that answers until.
func (c *compiler) logFilters(field string, list []*accesslogv3.AccessLogFilter,
	until bool) func(*Exchange) bool {
	if len(list) < 2 {
		c.fail(field+".filters", "value must contain at least 2 item(s)")
	}
	var all []func(*Exchange) bool
	for i, m := range list {
		leave := c.at(field+".filters", i)
		all = append(all, c.logFilter(m))
		leave()
	}
	return func(x *Exchange) bool {
		for _, f := range all {
			if f(x) == until {
				return until
			}
		}
		return !until
	}
}

func (c *compiler) comparison(field string, m *accesslogv3.ComparisonFilter) func(uint64) bool {
	want := uint64(m.GetValue().GetDefaultValue())
	if m.GetValue() == nil {
		c.fail(field+".comparison.value", "value is required")
	}
	switch m.GetOp() {
	case accesslogv3.ComparisonFilter_GE:
		return func(v uint64) bool { return v >= want }
	case accesslogv3.ComparisonFilter_LE:
		return func(v uint64) bool { return v <= want }
	case accesslogv3.ComparisonFilter_NE:
		return func(v uint64) bool { return v != want }
	}
	return func(v uint64) bool { return v == want }
}

// listenerLogs are the listener's own logs. Envoy writes them for every connection; only those that
// are about connections without a filter chain are carried out, which is what istiod asks for.
func (c *compiler) listenerLogs(list []*accesslogv3.AccessLog) []accessLog {
	for i, m := range list {
		flags := m.GetFilter().GetResponseFlagFilter().GetFlags()
		if !slices.Equal(flags, []string{"NR"}) {
			leave := c.at("access_log", i)
			c.fail("filter", "a listener's log for other connections than those with the response "+
				"flag NR %s", notCarried)
			leave()
		}
	}
	return c.accessLogs(list)
}

// Logged says whether the exchange has access logs: then Log must be called after Done.
func (x *Exchange) Logged() bool { return len(x.logs) > 0 }

// Log writes the access log lines of an exchange that has ended. The driver has set what it
// counted: Downstream, Upstream and the record's bytes.
func (x *Exchange) Log(to LogSink, now clock.Instant) {
	x.now, x.log.ended = now, true
	for i := range x.logs {
		l := &x.logs[i]
		if l.wanted(x) {
			x.buf = l.format.Append(x, x.buf[:0])
			to.AccessLog(l.path, x.buf)
		}
	}
	x.releaseRecord()
}

// beginAttempt notes that an upstream try begins.
func (x *Exchange) beginAttempt(ep *Endpoint, now clock.Instant) {
	x.log.endpoint, x.log.failure = ep, ""
	if x.hcm != nil { // each request upstream has a list of its own (measured with 1.40)
		x.log.reached = x.log.reached[:0]
	}
	x.Record.UpstreamTLS, x.Record.UpstreamPeer, x.Record.UpstreamFailure = "", "", ""
	x.log.conn = UpstreamConn{Began: noDeadline, Connected: noDeadline}
	x.log.at.attempt(now)
}

// reach notes that the try has a connection.
func (x *Exchange) reach(ev Event, now clock.Instant) {
	at := &x.log.at
	at.ready, at.sending = now, now
	r := reached{host: x.ep.host.Address}
	if ev.Conn != nil {
		x.log.conn, r.connection = *ev.Conn, ev.Conn.ID
		x.Record.UpstreamTLS, x.Record.UpstreamPeer = recordTLS(ev.Conn.TLS)
	}
	x.log.reached = append(x.log.reached, r)
}

// lose notes that the try broke.
func (x *Exchange) lose(ev Event, now clock.Instant) {
	if x.log.at.ready == noDeadline {
		x.log.at.ready = now
	}
	x.log.failure = ev.Reason
	x.Record.UpstreamFailure = x.underscores(ev.Reason)
}
