package als

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// manual is a clock that stands until it is moved.
type manual struct {
	now    clock.Instant
	timers []*timer
}

type timer struct {
	at clock.Instant
	f  func()
}

func (m *manual) Now() clock.Instant                { return m.now }
func (m *manual) Instant(t time.Time) clock.Instant { return clock.Instant(t.UnixNano()) }
func (m *manual) AfterFunc(d time.Duration, f func()) func() bool {
	t := &timer{m.now.Add(d), f}
	m.timers = append(m.timers, t)
	return func() bool { t.f = nil; return true }
}

// advance moves the clock and calls what is due.
func (m *manual) advance(d time.Duration) {
	m.now = m.now.Add(d)
	for _, t := range slices.Clone(m.timers) {
		if f := t.f; f != nil && t.at <= m.now {
			t.f = nil
			f()
		}
	}
}

// entry is a log entry in short: times are milliseconds.
type entry struct {
	id, path     string
	connection   int
	start, takes int
	attempts     int // of a request; 0 with up
	mirrors      int
	sure         bool // it has so many mirrors
	up           bool // an attempt, or without connection a copy
	status       int
	flags        string
}

func (e entry) proto() *datav3.HTTPAccessLogEntry {
	t := tag{tagConnection: fmt.Sprint(e.connection), tagListener: "l", tagReporter: "source",
		tagFlags: e.flags, tagMethod: "GET"}
	if e.mirrors > 0 {
		t[tagMirrors] = fmt.Sprint(e.mirrors)
		if !e.sure {
			t[tagMirrors] += perhaps
		}
	}
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	c := &datav3.AccessLogCommon{
		StartTime:                   timestamppb.New(time.Unix(0, int64(ms(e.start)))),
		Duration:                    durationpb.New(ms(e.takes)),
		UpstreamRequestAttemptCount: uint32(e.attempts),
		AccessLogType:               datav3.AccessLogType_DownstreamEnd,
		CustomTags:                  map[string]string{namespace: strings.Join(t[:], "\n")},
	}
	if e.up {
		c.AccessLogType = datav3.AccessLogType_UpstreamEnd
		c.UpstreamRemoteAddress = &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "10.0.0.1",
				PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 80}}}}
	}
	return &datav3.HTTPAccessLogEntry{CommonProperties: c,
		Request: &datav3.HTTPRequestProperties{RequestId: e.id, Path: e.path},
		Response: &datav3.HTTPResponseProperties{
			ResponseCode: wrapperspb.UInt32(uint32(e.status))}}
}

func message(list ...entry) *alsv3.StreamAccessLogsMessage {
	l := &alsv3.StreamAccessLogsMessage_HTTPAccessLogEntries{}
	for _, e := range list {
		l.LogEntry = append(l.LogEntry, e.proto())
	}
	return &alsv3.StreamAccessLogsMessage{
		LogEntries: &alsv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: l}}
}

// text is a record in short: "PATH STATUS attempts STATUS@START ... mirrors START ...".
func text(r *observe.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d", r.Path, r.Status)
	for _, a := range r.Attempts {
		fmt.Fprintf(&b, " %d%s@%d", a.Status, a.Flags, a.Start/1e6)
	}
	for _, a := range r.Mirrors {
		fmt.Fprintf(&b, " mirror@%d", a.Start/1e6)
	}
	return b.String()
}

type texts []string

func (t *texts) Record(r *observe.Request) { *t = append(*t, text(r)) }

