package envoy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Validate asks Envoy whether it would take a snapshot, without serving it; the error is Envoy's
// own. What would come over ADS is made static for that (what is dynamic passes unseen): clusters
// have their endpoints, connection managers their routes. A route to a cluster that is not there is
// taken, as it is over RDS. Nothing is written to a file: a snapshot holds private keys.
func Validate(ctx context.Context, b Binary, s *xds.Snapshot) error {
	config, err := static(s)
	if err != nil {
		return err
	}
	text, err := protojson.Marshal(config)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	c := exec.CommandContext(ctx, b.Path, "--mode", "validate", "-c", piped, "-l", "error",
		"--log-format", "%v", "--concurrency", "1", "--disable-hot-restart")
	c.ExtraFiles = []*os.File{r}
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer w.Close()
		w.Write(text) //nolint:errcheck // Envoy has ended, and said why
	}()
	said, err := c.CombinedOutput()
	r.Close() // ends the writing, whether Envoy has read or not
	<-written
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return fmt.Errorf("envoy --mode validate: %w", cause)
	}
	if err != nil {
		return refusal(string(said), piped, err)
	}
	return nil
}

// piped is a bootstrap without a file, the first of a command's ExtraFiles: Envoy reads it there
// (source/common/filesystem/posix/filesystem_impl.cc illegalPath makes an exception of /dev/fd).
const piped = "/dev/fd/3"

// preamble is what Envoy's server says before the reason.
var preamble = regexp.MustCompile(`^error initializing (config(uration)? )?'?[^']*'?: `)

// refusal is Envoy's reason, said in its last lines.
func refusal(said, file string, err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("envoy --mode validate: %w", err)
	}
	said = strings.TrimSpace(said)
	for line := range strings.Lines(said) {
		if reason := preamble.ReplaceAllString(line, ""); reason != line {
			said = strings.TrimSpace(said[strings.Index(said, line)+len(line)-len(reason):])
			break
		}
	}
	said = strings.ReplaceAll(said, file, "the snapshot")
	if said == "" {
		said = exit.Error()
	}
	return fmt.Errorf("envoy refuses it: %s", said)
}

// static makes a bootstrap that holds all of a snapshot, in the order of names.
func static(s *xds.Snapshot) (*bootstrapv3.Bootstrap, error) {
	b, err := common(&corev3.Node{Id: "validate", Cluster: "validate"}, "validate")
	if err != nil {
		return nil, err
	}
	// A reference that has no answer in the snapshot would be a config source; it must have one.
	b.DynamicResources = &bootstrapv3.Bootstrap_DynamicResources{AdsConfig: dynamic(true).AdsConfig}
	r := b.StaticResources
	for _, name := range slices.Sorted(maps.Keys(s.Clusters)) {
		c, err := staticCluster(s, name)
		if err != nil {
			return nil, err
		}
		r.Clusters = append(r.Clusters, c)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Listeners)) {
		l, err := staticListener(s, name)
		if err != nil {
			return nil, err
		}
		r.Listeners = append(r.Listeners, l)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		r.Secrets = append(r.Secrets, s.Secrets[name])
	}
	return b, nil
}

// staticCluster gives an EDS cluster its endpoints.
func staticCluster(s *xds.Snapshot, name string) (*clusterv3.Cluster, error) {
	c := s.Clusters[name]
	wants, ok := xds.EndpointName(c)
	if !ok {
		return c, nil
	}
	endpoints := s.Endpoints[wants]
	if endpoints == nil {
		return nil, fmt.Errorf("cluster %s: no endpoints %s in the snapshot", name, wants)
	}
	c = proto.CloneOf(c)
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	c.EdsClusterConfig, c.LoadAssignment = nil, proto.CloneOf(endpoints)
	if len(c.LoadAssignment.Endpoints) == 0 {
		c.LoadAssignment.Endpoints = []*endpointv3.LocalityLbEndpoints{}
	}
	return c, nil
}

// staticListener gives a listener's connection managers their routes.
func staticListener(s *xds.Snapshot, name string) (*listenerv3.Listener, error) {
	l := proto.CloneOf(s.Listeners[name])
	for _, chain := range xds.Chains(l) {
		for _, f := range chain.Filters {
			if err := inline(s, f); err != nil {
				return nil, fmt.Errorf("listener %s: filter_chains[%s].filters[%s]: %w",
					name, chain.Name, f.Name, err)
			}
		}
	}
	return l, nil
}

// inline puts the routes that a connection manager asks for into it.
func inline(s *xds.Snapshot, f *listenerv3.Filter) error {
	var hcm hcmv3.HttpConnectionManager
	if !f.GetTypedConfig().MessageIs(&hcm) {
		return nil
	}
	if err := f.GetTypedConfig().UnmarshalTo(&hcm); err != nil {
		return err
	}
	if rds := hcm.GetRds(); rds != nil {
		routes := s.Routes[rds.RouteConfigName]
		if routes == nil {
			return fmt.Errorf("no route configuration %s in the snapshot", rds.RouteConfigName)
		}
		routes = proto.CloneOf(routes)
		if routes.ValidateClusters == nil {
			// route.proto: false is the default of what comes over RDS, true of what is static.
			routes.ValidateClusters = wrapperspb.Bool(false)
		}
		hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes}
	}
	a, err := anypb.New(&hcm)
	if err != nil {
		return err
	}
	f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: a}
	return nil
}
