package assert

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// shop builds a History of requests from a client "web" through the sidecar of "front" to "shop".
type shop struct {
	h observe.History
	n int
	// at is the step's time line, a millisecond a request.
	at clock.Instant
}

// call is one request: what each side records of it.
type call struct {
	version string // that answered; "" when a proxy did
	pod     string
	status  int
	flags   string
	took    time.Duration
	tries   int // at the destination; 1 unless said
	headers map[string]string
	mirror  string
	failed  []string // addresses of tries that failed before the last
}

const ms1 = clock.Instant(time.Millisecond)

var addresses = map[string]string{
	"shop-v1-0": "10.244.0.4:80", "shop-v1-1": "10.244.0.5:80", "shop-v2-0": "10.244.0.6:80",
}

func (s *shop) call(times int, c call) *shop {
	for range times {
		s.one(c)
	}
	return s
}

func (s *shop) one(c call) {
	id := fmt.Sprint("r", s.n)
	s.n++
	s.at += ms1
	if c.status == 0 {
		c.status = 200
	}
	if c.version != "" && c.pod == "" {
		c.pod = "shop-" + c.version + "-0"
	}
	r := observe.Request{
		ID: id, Start: s.at, Duration: c.took, Reporter: observe.Source, Proxy: "front-0.default",
		Workload: "front", Namespace: "default", Status: c.status, Flags: c.flags,
		Cluster: "outbound|80||shop.default.svc.cluster.local", Headers: c.headers,
		Config: "VirtualService default/shop", Path: "/buy?user=" + c.headers["user"],
		Remote: "10.244.0.2:4711",
	}
	for _, a := range c.failed {
		r.Attempts = append(r.Attempts, observe.Attempt{Upstream: a, Status: 503, Start: s.at})
	}
	if c.pod != "" {
		r.Upstream = addresses[c.pod]
		r.Dest = observe.Workload{Pod: "shop-" + c.version, Workload: "shop-" + c.version, Service: "shop",
			Version: c.version, Namespace: "default"}
		for range max(1, c.tries) {
			r.Attempts = append(r.Attempts, observe.Attempt{Upstream: r.Upstream, Pod: r.Dest.Pod,
				Version: c.version, Status: c.status, Start: s.at})
			s.h.Requests = append(s.h.Requests, observe.Request{
				ID: id, Start: s.at, Reporter: observe.Destination, Proxy: c.pod + ".default",
				Local:    addresses[c.pod],
				Workload: "shop-" + c.version, Version: c.version, Namespace: "default",
				Status: c.status, Headers: c.headers,
			})
		}
	}
	if c.mirror != "" {
		r.Mirrors = []observe.Attempt{{Pod: c.mirror + "-0", Version: "v2"}}
	}
	s.h.Requests = append(s.h.Requests, r)
	s.h.Clients = append(s.h.Clients, observe.Client{ID: id, From: "web", Start: s.at,
		Duration: c.took, Status: c.status})
}

func (s *shop) change(kind string, at time.Duration, pod string) *shop {
	s.h.Changes = append(s.h.Changes, observe.Change{At: clock.Instant(at), Kind: kind,
		What: "outbound|80||shop.default.svc.cluster.local " + addresses[pod], By: "front-0.default"})
	return s
}

// from fills an expectation's texts as a scenario would.
func num(t string) (n Number)   { must(n.UnmarshalText([]byte(t))); return n }
func shr(t string) (s Share)    { must(s.UnmarshalText([]byte(t))); return s }
func spn(t string) (s Span)     { must(s.UnmarshalText([]byte(t))); return s }
func dur(t string) (d Duration) { must(d.UnmarshalText([]byte(t))); return d }

func sts(t ...string) (s Statuses) {
	for _, x := range t {
		var r StatusRange
		must(r.UnmarshalText([]byte(x)))
		s = append(s, r)
	}
	return s
}

