package reports

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Carried is what the proxies of a run carried out, and where their rules are written, each time it
// changed: by it a request of the run is explained afterwards. Each resource is kept once. Secrets
// are not kept. The zero value is empty. It is safe for concurrent use. In JSON it is one text:
// gzip, base64.
type Carried struct {
	mu        sync.Mutex
	moments   []Moment
	resources [][]byte
	index     map[[sha256.Size]byte]int
}

// Moment is what was carried out from an instant on.
type Moment struct {
	At clock.Instant `json:"at_ns"`
	// From is when the proxies began to change to it: until At each of them may have had either.
	From clock.Instant `json:"from_ns,omitempty"`
	// Nodes are the resources of each proxy, by type URL: places in the list of all.
	Nodes map[string]map[string][]int `json:"nodes"`
	// Places are where fields of rules are written, and Values the texts of some; by object and
	// field. nil: as in the moment before.
	Places     map[string]map[string]string `json:"places,omitempty"`
	Values     map[string]map[string]string `json:"values,omitempty"`
	Localities map[string][3]string         `json:"localities,omitempty"` // region, zone, sub-zone
	// InForce are each proxy's rules beside those that its routes name, as
	// translate.Translator.InForce has them. nil: as in the moment before.
	InForce map[string]map[string][]string `json:"in_force,omitempty"`

	of *Carried
}

// Add notes what is carried out from m.At on, without m.Nodes, which it makes of the snapshots.
func (c *Carried) Add(m Moment, snaps map[string]*xds.Snapshot) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.Nodes, m.of = map[string]map[string][]int{}, nil
	for _, node := range slices.Sorted(maps.Keys(snaps)) {
		m.Nodes[node] = map[string][]int{}
		for _, typ := range xds.Types {
			if typ == xds.SecretType {
				continue
			}
			all := snaps[node].Resources(typ)
			for _, name := range slices.Sorted(maps.Keys(all)) {
				at, err := c.add(all[name])
				if err != nil {
					return fmt.Errorf("%s %s: %w", node, name, err)
				}
				m.Nodes[node][typ] = append(m.Nodes[node][typ], at)
			}
		}
	}
	if n := len(c.moments); n > 0 && m.Places == nil && m.InForce == nil &&
		reflect.DeepEqual(m.Nodes, c.moments[n-1].Nodes) {
		return nil // nothing has changed
	}
	c.moments = append(c.moments, m)
	return nil
}

func (c *Carried) add(m proto.Message) (int, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(xds.Redact(m))
	if err != nil {
		return 0, err
	}
	sum := sha256.Sum256(b)
	at, ok := c.index[sum]
	if !ok {
		if c.index == nil {
			c.index = map[[sha256.Size]byte]int{}
		}
		at = len(c.resources)
		c.resources, c.index[sum] = append(c.resources, b), at
	}
	return at, nil
}

// At is what was carried out at an instant: nothing before the first Moment. While the proxies
// changed to something else that is the second one.
func (c *Carried) At(at clock.Instant) ([]*Moment, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*Moment
	out := Moment{of: c}
	for i := range c.moments {
		m := &c.moments[i]
		after := m.At > at && i > 0
		if after && (m.From == 0 || m.From > at) {
			break
		}
		out.At, out.From, out.Nodes, out.Localities = m.At, m.From, m.Nodes, m.Localities
		if m.Places != nil {
			out.Places, out.Values = m.Places, m.Values
		}
		if m.InForce != nil {
			out.InForce = m.InForce
		}
		if !after {
			list = list[:0]
		}
		one := out
		list = append(list, &one)
	}
	if len(list) == 0 {
		return nil, errors.New("the run does not say what its proxies carried out")
	}
	return list, nil
}

// Snapshot is what a node carried out.
func (m *Moment) Snapshot(node string) (*xds.Snapshot, error) {
	types, ok := m.Nodes[node]
	if !ok {
		return nil, fmt.Errorf("the run does not say what %s carried out then", node)
	}
	s := xds.NewSnapshot()
	if m.of == nil {
		return s, nil
	}
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	for typ, list := range types {
		for _, at := range list {
			if at < 0 || at >= len(m.of.resources) {
				return nil, fmt.Errorf("%s: there is no resource %d", node, at)
			}
			if err := put(s, typ, m.of.resources[at]); err != nil {
				return nil, fmt.Errorf("%s: resource %d: %w", node, at, err)
			}
		}
	}
	return s, nil
}

func put(s *xds.Snapshot, typ string, b []byte) error {
	switch typ {
	case xds.ListenerType:
		return into(s.Listeners, b, &listenerv3.Listener{})
	case xds.RouteType:
		return into(s.Routes, b, &routev3.RouteConfiguration{})
	case xds.ClusterType:
		return into(s.Clusters, b, &clusterv3.Cluster{})
	case xds.EndpointType:
		return into(s.Endpoints, b, &endpointv3.ClusterLoadAssignment{})
	}
	return fmt.Errorf("unknown type %s", typ)
}

func into[M proto.Message](all map[string]M, b []byte, m M) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return err
	}
	all[xds.Name(m)] = m
	return nil
}

// carriedText is what MarshalJSON compresses.
type carriedText struct {
	Moments   []Moment `json:"moments"`
	Resources [][]byte `json:"resources"`
}

// MarshalJSON writes it compressed.
func (c *Carried) MarshalJSON() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(carriedText{c.moments, c.resources}); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return json.Marshal(b.Bytes())
}

// mostCarried bounds what is unpacked of a file.
const mostCarried = 1 << 30

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Carried) UnmarshalJSON(text []byte) error {
	var packed []byte
	if err := json.Unmarshal(text, &packed); err != nil {
		return fmt.Errorf("carried: %w", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("carried: %w", err)
	}
	var t carriedText
	if err := json.NewDecoder(io.LimitReader(z, mostCarried)).Decode(&t); err != nil {
		return fmt.Errorf("carried: %w", err)
	}
	c.moments, c.resources = t.Moments, t.Resources
	return nil
}
