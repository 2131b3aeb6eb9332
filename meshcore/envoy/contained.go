package envoy

import (
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
)

// Contained says how an Envoy in a container of its own is to be: it has no file, and reaches its
// services by TCP.
type Contained struct {
	Node    *corev3.Node   // id, cluster, metadata
	Control netip.AddrPort // where ADS is served
	Reports netip.AddrPort // where the access log service is
	Admin   netip.AddrPort // where it answers itself
	Source  netip.Addr     // where upstream connections come from by default
	Events  string         // the file that takes outlier events
	Level   string         // Envoy's -l; empty: warning
}

// Arguments are what such an Envoy is started with.
func (o Contained) Arguments() ([]string, error) {
	b, err := common(o.Node, o.Control.String())
	if err != nil {
		return nil, err
	}
	b.Admin = &bootstrapv3.Admin{Address: pipe(o.Admin.String())}
	b.DynamicResources = dynamic(true)
	c, err := serviceCluster(ReportsCluster, o.Reports.String())
	if err != nil {
		return nil, fmt.Errorf("bootstrap: cluster %s: %w", ReportsCluster, err)
	}
	b.StaticResources.Clusters = append(b.StaticResources.Clusters, c)
	b.ClusterManager = &bootstrapv3.ClusterManager{
		UpstreamBindConfig: from(o.Source),
		OutlierDetection: &bootstrapv3.ClusterManager_OutlierDetection{
			EventLogPath: o.Events},
	}
	text, err := protojson.Marshal(b)
	if err != nil {
		return nil, err
	}
	if o.Level == "" {
		o.Level = "warning"
	}
	args := arguments(o.Level, "")
	return append([]string{"--config-yaml", string(text)}, args[2:]...), nil
}