func amounts(pairs ...string) (a Amounts) {
	for i := 0; i < len(pairs); i += 2 {
		must(a.Put(pairs[i], pairs[i+1]))
	}
	return a
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func user(i int) map[string]string { return map[string]string{"x-user": fmt.Sprint("u", i)} }

func TestExpectations(t *testing.T) {
	v1, v2 := call{version: "v1"}, call{version: "v2"}
	second := call{version: "v1", pod: "shop-v1-1"}
	abort := call{status: 503, flags: "FI"}
	overflow := call{status: 503, flags: "UO"}
	bad := call{version: "v2", status: 503}
	turns := func(n int, who ...call) *shop {
		s := &shop{}
		for i := range n {
			s.one(who[i%len(who)])
		}
		return s
	}
	users := func(n int, pod func(i int) call) *shop {
		s := &shop{}
		for i := range n {
			c := pod(i)
			c.headers = user(i % 10)
			s.one(c)
		}
		return s
	}
	for _, c := range []struct {
		name string
		e    Expectation
		s    *shop
		want Outcome
		says string // part of the reason
	}{
		{"success", &Success{Share: shr("100%")}, turns(50, v1), Pass, ""},
		{"success, one fails", &Success{Share: shr("100%")}, turns(50, v1).call(1, bad), Fail,
			"1 of 51 are stray"},
		{"success bound", &Success{Share: shr(">= 90%")}, turns(2000, v1), Pass, ""},
		{"success bound, too few", &Success{Share: shr(">= 90%")}, turns(20, v1), Inconclusive,
			"too few"},
		{"success bound broken", &Success{Share: shr(">= 90%")}, turns(2000, v1, bad), Fail,
			"40 points less"},
		{"nothing sent", &Success{Share: shr("100%")}, &shop{}, Inconclusive, "no request"},
		{"status shares", &Status{Amounts: amounts("200", "50%", "503", "50%")},
			turns(6000, v1, bad), Pass, ""},
		{"status with a stray one", &Status{Amounts: amounts("200", "50%", "503", "50%")},
			turns(6000, v1, bad).call(1, call{version: "v1", status: 404}), Fail, "other"},
		{"status numbers", &Status{Amounts: amounts("200", ">= 1", "5xx", "3")},
			turns(9, v1).call(3, bad), Pass, ""},
		{"status numbers wrong", &Status{Amounts: amounts("503", "3")}, turns(9, v1).call(4, bad),
			Fail, "503: 4 instead of 3"},
		{"status numbers missing", &Status{Amounts: amounts("503", "3")}, turns(9, v1), Fail,
			"0 instead of 3"},
		{"flags", &Flags{Where: Where{From: "front"}, Amounts: amounts("FI", "3")},
			turns(9, v1).call(3, abort), Pass, ""},
		{"a fault that never fired", &Flags{Where: Where{From: "front"}, Amounts: amounts("FI", "30%")},
			turns(20, v1), Inconclusive, "never happened"},
		{"a fault that certainly is not there", &Flags{Where: Where{From: "front"},
			Amounts: amounts("FI", "30%")}, turns(2000, v1), Fail, "30 points less"},
		{"slower", &Slower{Than: dur("1s"), Share: shr("50%")},
			turns(6000, v1, call{version: "v1", took: time.Second}), Pass, ""},
		{"slower, none is", &Slower{Than: dur("1s"), Share: shr("50%")}, turns(600, v1), Fail, "less"},
		{"faster", &Faster{Than: dur("1s"), Share: shr("100%")}, turns(60, v1), Pass, ""},
		{"quantile", &Quantile{Q: .5, Bound: spn("< 1s")}, turns(300, v1), Pass, ""},
		{"quantile broken", &Quantile{Q: .5, Bound: spn("< 1s")},
			turns(300, call{version: "v1", took: time.Second}), Fail, "300 of 300 took 1 s or longer"},
		{"quantile above", &Quantile{Q: .5, Bound: spn(">= 1s")},
			turns(300, call{version: "v1", took: time.Second}), Pass, ""},
		{"count", &Count{Where: Where{At: "shop-v2"}, Is: num("3")}, turns(9, v1, v1, v2), Pass, ""},
		{"count wrong", &Count{Where: Where{At: "shop"}, Is: num("<= 8")}, turns(9, v1), Fail,
			"9 instead of at most 8"},
		{"never", &Never{Where: Where{At: "shop", Version: "v2"}}, turns(9, v1), Pass, ""},
		{"never, but once", &Never{Where: Where{At: "shop-v2"}}, turns(9, v1).call(1, v2), Fail,
			"1 of 10 should not have happened"},
		{"never after", &Never{Where: Where{At: "shop-v2"}, After: dur("5ms")},
			turns(4, v2).call(9, v1), Pass, ""},
		{"eventually", &Eventually{Where: Where{To: "shop", Version: "v2"}},
			turns(9, v1).call(1, v2), Pass, ""},
		{"eventually, too late", &Eventually{Where: Where{At: "shop-v2"}, Within: dur("5ms")},
			turns(9, v1).call(1, v2), Fail, "0 instead of at least 1"},
		{"aborted never arrive", &Relation{Of: Where{From: "front", Flag: "FI"}, That: Where{At: "shop"},
			Is: shr("0%")}, turns(20, v1, abort), Pass, ""},
		{"aborted arrive", &Relation{Of: Where{From: "front", Flag: "FI"}, That: Where{At: "shop"},
			Is: shr("0%")}, turns(20, v1, call{version: "v1", flags: "FI"}), Fail,
			"10 of 10 should not have happened"},
		{"hidden", &Hidden{Where{From: "front", Attempts: num(">= 2")}},
			turns(20, v1, call{version: "v1", failed: []string{addresses["shop-v2-0"]}}), Pass, ""},
		{"not hidden", &Hidden{Where{At: "shop-v2", Status: sts("503")}}, turns(20, v1, bad), Fail,
			"10 of 10"},
		{"nothing to hide", &Hidden{Where{At: "shop-v2", Status: sts("503")}}, turns(20, v1),
			Inconclusive, "no request"},
		{"sticky", &Sticky{Service: "shop", By: "header x-user", Pods: num("2"), Keys: num("10")},
			users(100, func(i int) call { return []call{v1, v2}[i%2] }), Pass, ""},
		{"not sticky", &Sticky{Service: "shop", By: "header X-User"},
			users(100, func(i int) call { return []call{v1, v2, v2}[i%3] }), Fail,
			"u0 went to shop-v1-0, then to shop-v2-0"},
		{"sticky on one pod only", &Sticky{Service: "shop", By: "header x-user", Pods: num(">= 2")},
			users(100, func(int) call { return v1 }), Fail, "1 pods are in use"},
		{"sticky within version", &Sticky{Service: "shop", By: "header x-user", Within: "version"},
			users(90, func(i int) call { return []call{v1, v2, v2}[i%3] }), Pass, ""},
		{"sticky without keys", &Sticky{Service: "shop", By: "cookie id"}, turns(9, v1), Inconclusive,
			"9 requests had no cookie id"},
		{"sticky by source", &Sticky{Service: "shop", By: "source"}, turns(9, v1), Pass, ""},
		{"sticky by query", &Sticky{Service: "shop", By: "query user"},
			(&shop{}).call(5, call{version: "v1", headers: map[string]string{"user": "a"}}), Pass, ""},
		{"sticky by cookie", &Sticky{Service: "shop", By: "cookie id"},
			(&shop{}).call(5, call{version: "v1", headers: map[string]string{"cookie": "a=1; id=7"}}),
			Pass, ""},
		{"scattered", &Scattered{Service: "shop", By: "header x-user"},
			users(90, func(i int) call { return []call{v1, v2, v2}[i%3] }), Pass, ""},
		{"not scattered", &Scattered{Service: "shop", By: "header x-user"},
			users(200, func(int) call { return v1 }), Fail, "each key kept its pod"},
		{"rotation", &Rotation{Service: "shop", Over: num("3")}, turns(30, v1, second, v2), Pass, ""},
		{"rotation broken", &Rotation{Service: "shop"}, turns(30, v1, second, v2).call(2, v2), Fail,
			"shop-v2-0 came after"},
		{"rotation over fewer", &Rotation{Service: "shop", Over: num("3")}, turns(30, v1, v2), Fail,
			"2 take turns"},
		{"rotation unseen", &Rotation{Service: "shop"}, turns(2, v1, v2), Inconclusive, "too few"},
		{"attempts as made", &Attempts{Where: Where{From: "front", To: "shop"}, Each: num("3")},
			turns(9, call{version: "v2", tries: 3}), Pass, ""},
		{"attempts as they arrive", &Attempts{Where: Where{At: "shop"}, Each: num("1..2"),
			Total: num("15")}, turns(10, call{version: "v2", tries: 2}, v1), Pass, ""},
		{"attempts too many", &Attempts{Where: Where{At: "shop"}, Each: num("1..2")},
			turns(9, v1).call(1, call{version: "v2", tries: 3}), Fail, "1 of 10 requests"},
		{"overflow", &Overflow{From: "front", To: "shop"}, turns(20, v1, overflow), Pass, ""},
		{"no overflow", &Overflow{From: "front", To: "shop"}, turns(20, v1), Fail,
			"0 of 20 requests overflowed"},
		{"overflow that clients do not see", &Overflow{From: "front", To: "shop"},
			turns(20, v1, overflow).call(1, bad), Fail, "11 clients got 503 but 10"},
		{"overflow that arrives", &Overflow{From: "front", To: "shop"},
			turns(20, v1, call{version: "v1", status: 503, flags: "UO"}), Fail, "were seen at shop"},
		{"ejected", &Ejected{Pod: "shop-v2", By: "front", Times: num("1"), For: spn("1s..1100ms")},
			turns(9, v1, bad).change("eject", 20*time.Millisecond, "shop-v2-0").
				change("uneject", 1050*time.Millisecond, "shop-v2-0"), Pass, ""},
		{"ejected for too short", &Ejected{Pod: "shop-v2", For: spn("1s..1100ms")},
			turns(9, v1, bad).change("eject", 20*time.Millisecond, "shop-v2-0").
				change("uneject", 520*time.Millisecond, "shop-v2-0"), Fail, "it was out for 500 ms"},
		{"ejected too late", &Ejected{Pod: "shop-v2", Within: dur("10ms")},
			turns(9, v1, bad).change("eject", 20*time.Millisecond, "shop-v2-0"), Fail,
			"ejected 18 ms after the first failure"},
		{"another is ejected", &Ejected{Pod: "shop-v2-0"},
			turns(9, v1, bad).change("eject", 20*time.Millisecond, "shop-v1-0"), Fail, "0 times"},
		{"never ejected", &Ejected{Pod: "shop-v2", Times: num("0")}, turns(9, v1, v2), Pass, ""},
		{"still out", &Ejected{Pod: "shop-v2", For: spn(">= 1s")},
			turns(9, v1, bad).change("eject", 20*time.Millisecond, "shop-v2-0"), Inconclusive,
			"still out"},
		{"returned", &Returned{Pod: "shop-v2", After: spn("1s..2s")},
			turns(9, v1, bad).change("eject", -200*time.Millisecond, "shop-v2-0").
				change("uneject", 900*time.Millisecond, "shop-v2-0"), Pass, ""},
		{"not returned", &Returned{Pod: "shop-v2"},
			turns(9, v1, bad).change("eject", 20*time.Millisecond, "shop-v2-0"), Fail, "0 times"},
		{"mirrored", &Mirrored{Service: "shop", To: "shop-v2"},
			turns(9, call{version: "v1", mirror: "shop-v2"}), Pass, ""},
		{"not mirrored", &Mirrored{Service: "shop", To: "v2"},
			turns(9, call{version: "v1", mirror: "shop-v2"}).call(1, v1), Fail, "1 of 10 are stray"},
		{"headers", &Headers{At: "shop", Pairs: Pairs{{"X-User", "*"}, {"x-none", "-"}}},
			users(9, func(int) call { return v1 }), Pass, ""},
		{"headers missing", &Headers{At: "shop", Pairs: Pairs{{"x-user", "u0"}}},
			users(9, func(int) call { return v1 }), Fail, "8 of 9 are stray"},
		{"split by pod", &Split{Service: "shop", By: "pod", Shares: Shares{
			{"shop-v1-0", shr("50%")}, {"shop-v1-1", shr("50%")}}}, turns(6000, v1, second), Pass, ""},
		{"split, aborted ones aside", &Split{Service: "shop", Shares: Shares{{"v1", shr("100%")}}},
			turns(20, v1, abort), Pass, ""},
		{"split with a bound", &Split{Service: "shop", Shares: Shares{{"v2", shr("<= 10%")}}},
			turns(2000, v1), Pass, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			terms := Terms{Step: "s", Until: clock.Never, Alpha: 1e-6, Tolerance: DefaultTolerance}
			v := Check(c.e, &c.s.h, terms)
			if v.Outcome != c.want || !strings.Contains(v.Reason, c.says) {
				t.Errorf("%v %q, want %v %q: %+v", v.Outcome, v.Reason, c.want, c.says, v)
			}
			if v.Name == "" || v.Wanted == "" || c.s.n > 0 && v.Observed == "" {
				t.Errorf("not explained: %+v", v)
			}
			if v.Outcome == Pass && v.Reason != "" || v.Outcome != Pass && v.Reason == "" {
				t.Errorf("%v for the reason %q", v.Outcome, v.Reason)
			}
			if !c.e.Statistical() && v.FalseAlarm != 0 {
				t.Errorf("exact, but false alarm %g", v.FalseAlarm)
			}
		})
	}
}