var joins = map[string]struct {
	entries []entry
	want    []string // at once
	later   []string // when patience is over
	times   int      // how many seconds it lasts, if it is not one
	held    int      // attempts and copies that nobody claimed
}{
	"in order": {
		entries: []entry{
			{up: true, id: "a", path: "/1", connection: 1, start: 11, status: 503},
			{up: true, id: "a", path: "/1", connection: 1, start: 12, status: 200},
			{id: "a", path: "/1", connection: 1, start: 10, takes: 5, attempts: 2, status: 200}},
		want: []string{"/1 200 503@11 200@12"}},
	"the request first": {
		entries: []entry{
			{id: "a", path: "/1", connection: 1, start: 10, takes: 5, attempts: 2, status: 200},
			{up: true, id: "a", path: "/1", connection: 1, start: 12, status: 200},
			{up: true, id: "a", path: "/1", connection: 1, start: 11, status: 503}},
		want: []string{"/1 200 503@11 200@12"}},
	"no attempt": {
		entries: []entry{{id: "a", path: "/1", connection: 1, start: 10, status: 404, flags: "NR"}},
		want:    []string{"/1 404"}},
	"no host": {
		entries: []entry{
			{id: "a", path: "/1", connection: 1, start: 10, attempts: 1, status: 503, flags: "UH"}},
		want: []string{"/1 503"}},
	"no host to retry": {
		entries: []entry{
			{up: true, id: "a", path: "/1", connection: 1, start: 11, flags: "UF"},
			{id: "a", path: "/1", connection: 1, start: 10, takes: 5, attempts: 2, status: 503,
				flags: "UF,UH"}},
		want: []string{"/1 503 0UF@11"}},
	"an attempt is missing": {
		entries: []entry{
			{up: true, id: "a", path: "/1", connection: 1, start: 11, status: 503},
			{id: "a", path: "/1", connection: 1, start: 10, takes: 5, attempts: 2, status: 200},
			{id: "b", path: "/2", connection: 2, start: 10, takes: 5, status: 404}},
		want:  []string{"/2 404"},
		later: []string{"/1 200 503@11"}, times: slowAttempts},
	"the clock was set back": {
		entries: []entry{
			{up: true, id: "a", path: "/1", connection: 1, start: 9, status: 200},
			{id: "a", path: "/1", connection: 1, start: 10, takes: 5, attempts: 1, status: 200}},
		want: []string{"/1 200 200@9"}},
	"the clock was set forward, and the attempt comes late": {
		entries: []entry{
			{id: "a", path: "/1", connection: 1, start: 10, takes: 5, attempts: 1, status: 200},
			{up: true, id: "a", path: "/1", connection: 1, start: 16, status: 200}},
		want: []string{"/1 200 200@16"}},
	"the clock was set in the first of two with one ID": {
		entries: []entry{
			{up: true, id: "a", path: "/", connection: 1, start: 9, status: 200},
			{up: true, id: "a", path: "/", connection: 1, start: 21, status: 201},
			{id: "a", path: "/", connection: 1, start: 10, takes: 5, attempts: 1, status: 200},
			{id: "a", path: "/", connection: 1, start: 20, takes: 5, attempts: 1, status: 201}},
		want: []string{"/ 200 200@9", "/ 201 201@21"}},
	"one connection, one ID": {
		entries: []entry{
			{up: true, id: "a", path: "/", connection: 1, start: 11, status: 200},
			{up: true, id: "a", path: "/", connection: 1, start: 21, status: 201},
			{id: "a", path: "/", connection: 1, start: 20, takes: 5, attempts: 1, status: 201},
			{id: "a", path: "/", connection: 1, start: 10, takes: 5, attempts: 1, status: 200}},
		want: []string{"/ 201 201@21", "/ 200 200@11"}},
	"two connections, one ID": {
		entries: []entry{
			{up: true, id: "a", path: "/", connection: 1, start: 11, status: 200},
			{up: true, id: "a", path: "/", connection: 2, start: 11, status: 201},
			{id: "a", path: "/", connection: 2, start: 10, takes: 5, attempts: 1, status: 201},
			{id: "a", path: "/", connection: 1, start: 10, takes: 5, attempts: 1, status: 200}},
		want: []string{"/ 201 201@11", "/ 200 200@11"}},
	"left in flight": {
		entries: []entry{
			{up: true, id: "a", path: "/1", connection: 1, start: 11},
			{id: "a", path: "/1", connection: 1, start: 10, takes: 5, attempts: 1, flags: "DC"}},
		want: []string{"/1 0 0DC@11"}},
	"timed out between tries": {
		entries: []entry{
			{up: true, id: "a", path: "/1", connection: 1, start: 11, status: 503},
			{id: "a", path: "/1", connection: 1, start: 10, takes: 5, attempts: 1, status: 504,
				flags: "UT"}},
		want: []string{"/1 504 503@11"}},
	"copy before the request": {
		entries: []entry{
			{up: true, id: "a", path: "/1", start: 12},
			{up: true, id: "a", path: "/1", connection: 1, start: 11, status: 200},
			{id: "a", path: "/1", connection: 1, start: 10, takes: 5, attempts: 1, mirrors: 1,
				status: 200}},
		want: []string{"/1 200 200@11 mirror@12"}},
	"copy behind the request": {
		entries: []entry{
			{up: true, id: "a", path: "/1", connection: 1, start: 11, status: 200},
			{id: "a", path: "/1", connection: 1, start: 10, takes: 5, attempts: 1, mirrors: 1,
				status: 200},
			{up: true, id: "a", path: "/1", start: 12, takes: 50}},
		want: []string{"/1 200 200@11 mirror@12"}},
	"a copy that never comes": {
		entries: []entry{
			{up: true, id: "a", path: "/1", connection: 1, start: 11, status: 200},
			{id: "a", path: "/1", connection: 1, start: 10, takes: 5, attempts: 1, mirrors: 1,
				status: 200}},
		later: []string{"/1 200 200@11"}},
	"copies of two with one ID": {
		entries: []entry{
			{up: true, id: "a", path: "/", connection: 1, start: 11, status: 200},
			{up: true, id: "a", path: "/", connection: 2, start: 21, status: 201},
			{id: "a", path: "/", connection: 1, start: 10, takes: 20, attempts: 1, mirrors: 1,
				status: 200},
			{id: "a", path: "/", connection: 2, start: 20, takes: 20, attempts: 1, mirrors: 1,
				status: 201},
			{up: true, id: "a", path: "/", start: 22},
			{up: true, id: "a", path: "/", start: 12}},
		want: []string{"/ 201 201@21 mirror@22", "/ 200 200@11 mirror@12"}},
	"the first took the other's copy": {
		entries: []entry{
			{up: true, id: "a", path: "/", connection: 1, start: 11, status: 200},
			{up: true, id: "a", path: "/", start: 22},
			{id: "a", path: "/", connection: 1, start: 10, takes: 20, attempts: 1, mirrors: 1,
				status: 200},
			{up: true, id: "a", path: "/", connection: 2, start: 21, status: 201},
			{id: "a", path: "/", connection: 2, start: 20, takes: 20, attempts: 1, mirrors: 1,
				status: 201},
			{up: true, id: "a", path: "/", start: 12}},
		want:  []string{"/ 200 200@11 mirror@22"},
		later: []string{"/ 201 201@21 mirror@12"}},
	"of nobody": {
		entries: []entry{
			{up: true, id: "a", path: "/1", connection: 1, start: 11, status: 200},
			{id: "a", path: "/1", connection: 1, start: 20, takes: 5, status: 404},
			{up: true, id: "a", path: "/1", start: 12}},
		want: []string{"/1 404"}, held: 2},
}

