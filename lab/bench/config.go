package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// services are Deployments and Services of one app each.
func services(n, replicas int) string {
	out := workload("client", 1) + workload("server", 1)
	for i := range n {
		out += workload(fmt.Sprintf("svc-%d", i), replicas)
	}
	return out
}

func workload(name string, replicas int) string {
	return fmt.Sprintf(`---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: default, labels: {app: %[1]s}}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s, version: v1}}
    spec: {containers: [{name: echo, image: mesh-lab/echo, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: default}
spec: {selector: {app: %[1]s}, ports: [{name: http, port: 8080}]}
`, name, replicas)
}

const namespace = `---
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {istio-injection: enabled}}
`

// read makes a configuration of YAML.
func read(yaml string) (*istio.Config, error) {
	c, diags := istio.Read([]istio.File{{Name: "bench.yaml", Data: []byte(namespace + yaml)}},
		istio.ReadOptions{})
	var err error
	for _, d := range diags {
		if d.Severity == istio.Error {
			err = errors.Join(err, errors.New(d.String()))
		}
	}
	return c, err
}

// snapshots returns what a client and a server pod are given, among ten more services.
func snapshots() (client, server *xds.Snapshot, err error) {
	c, err := read(services(8, 1))
	if err != nil {
		return nil, nil, err
	}
	reg, _ := translate.NewRegistry(c, nil)
	t := translate.New(c, reg)
	for _, p := range reg.Pods {
		switch p.Workload {
		case "client":
			client, _ = t.Snapshot(p)
		case "server":
			server, _ = t.Snapshot(p)
		}
	}
	return client, server, nil
}

// writeOutbound writes the client's side: its HTTP listener at addr, the server at to.
func (b *lab) writeOutbound(file string, s *xds.Snapshot, addr, to string, how security) error {
	l := proto.CloneOf(s.Listeners["0.0.0.0_8080"])
	if l == nil {
		return errors.New("the client has no listener 0.0.0.0_8080")
	}
	// Only the chain for HTTP, which needs no inspection: the port is reached directly.
	chain := httpChain(l.FilterChains, 0)
	const name = "outbound|8080||server.default.svc.cluster.local"
	out, err := bootstrap(s, listener(chain, addr, corev3.TrafficDirection_OUTBOUND), name, to)
	if err != nil {
		return err
	}
	return b.write(file, out, 0, how, name)
}

// writeInbound writes the server's side: its HTTP chain at addr, the app at to.
func (b *lab) writeInbound(file string, s *xds.Snapshot, addr, to string, how security) error {
	chain := httpChain(s.Listeners["virtualInbound"].GetFilterChains(), 8080)
	l := listener(chain, addr, corev3.TrafficDirection_INBOUND)
	out, err := bootstrap(s, l, "inbound|8080||", to)
	if err != nil {
		return err
	}
	return b.write(file, out, 1, how, "inbound|8080||")
}

// write secures a hop as its row wants it, and writes its file.
func (b *lab) write(file string, out *bootstrapv3.Bootstrap, hop int, how security,
	cluster string) error {
	if err := b.credentials.secure(out, hop, how, cluster); err != nil {
		return err
	}
	data, err := protojson.Marshal(out)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

// httpChain returns the first chain for a port (0: any) with a connection manager, without its
// match.
func httpChain(chains []*listenerv3.FilterChain, port uint32) *listenerv3.FilterChain {
	for _, c := range chains {
		for _, f := range c.Filters {
			if f.GetTypedConfig().MessageIs(&hcmv3.HttpConnectionManager{}) &&
				c.GetFilterChainMatch().GetDestinationPort().GetValue() == port {
				c = proto.CloneOf(c)
				c.FilterChainMatch = nil
				return c
			}
		}
	}
	return &listenerv3.FilterChain{}
}

func listener(chain *listenerv3.FilterChain, addr string,
	d corev3.TrafficDirection) *listenerv3.Listener {
	return &listenerv3.Listener{Name: "bench", Address: address(addr), TrafficDirection: d,
		FilterChains: []*listenerv3.FilterChain{chain}}
}

func address(a string) *corev3.Address {
	host, port, _ := net.SplitHostPort(a)
	n, _ := strconv.ParseUint(port, 10, 16)
	at := &corev3.SocketAddress{Address: host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(n)}}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: at}}
}

// bootstrap makes a snapshot static: routes inside of the listener, endpoints inside of clusters,
// those of one cluster at a real address.
func bootstrap(s *xds.Snapshot, l *listenerv3.Listener, name, to string) (
	*bootstrapv3.Bootstrap, error) {
	for _, f := range l.FilterChains[0].Filters {
		var m hcmv3.HttpConnectionManager
		if f.GetTypedConfig().UnmarshalTo(&m) != nil {
			continue
		}
		if rds := m.GetRds(); rds != nil {
			m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{
				RouteConfig: s.Routes[rds.GetRouteConfigName()]}
		}
		a, err := anypb.New(&m)
		if err != nil {
			return nil, err
		}
		f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: a}
	}
	b := &bootstrapv3.Bootstrap{StaticResources: &bootstrapv3.Bootstrap_StaticResources{
		Listeners: []*listenerv3.Listener{l}}}
	for _, c := range s.Clusters {
		if c.GetType() == clusterv3.Cluster_ORIGINAL_DST && c.Name != name {
			continue
		}
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, static(s, c, name, to))
	}
	return b, nil
}

func static(s *xds.Snapshot, c *clusterv3.Cluster, name, to string) *clusterv3.Cluster {
	c = proto.CloneOf(c)
	if c.GetType() == clusterv3.Cluster_EDS {
		service := c.GetEdsClusterConfig().GetServiceName()
		c.LoadAssignment, c.EdsClusterConfig = proto.CloneOf(s.Endpoints[service]), nil
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	}
	if c.Name != name {
		return c
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	c.UpstreamBindConfig, c.LbConfig = nil, nil
	if c.LbPolicy == clusterv3.Cluster_CLUSTER_PROVIDED {
		c.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
	}
	c.LoadAssignment = endpoint(name, to)
	return c
}