// Records of other steps are no evidence.
func TestJudgeTakesOnlyRecordsOfTheStep(t *testing.T) {
	s := (&shop{}).call(10, call{version: "v1"}).call(10, call{version: "v2"})
	e := &Count{Where: Where{At: "shop"}, Is: num("10")}
	terms := Terms{From: 11 * ms1, Until: clock.Never}
	if v := Check(e, &s.h, terms); v.Outcome != Pass {
		t.Errorf("%+v", v)
	}
	terms.Until = 15 * ms1
	if v := Check(e, &s.h, terms); v.Outcome != Fail {
		t.Errorf("%+v", v)
	}
}

func TestDecidedStopsAtTheFirstFailureOrWhenAllAre(t *testing.T) {
	terms := Terms{Until: clock.Never, Alpha: 1e-6, Tolerance: 0.05}
	j := NewJudge(terms, &Success{Share: shr("100%")},
		&Split{Service: "shop", Shares: Shares{{"v1", shr("100%")}}})
	s := (&shop{}).call(1000, call{version: "v1"})
	decided := 0
	for i := range s.h.Clients {
		j.Request(&s.h.Requests[2*i])
		j.Request(&s.h.Requests[2*i+1])
		if j.Client(&s.h.Clients[i]); j.Decided() {
			decided = i + 1
			break
		}
	}
	// (n+1) 0.95^n = 1e-6: after so many a drift of five points would have shown.
	want := 0
	for n := 1; ; n++ {
		if math.Log(float64(n)+1)+float64(n)*math.Log(.95) <= math.Log(1e-6) {
			want = n
			break
		}
	}
	if decided != want {
		t.Errorf("decided after %d, want %d", decided, want)
	}
	j = NewJudge(terms, &Success{Share: shr("100%")}, &Success{Share: shr("50%")})
	j.Client(&observe.Client{Status: 503})
	if !j.Decided() {
		t.Error("not decided by a failure")
	}
}

