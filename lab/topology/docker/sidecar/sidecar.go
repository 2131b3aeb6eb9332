// Package sidecar is our data plane as a container of a pod: meshcore/sidecar, told who it is by
// the lab, with its records sent to the lab.
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/observe/sent"
	"github.com/mesh-lab/mesh-lab/meshcore/sidecar"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Config is what the lab tells a sidecar. It is JSON.
type Config struct {
	Node    string `json:"node"`            // id: sidecar~10.244.0.2~POD.NS~NS.svc.cluster.local
	Control string `json:"control"`         // HOST:PORT of the ADS server
	Records string `json:"records"`         // HOST:PORT that takes records
	Token   string `json:"token,omitempty"` // for it
	Admin   string `json:"admin,omitempty"` // HOST:PORT of the admin port; empty: none

	IP          netip.Addr       `json:"ip"`
	Workload    observe.Workload `json:"workload"`
	Region      string           `json:"region,omitempty"`
	Zone        string           `json:"zone,omitempty"`
	Subzone     string           `json:"subzone,omitempty"`
	Seed        uint64           `json:"seed"`
	Exact       bool             `json:"exact,omitempty"`
	KeepHeaders []string         `json:"keep_headers,omitempty"`
	// AccessLog sends the lines of access logs to the lab, too; else they are lost.
	AccessLog bool          `json:"access_log,omitempty"`
	Drain     time.Duration `json:"drain,omitempty"` // for requests under way, at the end
}

// Main serves until ctx ends; then what is under way may end, and what is recorded is sent.
func Main(ctx context.Context, c Config, log *slog.Logger) error {
	b, err := c.bootstrap()
	if err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	id, err := xds.ParseNodeID(c.Node)
	if err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	o := sidecar.Options{
		Bootstrap: b, Log: log, Seed: c.Seed, DrainTime: c.Drain, Version: "mesh-lab",
		KeepHeaders: c.KeepHeaders, Exact: c.Exact, IP: c.IP,
	}
	s, records, err := New(o, Records{id.Key(), c.Records, c.Token, c.AccessLog})
	if err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	return Serve(ctx, s, records, log)
}

// Records says where a sidecar's records go.
type Records struct {
	Node    string // POD.NAMESPACE
	Address string // HOST:PORT
	Token   string
	// AccessLog has the lines of access logs go there, too; else they are lost.
	AccessLog bool
}

// New makes a sidecar whose records are sent, and what sends them. Serve runs both.
func New(o sidecar.Options, to Records) (*sidecar.Sidecar, *sent.Sender, error) {
	o.Clock = clock.NewReal()
	var s *sidecar.Sidecar
	records := sent.NewSender(sent.Options{
		Node: to.Node, Token: to.Token, Clock: o.Clock, Log: o.Log,
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp4", to.Address)
		},
		Settle: func(ctx context.Context) error { return s.Settle(ctx) },
	})
	o.Sink, o.Changed, o.AccessLog = records, records.Change, none{}
	if to.AccessLog {
		o.AccessLog = records
	}
	var err error
	s, err = sidecar.New(o)
	return s, records, err
}

// none takes the lines of access logs that nobody wants.
type none struct{}

func (none) AccessLog(string, []byte) {}

// flushTime bounds how long the end waits until what is recorded has been sent.
const flushTime = 2 * time.Second

// Serve runs a sidecar until ctx ends, closes it, and sends its last records.
func Serve(ctx context.Context, s *sidecar.Sidecar, r *sent.Sender, log *slog.Logger) error {
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- r.Run(sending)
		cancel() // without records it is of no use
	}()
	err := errors.Join(s.Run(ctx), s.Close())
	if sending.Err() == nil {
		late, cancel := context.WithTimeout(sending, flushTime)
		if err := r.Flush(late); err != nil {
			log.Warn("the last records are lost", "err", err)
		}
		cancel()
	}
	stop()
	return errors.Join(err, <-ended)
}

// controlCluster is what the bootstrap calls the ADS server.
const controlCluster = "xds-grpc"

// bootstrap is what an Envoy would be given in this pod.
func (c Config) bootstrap() (*bootstrapv3.Bootstrap, error) {
	at, err := socket(c.Control)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	w := c.Workload
	meta, err := structpb.NewStruct(map[string]any{
		"NAME": w.Pod, "NAMESPACE": w.Namespace, "WORKLOAD_NAME": w.Workload,
		"LABELS": map[string]any{"app": w.Service, "version": w.Version},
	})
	if err != nil {
		return nil, err
	}
	b := &bootstrapv3.Bootstrap{
		Node: &corev3.Node{
			Id: c.Node, Cluster: w.Service, Metadata: meta,
			Locality: &corev3.Locality{Region: c.Region, Zone: c.Zone, SubZone: c.Subzone},
		},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Clusters: []*clusterv3.Cluster{{
				Name:                 controlCluster,
				ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
				ConnectTimeout:       durationpb.New(5 * time.Second),
				LoadAssignment: &endpointv3.ClusterLoadAssignment{
					ClusterName: controlCluster,
					Endpoints: []*endpointv3.LocalityLbEndpoints{{
						LbEndpoints: []*endpointv3.LbEndpoint{{
							HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
								Endpoint: &endpointv3.Endpoint{Address: at},
							},
						}},
					}},
				},
			}},
		},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			CdsConfig: ads(), LdsConfig: ads(),
			AdsConfig: &corev3.ApiConfigSource{
				ApiType: corev3.ApiConfigSource_DELTA_GRPC,
				GrpcServices: []*corev3.GrpcService{{
					TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
						EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: controlCluster},
					},
				}},
			},
		},
	}
	if c.Admin != "" {
		if at, err = socket(c.Admin); err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
		b.Admin = &bootstrapv3.Admin{Address: at}
	}
	return b, nil
}

// ads has resources come over the one stream, for which it waits as long as it takes.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		InitialFetchTimeout:   durationpb.New(0),
	}
}

func socket(address string) (*corev3.Address, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: want a number from 0 to 65535", port)
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{
		SocketAddress: &corev3.SocketAddress{
			Address:       host,
			PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(n)},
		},
	}}, nil
}
