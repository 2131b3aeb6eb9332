package assert

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Reply is what one exact request got, as `request -o json` prints it.
type Reply struct {
	N          int                 `json:"n"`
	RequestID  string              `json:"request_id"`
	Status     int                 `json:"status"`
	GRPCStatus *int                `json:"grpc_status"`
	Error      string              `json:"error"`
	DurationMS float64             `json:"duration_ms"`
	Headers    map[string][]string `json:"headers"`
	Body       string              `json:"body"`
	// Certificate has the DNS names and URIs of the server's, over TLS.
	Certificate []string        `json:"certificate,omitempty"`
	Backend     Backend         `json:"backend"`
	Hops        json.RawMessage `json:"hops,omitempty"`
}

// Backend is the pod that answered; empty when a proxy did.
type Backend struct {
	Workload  string `json:"workload"`
	Version   string `json:"version"`
	Pod       string `json:"pod"`
	Namespace string `json:"namespace"`
}

// WantReply is what each reply of a request step must be. What is not set is free.
type WantReply struct {
	Status   Statuses `yaml:"status" about:"status of each reply: 200, 5xx, a list"`
	Error    string   `yaml:"error" about:"no reply: connect, reset, timeout, tls, protocol"`
	Body     string   `yaml:"body" about:"the whole body, white space at its ends aside"`
	Contains string   `yaml:"contains" about:"a part of the body"`
	Matches  string   `yaml:"matches" about:"a regular expression (RE2) that the body matches"`
	Count    Numbers  `yaml:"count" about:"how often texts are in the body: {star: 9}"`
	Headers  Pairs    `yaml:"headers" about:"response headers; \"*\" is any value, \"-\" is none"`
	Version  string   `yaml:"version" about:"version of the pod that answers"`
	Workload string   `yaml:"workload" about:"workload that answers"`
	Pod      string   `yaml:"pod" about:"pod that answers; \"-\" is none: a proxy answers"`
	Took     Span     `yaml:"took" about:"< 250ms, >= 1s, 1s..1.3s"`

	Certificate string `yaml:"certificate" about:"a name in the server's certificate"`
}

// Validate says what is wrong with the expectation itself.
func (w *WantReply) Validate() error {
	if _, err := regexp.Compile(w.Matches); err != nil {
		return fmt.Errorf("matches: %w", err)
	}
	return nil
}

// Replies judges the replies of an exact request: each must be as wanted, and there must be sent
// of them.
func Replies(name string, want *WantReply, sent int, replies []Reply) Verdict {
	v := Verdict{Name: name, Wanted: want.String(), Samples: int64(len(replies))}
	if len(replies) < sent || sent == 0 {
		v.Outcome = Inconclusive
		v.Reason = fmt.Sprintf("%d of %d requests were sent", len(replies), sent)
	} else {
		v.Outcome = Pass
	}
	right := 0
	for i := range replies {
		why := want.differs(&replies[i])
		if why == "" {
			right++
			continue
		}
		if v.Outcome != Fail {
			v.Outcome, v.Reason = Fail, fmt.Sprintf("reply %d: %s", replies[i].N, why)
		}
		if len(v.Evidence) < 5 && replies[i].RequestID != "" {
			v.Evidence = append(v.Evidence, replies[i].RequestID)
		}
	}
	v.Observed = fmt.Sprintf("%s of %s as wanted", count(int64(right)), count(int64(len(replies))))
	return v
}

// SomeReply judges the replies of an exact request: at least one of those that there must be sent
// must be as wanted.
func SomeReply(name string, want *WantReply, sent int, replies []Reply) Verdict {
	v := Replies(name, want, sent, replies)
	v.Wanted = "at least one of " + want.String()
	right := func(r Reply) bool { return want.differs(&r) == "" }
	switch {
	case slices.ContainsFunc(replies, right):
		v.Outcome, v.Reason, v.Evidence = Pass, "", nil
	case len(replies) < sent || sent == 0:
		v.Outcome = Inconclusive
		v.Reason = fmt.Sprintf("%d of %d requests were sent", len(replies), sent)
	}
	return v
}

// String says what is wanted.
func (w *WantReply) String() string {
	var parts []string
	add := func(what, value string) {
		if value != "" {
			parts = append(parts, what+" "+value)
		}
	}
	add("status", w.Status.String())
	add("error", w.Error)
	add("body", quoted(w.Body))
	add("containing", quoted(w.Contains))
	add("matching", quoted(w.Matches))
	for _, c := range w.Count {
		add(c.Number.String(), "× "+strconv.Quote(c.Name))
	}
	for _, h := range w.Headers {
		add(h.Name+":", h.Value)
	}
	add("from version", w.Version)
	add("from", w.Workload)
	add("from pod", w.Pod)
	add("with a certificate of", w.Certificate)
	if w.Took.Set() {
		add("in", w.Took.String())
	}
	return strings.Join(parts, ", ")
}

// differs says in what a reply differs from what was wanted; empty: in nothing.
func (w *WantReply) differs(r *Reply) string {
	switch {
	case w.Error != "" && !strings.HasPrefix(r.Error, w.Error):
		return fmt.Sprintf("error %q instead of %s", r.Error, w.Error)
	case w.Error == "" && r.Error != "":
		return "error " + r.Error
	case len(w.Status) > 0 && !w.Status.Holds(r.Status):
		return fmt.Sprintf("status %d instead of %s", r.Status, w.Status)
	case w.Body != "" && strings.TrimSpace(r.Body) != strings.TrimSpace(w.Body):
		return fmt.Sprintf("body %q", short(r.Body))
	case !strings.Contains(r.Body, w.Contains):
		return fmt.Sprintf("body %q lacks %q", short(r.Body), w.Contains)
	case w.Matches != "" && !regexp.MustCompile(w.Matches).MatchString(r.Body):
		return fmt.Sprintf("body %q does not match %s", short(r.Body), w.Matches)
	case w.Version != "" && w.Version != r.Backend.Version:
		return fmt.Sprintf("version %q answered", r.Backend.Version)
	case w.Workload != "" && w.Workload != r.Backend.Workload:
		return fmt.Sprintf("workload %q answered", r.Backend.Workload)
	case w.Pod == "-" && r.Backend.Pod != "", w.Pod != "" && w.Pod != "-" && w.Pod != r.Backend.Pod:
		return fmt.Sprintf("pod %q answered", r.Backend.Pod)
	case w.Certificate != "" && !slices.Contains(r.Certificate, w.Certificate):
		return fmt.Sprintf("certificate of %q", strings.Join(r.Certificate, ", "))
	}
	if took := time.Duration(r.DurationMS * float64(time.Millisecond)); w.Took.Set() &&
		!w.Took.Holds(took) {
		return "took " + millis(took)
	}
	for _, c := range w.Count {
		if n := strings.Count(r.Body, c.Name); !c.Number.Holds(int64(n)) {
			return fmt.Sprintf("%q is %d times in the body", c.Name, n)
		}
	}
	for _, h := range w.Headers {
		got := strings.Join(r.Headers[strings.ToLower(h.Name)], ",")
		if !h.holds(got) {
			return fmt.Sprintf("header %s is %q", h.Name, short(got))
		}
	}
	return ""
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("%q", short(s))
}

func short(s string) string {
	s = strings.TrimSpace(s)
	if r := []rune(s); len(r) > 80 {
		return string(r[:77]) + "..."
	}
	return s
}
