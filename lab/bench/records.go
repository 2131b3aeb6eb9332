package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	upstreamsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
	"github.com/mesh-lab/mesh-lab/meshcore/envoy/als"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
)

// ring keeps the latest records; a lab keeps them all, which is memory and not time.
type ring struct {
	mu   sync.Mutex
	last [1024]observe.Request
	n    int
}

// Record keeps a record.
func (r *ring) Record(q *observe.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[r.n&1023] = *q
	r.n++
}

// records takes the access logs of Envoys and makes records of them, as a lab does. At the end it
// prints how many there were.
func records(args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	kept := &ring{}
	s := als.New(als.Options{
		Clock: clock.NewReal(), Sink: kept,
		Node: func(id string) (als.Proxy, bool) { return als.Proxy{Name: id}, true },
	})
	g := grpc.NewServer(control.GRPCOptions()...)
	s.Register(g)
	go g.Serve(l) //nolint:errcheck // ends with the process
	ready()
	err = wait()
	kept.mu.Lock()
	defer kept.mu.Unlock()
	fmt.Println(kept.n)
	return err
}

// startRecords starts a receiver of records.
func startRecords(ctx context.Context) (*receiver, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p, err := startRole(ctx, loadCore, "records", addr)
	return &receiver{process: p, addr: addr}, err
}

// receiver is a running one.
type receiver struct {
	*process
	addr string
}

// count ends it and returns how many records it has made. What Envoy had to tell has long come: it
// flushes every millisecond.
func (r *receiver) count() (n int, err error) {
	return strconv.Atoi(r.stop())
}

// readBootstrap reads the file of a hop.
func readBootstrap(file string) (*bootstrapv3.Bootstrap, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	b := &bootstrapv3.Bootstrap{}
	return b, protojson.Unmarshal(data, b)
}

// instrument has the Envoy that is given a file report each request, and each attempt, to a
// receiver, as a lab's Envoys do.
func instrument(file, name, receiver string) error {
	b, err := readBootstrap(file)
	if err != nil {
		return err
	}
	for i, l := range b.GetStaticResources().GetListeners() {
		l, err := als.Instrument(l, envoy.ReportsCluster, nil)
		if err != nil {
			return err
		}
		b.StaticResources.Listeners[i] = l
	}
	c, err := reports(receiver)
	if err != nil {
		return err
	}
	b.StaticResources.Clusters = append(b.StaticResources.Clusters, c)
	b.Node = &corev3.Node{Id: name, Cluster: name}
	data, err := protojson.Marshal(b)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

// reports is the cluster of the receiver.
func reports(addr string) (*clusterv3.Cluster, error) {
	http2, err := anypb.New(&upstreamsv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamsv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreamsv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreamsv3.
					HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{}}}})
	return &clusterv3.Cluster{
		Name:                 envoy.ReportsCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(time.Second),
		LoadAssignment:       endpoint(envoy.ReportsCluster, addr),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
	}, err
}

// endpoint is the assignment of one address.
func endpoint(cluster, addr string) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{ClusterName: cluster,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
				Endpoint: &endpointv3.Endpoint{Address: address(addr)}}}}}}}
}
