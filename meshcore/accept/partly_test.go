package accept_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/subscribe"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// mark writes a word into a resource, by which it is known again.
func mark(m proto.Message, name, word string) named {
	m = proto.Clone(m)
	switch m := m.(type) {
	case *clusterv3.Cluster:
		m.Name, m.AltStatName = name, word
		m.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		m.EdsClusterConfig = nil
		m.LoadAssignment = &endpointv3.ClusterLoadAssignment{ClusterName: name}
	case *endpointv3.ClusterLoadAssignment:
		m.ClusterName = name
		m.Endpoints[0].Locality.Region = word
	case *listenerv3.Listener:
		m.Name, m.StatPrefix = name, word
		port := uint32(100 + len(name)*10 + int(name[0]-'a'))
		m.Address.GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: port}
	case *routev3.RouteConfiguration:
		m.Name = name
		m.VirtualHosts[0].Name = word
	}
	return named{name, m}
}

// Two ways in which a resource is bad: what its protos say is not kept, or what is said beyond.
func againstProto(m proto.Message) {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		m.ConnectTimeout = durationpb.New(0)
	case *endpointv3.ClusterLoadAssignment:
		m.Endpoints[0].Priority = 129
	case *listenerv3.Listener:
		m.MaxConnectionsToAcceptPerSocketEvent = wrapperspb.UInt32(0)
	case *routev3.RouteConfiguration:
		m.VirtualHosts[0].Domains = nil
	}
}

func againstSense(m proto.Message) {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		m.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{}
	case *endpointv3.ClusterLoadAssignment:
		m.Endpoints[0].LbEndpoints[0].GetEndpoint().Address.GetSocketAddress().Address = "name"
	case *listenerv3.Listener:
		m.FilterChains = append(m.FilterChains, m.FilterChains[0])
	case *routev3.RouteConfiguration:
		m.VirtualHosts[0].Domains = []string{"a", "a"}
	}
}

// plane is our data plane behind a subscription.
type plane struct {
	*engine.Engine
	mu   sync.Mutex
	last *xds.Snapshot
}

func (p *plane) Update(s *xds.Snapshot) error {
	if err := p.Engine.Update(0, s); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = s
	return nil
}

// newOurs is a subject that is our own data plane.
func newOurs(t *testing.T, delta bool) (*subject, *plane) {
	s := newScript(delta)
	dir := listen(t, func(g *grpc.Server) { s.register(g) })
	conn, err := grpc.NewClient("unix:"+filepath.Join(dir, "ads"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	target := &plane{Engine: engine.New(engine.Options{}), last: xds.NewSnapshot()}
	p := &process{dir: dir, exited: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	client := subscribe.Client{Node: &corev3.Node{Id: "sidecar~10.0.0.1~a.b~c"}, Conn: conn,
		Target: target, Delta: delta}
	go func() { defer close(p.exited); _ = client.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-p.exited; conn.Close() })
	return &subject{t: t, s: s, p: p, asked: map[string]bool{}, port: 1000}, target
}

// inEffect lists what our data plane has: NAME=MARK.
func (p *plane) inEffect(typeURL string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for name, m := range p.last.Resources(typeURL) {
		out = append(out, name+"="+markOf(m))
	}
	slices.Sort(out)
	return out
}

func markOf(m proto.Message) string {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		return m.AltStatName
	case *endpointv3.ClusterLoadAssignment:
		return m.Endpoints[0].Locality.GetRegion()
	case *listenerv3.Listener:
		return m.StatPrefix
	case *routev3.RouteConfiguration:
		return m.VirtualHosts[0].Name
	}
	return ""
}

// inEffect lists what Envoy has.
func (p *process) inEffect(t *testing.T, typeURL string) []string {
	t.Helper()
	type cluster struct {
		Name string `json:"name"`
		Alt  string `json:"alt_stat_name"`
	}
	var dump struct {
		Configs []struct {
			Clusters []struct {
				Cluster cluster `json:"cluster"`
			} `json:"dynamic_active_clusters"`
			Listeners []struct {
				Active struct {
					Listener struct {
						Name string `json:"name"`
						Mark string `json:"stat_prefix"`
					} `json:"listener"`
				} `json:"active_state"`
			} `json:"dynamic_listeners"`
			Routes []struct {
				Config struct {
					Name  string `json:"name"`
					Hosts []struct {
						Name string `json:"name"`
					} `json:"virtual_hosts"`
				} `json:"route_config"`
			} `json:"dynamic_route_configs"`
			Endpoints []struct {
				Config struct {
					Name      string `json:"cluster_name"`
					Endpoints []struct {
						Locality struct {
							Region string `json:"region"`
						} `json:"locality"`
					} `json:"endpoints"`
				} `json:"endpoint_config"`
			} `json:"dynamic_endpoint_configs"`
		} `json:"configs"`
	}
	if err := json.Unmarshal([]byte(p.get(t, "/config_dump?include_eds")), &dump); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range dump.Configs {
		switch typeURL {
		case xds.ClusterType:
			for _, x := range c.Clusters {
				out = append(out, x.Cluster.Name+"="+x.Cluster.Alt)
			}
		case xds.ListenerType:
			for _, x := range c.Listeners {
				if x.Active.Listener.Name != "" {
					out = append(out, x.Active.Listener.Name+"="+x.Active.Listener.Mark)
				}
			}
		case xds.RouteType:
			for _, x := range c.Routes {
				out = append(out, x.Config.Name+"="+x.Config.Hosts[0].Name)
			}
		case xds.EndpointType:
			for _, x := range c.Endpoints {
				out = append(out, x.Config.Name+"="+x.Config.Endpoints[0].Locality.Region)
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestPartly: of a response with one bad resource between good ones, the same takes effect in Envoy
// and in our data plane.
func TestPartly(t *testing.T) {
	for api, delta := range map[string]bool{"state of the world": false, "delta": true} {
		for kind, spoil := range map[string]func(proto.Message){
			"against the protos": againstProto, "against sense": againstSense,
		} {
			for _, typeURL := range []string{xds.ClusterType, xds.ListenerType} {
				short := typeURL[strings.LastIndexByte(typeURL, '.')+1:]
				t.Run(fmt.Sprintf("%s/%s/%s", api, kind, short), func(t *testing.T) {
					real := newSubject(t, apis[api])
					partly(real, typeURL, spoil)
					mine, plane := newOurs(t, delta)
					partly(mine, typeURL, spoil)
					theirs, ours := real.p.inEffect(t, typeURL), plane.inEffect(typeURL)
					t.Logf("Envoy has %v", theirs)
					if d := cmp.Diff(theirs, ours); d != "" {
						t.Errorf("(-Envoy +ours)\n%s", d)
					}
				})
			}
		}
	}
}

// partly sends an update of the good resource, a bad one and a new good one.
func partly(s *subject, typeURL string, spoil func(proto.Message)) {
	s.t.Helper()
	of := goods(s.t)
	s.begin(of)
	good := of[typeURL]
	bad := mark(good, "o", "new")
	spoil(bad.Message)
	first := mark(good, goodName, "new")
	if typeURL == xds.ClusterType {
		first = named{goodName, good} // a change would make it wait for endpoints
	}
	why := s.send(typeURL, first, bad, mark(good, "z", "new"))
	if !strings.Contains(why, "o") || why == "" {
		s.t.Errorf("refused for %q", why)
	}
	s.t.Logf("refused: %s", oneLine(why))
}