// TestJoin: attempts and copies find their request in whatever order they come.
func TestJoin(t *testing.T) {
	for name, c := range joins {
		for _, together := range []bool{true, false} {
			t.Run(fmt.Sprint(name, together), func(t *testing.T) {
				var got texts
				m := &manual{}
				s := New(Options{Clock: m, Sink: &got})
				n := s.node("a")
				if together {
					n.take(message(c.entries...))
				} else {
					for _, e := range c.entries {
						n.take(message(e))
					}
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
				got = nil
				m.advance(time.Duration(max(1, c.times))*time.Second - 1)
				if len(got) > 0 {
					t.Errorf("too early: %q", got)
				}
				m.advance(1)
				if !slices.Equal(got, c.later) {
					t.Errorf("later got %q, want %q", got, c.later)
				}
				if len(n.waiting) > 0 || n.held != c.held || n.count() != uint64(len(c.entries)) {
					t.Errorf("%d wait, %d held, %d received", len(n.waiting), n.held, n.count())
				}
			})
		}
	}
}

// TestSlowCopy: who must have a copy waits for it longer, and others do not wait with it.
func TestSlowCopy(t *testing.T) {
	var got texts
	m := &manual{}
	s := New(Options{Clock: m, Sink: &got})
	n := s.node("a")
	n.take(message(
		entry{up: true, id: "a", path: "/1", connection: 1, start: 11, status: 200},
		entry{id: "a", path: "/1", connection: 1, start: 10, takes: 5, attempts: 1, mirrors: 1,
			sure: true, status: 200},
		entry{up: true, id: "b", path: "/2", connection: 2, start: 11, status: 200},
		entry{id: "b", path: "/2", connection: 2, start: 10, takes: 5, attempts: 1, mirrors: 1,
			status: 200}))
	m.advance(time.Second)
	if want := []string{"/2 200 200@11"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	m.advance(3 * time.Second)
	n.take(message(entry{up: true, id: "a", path: "/1", start: 12, takes: 3000}))
	if want := []string{"/2 200 200@11", "/1 200 200@11 mirror@12"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestPatience: each request waits its own time.
func TestPatience(t *testing.T) {
	var got texts
	m := &manual{}
	n := New(Options{Clock: m, Sink: &got, Patience: time.Minute / slowAttempts}).node("a")
	for i := range 3 {
		n.take(message(entry{id: "a", path: fmt.Sprint("/", i), connection: i, attempts: 1}))
		m.advance(10 * time.Second)
	}
	for i := range 3 {
		m.advance(30 * time.Second / time.Duration(1+2*min(i, 1)))
		if len(got) != i+1 {
			t.Errorf("%d: %q", i, got)
		}
	}
}

// TestForget: what waits is recorded when its proxy has gone.
func TestForget(t *testing.T) {
	var got texts
	s := New(Options{Clock: &manual{}, Sink: &got})
	s.node("a").take(message(entry{id: "a", path: "/1", connection: 1, attempts: 1}))
	s.Forget("nobody")
	s.Forget("a")
	if !slices.Equal(got, []string{"/1 0"}) || s.Received("a") != 0 {
		t.Errorf("%q, %d", got, s.Received("a"))
	}
	n := s.node("a")
	s.Forget("a")
	if err := n.await(t.Context(), Entries{Requests: 1}); err != nil {
		t.Error(err) // nobody waits for who has gone
	}
}

// TestMostHeld: attempts whose request never comes do not pile up.
func TestMostHeld(t *testing.T) {
	s := New(Options{Clock: &manual{}, Sink: &texts{}})
	n := s.node("a")
	for i := range mostHeld + 1 {
		n.take(message(entry{up: true, id: "a", path: "/1", connection: 1 + i%2*i}))
	}
	if s.Dropped("a") != mostHeld || n.held != 1 {
		t.Errorf("dropped %d, held %d", s.Dropped("a"), n.held)
	}
}

// TestStrange: entries that another logger made are counted and dropped.
func TestStrange(t *testing.T) {
	var got texts
	s := New(Options{Clock: &manual{}, Sink: &got})
	n := s.node("a")
	for _, tags := range []map[string]string{nil, {namespace: ""}, {namespace: "1\n2\n3"}} {
		for _, kind := range []datav3.AccessLogType{datav3.AccessLogType_DownstreamEnd,
			datav3.AccessLogType_UpstreamEnd} {
			m := message(entry{})
			c := m.GetHttpLogs().GetLogEntry()[0].GetCommonProperties()
			c.AccessLogType, c.CustomTags = kind, tags
			n.take(m)
		}
		n.take(&alsv3.StreamAccessLogsMessage{LogEntries: &alsv3.StreamAccessLogsMessage_TcpLogs{
			TcpLogs: &alsv3.StreamAccessLogsMessage_TCPAccessLogEntries{
				LogEntry: []*datav3.TCPAccessLogEntry{{
					CommonProperties: &datav3.AccessLogCommon{CustomTags: tags}}}}}})
	}
	n.take(&alsv3.StreamAccessLogsMessage{})
	if s.Received("a") != 9 || s.Dropped("a") != 9 || len(got) > 0 {
		t.Errorf("received %d, dropped %d, %q", s.Received("a"), s.Dropped("a"), got)
	}
}

// TestAwait waits for entries and for the records that they make.
func TestAwait(t *testing.T) {
	var got texts
	m := &manual{}
	s := New(Options{Clock: m, Sink: &got})
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Await(ctx, "a", Entries{}); err != nil {
		t.Error(err)
	}
	s.node("a").take(message(entry{id: "a", path: "/1", connection: 1, attempts: 1}))
	done := make(chan error)
	go func() { done <- s.Await(ctx, "a", Entries{Requests: 1}) }()
	m.advance(slowAttempts * time.Second)
	if err := <-done; err != nil || len(got) != 1 {
		t.Error(err, got)
	}
	cancel()
	// What comes of connections is no request, and one that was served is not one without a chain.
	for _, flags := range []*datav3.ResponseFlags{nil, {NoRouteFound: true}} {
		s.node("a").take(&alsv3.StreamAccessLogsMessage{
			LogEntries: &alsv3.StreamAccessLogsMessage_TcpLogs{
				TcpLogs: &alsv3.StreamAccessLogsMessage_TCPAccessLogEntries{
					LogEntry: []*datav3.TCPAccessLogEntry{{
						CommonProperties: &datav3.AccessLogCommon{ResponseFlags: flags}}}}}})
	}
	if err := s.Await(ctx, "a", Entries{Requests: 1, Unmatched: 1}); err != nil {
		t.Error(err)
	}
	for _, more := range []Entries{{Requests: 2}, {Unmatched: 2}} {
		if err := s.Await(ctx, "a", more); !errors.Is(err, context.Canceled) {
			t.Error(more, err)
		}
	}
}
