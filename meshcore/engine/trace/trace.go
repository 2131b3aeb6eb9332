// Package trace holds what an exchange decided and why, as plain values: which filter chains,
// routes and hosts were looked at, what ruled each out, what each filter did. The engine fills them
// in as it decides, when it is asked to; nothing here decides anything.
package trace

import (
	"encoding/json"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// Trace is one exchange of one proxy.
type Trace struct {
	Listener string  `json:"listener"`
	Outbound bool    `json:"outbound"`
	Chains   []Chain `json:"chains"` // in the listener's order
	Chain    string  `json:"chain"`  // the one that was taken; empty: none

	// Path is the path that was matched, when it is not as the client sent it.
	Path       string  `json:"path,omitempty"`
	RouteTable string  `json:"route_table,omitempty"` // the route configuration
	Authority  string  `json:"authority,omitempty"`
	Host       string  `json:"virtual_host,omitempty"` // empty: none is for the authority
	Domain     string  `json:"domain,omitempty"`       // of it, that fits the authority best
	Routes     []Route `json:"routes,omitempty"`       // those tried, in order
	Taken      *Route  `json:"taken,omitempty"`        // nil: none matched
	Split      *Split  `json:"split,omitempty"`

	Filters  []Filter  `json:"filters,omitempty"` // in order, as far as the request came
	Changes  []string  `json:"changes,omitempty"` // to the request on its way upstream
	Limits   *Limits   `json:"limits,omitempty"`
	Attempts []Attempt `json:"attempts,omitempty"`
	Mirrors  []Mirror  `json:"mirrors,omitempty"`
	Reply    *Reply    `json:"reply,omitempty"` // nil: the upstream's answer went downstream

	Record observe.Request `json:"record"` // as it is at the end
}

// Chain is a filter chain and what ruled it out.
type Chain struct {
	Name   string `json:"name"`
	Config string `json:"config,omitempty"` // metadata istio.config
	Wants  string `json:"wants,omitempty"`
	// Failed is the first criterion by which another was better or it did not fit; empty: it was
	// taken.
	Failed string `json:"failed,omitempty"`
}

// Route is a route and the first of its conditions that failed.
type Route struct {
	Name   string `json:"name"`
	Config string `json:"config,omitempty"` // metadata istio.config
	Rule   string `json:"rule,omitempty"`   // metadata mesh-lab.rule: "Kind ns/name field"
	Wants  string `json:"wants"`
	Failed string `json:"failed,omitempty"` // empty: it matched
	Leads  string `json:"leads,omitempty"`  // what it does, in words
}

// Split is the choice of one cluster among several.
type Split struct {
	Draw    uint64   `json:"draw"` // below Total
	Total   uint64   `json:"total"`
	By      string   `json:"by"` // what drew: "random", "header NAME", "enumerated"
	Options []Option `json:"options"`
	Chosen  int      `json:"chosen"`
}

// Option is one cluster of a Split. It is taken by draws of [From, From+Weight).
type Option struct {
	Cluster string `json:"cluster"`
	Weight  uint64 `json:"weight"`
	From    uint64 `json:"from"`
}

// Filter is a filter and what it did.
type Filter struct {
	Name string `json:"name"`
	Did  string `json:"did"`
	// Policy names what decided, as the filter does.
	Policy string `json:"policy,omitempty"`
	Stops  bool   `json:"stops,omitempty"` // it answered, or closed
}

// Limits are the bounds in force, zero for none.
type Limits struct {
	Timeout  Duration `json:"timeout"` // of the route
	PerTry   Duration `json:"per_try"`
	Stream   Duration `json:"stream,omitzero"` // max_stream_duration
	Idle     Duration `json:"idle"`            // stream idle
	Connect  Duration `json:"connect"`
	Retries  int      `json:"retries"`
	RetryOn  string   `json:"retry_on,omitempty"`
	Breaker  string   `json:"breaker,omitempty"`
	Ejection string   `json:"ejection,omitempty"`
}

// Duration is one that JSON has as text: "1.5s".
type Duration time.Duration

// MarshalJSON writes it as Go prints it.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}

// Attempt is one try and how its host was chosen.
type Attempt struct {
	Cluster string  `json:"cluster"`
	Choice  *Choice `json:"choice,omitempty"` // nil: the cluster has no balancer
	// Host is the upstream's address, empty when there was none to be had; Pod is whose it is.
	Host    string `json:"host,omitempty"`
	Pod     string `json:"pod,omitempty"`
	Hash    string `json:"hash,omitempty"` // what was hashed; empty: no policy asks for one
	Outcome string `json:"outcome,omitempty"`
	Retry   string `json:"retry,omitempty"` // what was decided about another one
}

// Choice is how a load balancer came to a host.
type Choice struct {
	Policy     string   `json:"policy"`
	Priority   int      `json:"priority"`
	Loads      []uint32 `json:"loads,omitempty"` // percent for each priority, if several
	Panic      bool     `json:"panic,omitempty"` // unhealthy hosts count, too
	Locality   string   `json:"locality,omitempty"`
	Candidates []string `json:"candidates"` // addresses that were chosen from
	// LeftOut are unhealthy or ejected.
	LeftOut []string `json:"left_out,omitempty"`
	Drawn   string   `json:"drawn,omitempty"` // what led to the one, in words
	// TriedAgain counts the choices that a retry host predicate refused.
	TriedAgain int `json:"tried_again,omitempty"`
}

// Mirror is a copy that was made, or not, and why.
type Mirror struct {
	Cluster string `json:"cluster"`
	Did     string `json:"did"`
	Host    string `json:"host,omitempty"`
}

// Reply is an answer of the proxy's own.
type Reply struct {
	Status  int    `json:"status"`
	Details string `json:"details"`
}
