package sidecar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/subscribe"
)

// initialFetchTimeout is Envoy's, where a config source does not say (config_source.proto).
const initialFetchTimeout = 15 * time.Second

// maxMessage bounds a response: the configuration of a whole mesh comes in one message.
const maxMessage = 256 << 20

// subscribe serves the static resources, and follows the ADS server where there is one. Then, like
// Envoy, it serves nothing before the server's first resources are there, or time out.
func (s *Sidecar) subscribe(ctx context.Context) (stop func(), err error) {
	d := s.opt.Bootstrap.GetDynamicResources()
	if d.GetAdsConfig() == nil {
		return func() {}, s.plane.start()
	}
	conn, err := s.connect()
	if err != nil {
		return nil, err
	}
	service := d.GetAdsConfig().GetGrpcServices()[0]
	for _, h := range service.GetInitialMetadata() {
		ctx = metadata.AppendToOutgoingContext(ctx, h.GetKey(), h.GetValue())
	}
	node := proto.Clone(s.opt.Bootstrap.GetNode()).(*corev3.Node)
	node.UserAgentName = "mesh-lab"
	c := &subscribe.Client{
		Node: node, Conn: conn, Target: s.plane, Log: s.opt.Log,
		Delta:      d.GetAdsConfig().GetApiType() == corev3.ApiConfigSource_DELTA_GRPC,
		NoClusters: d.GetCdsConfig() == nil, NoListeners: d.GetLdsConfig() == nil,
		Connected: s.counts.connected, Answered: s.answered,
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx) //nolint:errcheck // ends with the context
	}()
	late := s.late(func() {
		s.opt.Log.Warn("no resources from the ADS server in time: the static ones serve alone")
		if err := s.plane.start(); err != nil {
			s.opt.Log.Error("static resources", "err", err)
		}
	})
	return func() { late(); cancel(); <-ended; conn.Close() }, nil
}

// late calls f when the first resources have not come in time; stop ends the wait.
func (s *Sidecar) late(f func()) (stop func()) {
	d := s.opt.Bootstrap.GetDynamicResources()
	limit := time.Duration(0)
	for _, c := range []*corev3.ConfigSource{d.GetCdsConfig(), d.GetLdsConfig()} {
		switch t := c.GetInitialFetchTimeout(); {
		case c == nil:
		case t == nil:
			limit = max(limit, initialFetchTimeout)
		case t.AsDuration() == 0:
			return func() {} // for ever
		default:
			limit = max(limit, t.AsDuration())
		}
	}
	timer := time.AfterFunc(limit, f)
	return func() { timer.Stop() }
}

// answered counts and logs what became of a response.
func (s *Sidecar) answered(typeURL, version string, refusal error) {
	s.counts.answered(typeURL, refusal)
	if refusal != nil {
		s.opt.Log.Warn("refused", "type", typeURL, "err", refusal)
		return
	}
	s.opt.Log.Debug("accepted", "type", typeURL, "version", version)
	s.plane.accepted(typeURL, version)
}

// connect makes the connection to the ADS server, by its static cluster.
func (s *Sidecar) connect() (*grpc.ClientConn, error) {
	to := s.opt.Bootstrap.GetDynamicResources().GetAdsConfig().GetGrpcServices()[0].GetEnvoyGrpc()
	c := s.plane.static.Clusters[to.GetClusterName()]
	if c == nil {
		return nil, fmt.Errorf("dynamic_resources.ads_config: no static cluster %q",
			to.GetClusterName())
	}
	d := &adsDialer{hosts: adsHosts(c), timeout: c.GetConnectTimeout().AsDuration()}
	if len(d.hosts) == 0 {
		return nil, fmt.Errorf("static_resources.clusters: Cluster %s: load_assignment: the ADS "+
			"server's cluster has no endpoint", c.GetName())
	}
	return grpc.NewClient("passthrough:///"+cmp.Or(to.GetAuthority(), c.GetName()),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(d.dial),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{
			BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2,
			MaxDelay: 5 * time.Second,
		}}))
}

// adsDialer connects to one endpoint after the other.
type adsDialer struct {
	hosts   []adsHost
	timeout time.Duration
	turn    atomic.Uint32
}

// adsHost is one endpoint of the server's cluster.
type adsHost struct{ network, address string }

func adsHosts(c *clusterv3.Cluster) []adsHost {
	var out []adsHost
	for _, l := range c.GetLoadAssignment().GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			a := e.GetEndpoint().GetAddress()
			if p := a.GetPipe(); p != nil {
				out = append(out, adsHost{"unix", p.GetPath()})
				continue
			}
			s := a.GetSocketAddress()
			port := strconv.Itoa(int(s.GetPortValue()))
			out = append(out, adsHost{"tcp", net.JoinHostPort(s.GetAddress(), port)})
		}
	}
	return out
}

func (d *adsDialer) dial(ctx context.Context, _ string) (net.Conn, error) {
	if d.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.timeout)
		defer cancel()
	}
	var errs []error
	for range d.hosts {
		h := d.hosts[int(d.turn.Add(1)-1)%len(d.hosts)]
		c, err := (&net.Dialer{}).DialContext(ctx, h.network, h.address)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
