package around

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Callers is what a pod that remembers answers.
type Callers struct {
	Requests  int      `json:"requests"`  // in all
	Forgotten int      `json:"forgotten"` // of these: for which there was no room for a row
	Callers   []Caller `json:"callers"`   // the most frequent first
}

// Caller is one row: how many requests were alike in all this.
type Caller struct {
	// Caller is the identity that the client's certificate proved to the sidecar, from
	// x-forwarded-client-cert; empty: it had none.
	Caller    string `json:"caller"`
	UserAgent string `json:"user_agent"`
	Path      string `json:"path"`   // without the query
	Status    int    `json:"status"` // 0: the client left, or the connection was broken off
	Count     int    `json:"count"`
}

// callers remembers at most so many different rows.
type callers struct {
	most int

	mu        sync.Mutex
	requests  int
	forgotten int
	rows      map[Caller]int // by row without count
}

func newCallers(most int) *callers { return &callers{most: most, rows: map[Caller]int{}} }

// longest is how many bytes of a name are kept.
const longest = 256

func short(s string) string { return strings.Clone(s[:min(len(s), longest)]) }

// count remembers a request.
func (c *callers) count(r *http.Request, status int) {
	row := Caller{
		Caller: short(principal(r.Header.Get("X-Forwarded-Client-Cert"))),
		Path:   short(r.URL.Path), UserAgent: short(r.UserAgent()), Status: status,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	if _, known := c.rows[row]; !known && len(c.rows) == c.most {
		c.forgotten++
		return
	}
	c.rows[row]++
}

// seen returns what is remembered.
func (c *callers) seen() Callers {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Callers{Requests: c.requests, Forgotten: c.forgotten, Callers: []Caller{}}
	for row, n := range c.rows {
		row.Count = n
		out.Callers = append(out.Callers, row)
	}
	slices.SortFunc(out.Callers, func(a, b Caller) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Caller, b.Caller),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.UserAgent, b.UserAgent),
			cmp.Compare(a.Status, b.Status))
	})
	return out
}

// ServeHTTP tells who called, or forgets it.
func (c *callers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(c.seen()) // the client may be gone
	case http.MethodDelete:
		c.mu.Lock()
		c.requests, c.forgotten, c.rows = 0, 0, map[Caller]int{}
		c.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", "DELETE, GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

// principal returns who the nearest client is by its certificate: the URI, else the subject.
// Proxies append, so that the last element is what the pod's own sidecar has seen itself. Envoy's
// documentation of HTTP connection manager headers, x-forwarded-client-cert.
func principal(xfcc string) string {
	elements := splitOutside(xfcc, ',')
	subject := ""
	for _, pair := range splitOutside(elements[len(elements)-1], ';') {
		key, value, _ := strings.Cut(pair, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(key) {
		case "uri":
			if value != "" {
				return value
			}
		case "subject":
			subject = value
		}
	}
	return subject
}

// splitOutside splits at a separator that is not within double quotes.
func splitOutside(s string, separator byte) []string {
	var out []string
	quoted, from := false, 0
	for i := range len(s) {
		switch {
		case s[i] == '"' && (i == 0 || s[i-1] != '\\'):
			quoted = !quoted
		case s[i] == separator && !quoted:
			out, from = append(out, s[from:i]), i+1
		}
	}
	return append(out, s[from:])
}