func TestValues(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"10%", "10 %"}, {"10% ± 2%", "10 % ± 2"}, {">= 99%", ">= 99 %"}, {"< 1%", "<= 1 %"},
		{"20%..30%", "20 % to 30 %"}, {"0.05%", "0.05 %"}, {"100%", "100 %"},
	} {
		if got := shr(c.text).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.text, got, c.want)
		}
	}
	for _, bad := range []string{"", "10", "-1%", "101%", "30%..20%", "x%", "NaN%", "5% ± x"} {
		var s Share
		if s.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("share %q: no error", bad)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"20", "20"}, {">= 1", "at least 1"}, {"> 1", "at least 2"}, {"<= 3", "at most 3"},
		{"< 3", "at most 2"}, {"1..3", "1 to 3"}, {"12000", "12,000"},
	} {
		if got := num(c.text).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.text, got, c.want)
		}
	}
	for _, bad := range []string{"", "x", "-1", "3..1", "< 1..2", "1.5"} {
		var n Number
		if n.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("number %q: no error", bad)
		}
	}
	for _, bad := range []string{"", "250ms", "< x", "2s..1s", "> 1s..2s"} {
		var s Span
		if s.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("span %q: no error", bad)
		}
	}
}

func TestNumbersAreReadable(t *testing.T) {
	for x, want := range map[float64]string{
		0.1: "10 %", 0.897: "89.7 %", 0: "0 %", 1: "100 %", 0.0004: "0.04 %", 0.005: "0.5 %",
	} {
		if got := pct(x); got != want {
			t.Errorf("%g: %s, want %s", x, got, want)
		}
	}
	if count(1234567) != "1,234,567" || count(-1000) != "-1,000" || count(999) != "999" {
		t.Error(count(1234567), count(-1000), count(999))
	}
}

// Of several replies, some may have to be as others need not.
func TestSomeReply(t *testing.T) {
	want := &WantReply{Contains: "star", Count: Numbers{{Name: "star", Number: Exact(2)}}}
	replies := []Reply{{Body: "star"}, {Body: "star star"}, {Body: ""}}
	for _, c := range []struct {
		sent    int
		replies []Reply
		want    Outcome
	}{
		{3, replies, Pass},
		{4, replies, Pass},
		{2, []Reply{replies[0], replies[2]}, Fail},
		{2, replies[:1], Inconclusive},
	} {
		if v := SomeReply("r", want, c.sent, c.replies); v.Outcome != c.want {
			t.Errorf("%d of %d: %+v", len(c.replies), c.sent, v)
		}
	}
	if v := Replies("r", want, 3, replies); v.Outcome != Fail ||
		v.Reason != `reply 0: "star" is 1 times in the body` {
		t.Errorf("%+v", v)
	}
}
