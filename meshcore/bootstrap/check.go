package bootstrap

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
)

// Why a field may be set although nothing is made of it.
const (
	stats   = "statistics only"
	threads = "guards or tunes Envoy's own threads and memory"
	logs    = "the form of the process's own log"
	limits  = "bounds requests of configuration, not of clients"
)

func fields(names ...protoreflect.Name) map[protoreflect.Name]string {
	f := map[protoreflect.Name]string{}
	for _, n := range names {
		f[n] = ""
	}
	return f
}

// because adds fields that are ignored for a reason.
func because(f map[protoreflect.Name]string, reason string,
	names ...protoreflect.Name) map[protoreflect.Name]string {
	for _, n := range names {
		f[n] = reason
	}
	return f
}

const (
	bootstrapPackage = "envoy.config.bootstrap.v3."
	corePackage      = "envoy.config.core.v3."
)

// supported is what is carried out of a bootstrap. Clusters and listeners are looked at one by one,
// by who carries them out.
var supported = map[protoreflect.FullName]map[protoreflect.Name]string{
	bootstrapPackage + "Bootstrap": because(because(because(because(because(fields(
		"node", "static_resources", "dynamic_resources", "admin", "layered_runtime",
		"cluster_manager", "bootstrap_extensions", "typed_dns_resolver_config"),
		stats, "stats_config", "stats_flush_interval", "stats_flush_on_admin",
		"enable_dispatcher_stats", "stats_server_version_override", "deferred_stat_options"),
		threads, "watchdog", "watchdogs", "overload_manager", "memory_allocator_manager",
		"fatal_actions", "enable_worker_cpu_affinity", "perf_tracing_file_path"),
		logs, "application_log_config"),
		"names resources of xdstp:// URLs only, which are refused", "node_context_params"),
		"headers are all kept as they come", "inline_headers"),
	bootstrapPackage + "Admin": because(fields("address"),
		"requests to the admin port are not logged", "access_log", "access_log_path",
		"profile_path", "ignore_global_conn_limit"),
	bootstrapPackage + "Bootstrap.StaticResources": fields("listeners", "clusters"),
	bootstrapPackage + "Bootstrap.DynamicResources": fields("ads_config", "cds_config",
		"lds_config"),
	bootstrapPackage + "ClusterManager": because(fields(), "writes a log of ejections; they are "+
		"in the process's own log", "outlier_detection"),
	bootstrapPackage + "LayeredRuntime":          fields("layers"),
	bootstrapPackage + "RuntimeLayer":            fields("name", "static_layer", "admin_layer"),
	bootstrapPackage + "RuntimeLayer.AdminLayer": {},
	corePackage + "Node": because(fields("id", "cluster", "metadata", "locality"),
		"written by whoever sends the node", "user_agent_name", "user_agent_version",
		"user_agent_build_version", "extensions", "client_features"),
	corePackage + "Locality": fields("region", "zone", "sub_zone"),
	corePackage + "ApiConfigSource": because(fields("api_type", "transport_api_version",
		"grpc_services", "set_node_on_first_message_only"),
		limits, "request_timeout", "rate_limit_settings"),
	corePackage + "GrpcService": because(fields("envoy_grpc", "initial_metadata"),
		limits, "timeout"),
	corePackage + "GrpcService.EnvoyGrpc": because(fields("cluster_name", "authority"),
		limits, "max_receive_message_length"),
	corePackage + "ConfigSource": fields("ads", "initial_fetch_timeout",
		"resource_api_version"),
	corePackage + "TypedExtensionConfig": fields("name", "typed_config"),
	"envoy.extensions.bootstrap.internal_listener.v3.InternalListener": because(fields(),
		"who uses an internal listener is refused", "buffer_size_kb"),
	"envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig": because(fields(),
		"the machine's own resolver is asked", "use_resolvers_as_fallback",
		"filter_unroutable_families", "udp_max_queries", "query_timeout_seconds", "query_tries",
		"rotate_nameservers", "edns0_max_payload_size", "max_udp_channel_duration",
		"reinit_channel_on_timeout"),
	"envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig": because(
		fields(), "the machine's own resolver is asked", "num_retries", "num_resolver_threads"),
	"envoy.config.cluster.v3.Cluster":   engine.Elsewhere,
	"envoy.config.listener.v3.Listener": engine.Elsewhere,
}

// runtimeKeys begin the runtime keys that change nothing here.
var runtimeKeys = []string{
	"overload.global_downstream_max_connections", // no limit is set
	"envoy.reloadable_features.",                 // how Envoy does it, not what
	"envoy.restart_features.",
	"re2.max_program_size.", // Go's regular expressions have no program size limit
	"envoy.deprecated_features", "deprecated.",
}

// Check returns what is not carried out of a bootstrap, its clusters and listeners aside.
func Check(b *bootstrapv3.Bootstrap) []engine.Refusal {
	out := engine.Unsupported(b, supported)
	bad := func(field, format string, args ...any) {
		out = append(out, engine.Refusal{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	for i, l := range b.GetLayeredRuntime().GetLayers() {
		for _, key := range slices.Sorted(maps.Keys(l.GetStaticLayer().AsMap())) {
			for name := range flat(key, l.GetStaticLayer().AsMap()[key]) {
				if !slices.ContainsFunc(runtimeKeys, func(p string) bool {
					return strings.HasPrefix(name, p)
				}) {
					bad("layered_runtime.layers["+strconv.Itoa(i)+"].static_layer",
						"%s: there is no runtime; set the field that the key overrides", name)
				}
			}
		}
	}
	checkDynamic(b, bad)
	seen := map[string]bool{}
	for i, c := range b.GetStaticResources().GetClusters() {
		if seen[c.GetName()] {
			bad(at("static_resources.clusters", i), "cluster manager: duplicate cluster '%s'",
				c.GetName())
		}
		seen[c.GetName()] = true
	}
	return out
}

// flat returns the full names of the keys of a runtime layer.
func flat(prefix string, v any) map[string]bool {
	m, ok := v.(map[string]any)
	if !ok {
		return map[string]bool{prefix: true}
	}
	out := map[string]bool{}
	for k, v := range m {
		maps.Copy(out, flat(prefix+"."+k, v))
	}
	return out
}

func at(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// checkDynamic looks at where dynamic resources come from.
func checkDynamic(b *bootstrapv3.Bootstrap, bad func(field, format string, args ...any)) {
	d := b.GetDynamicResources()
	if d == nil {
		return
	}
	ads := d.GetAdsConfig()
	for name, source := range map[string]*corev3.ConfigSource{
		"cds_config": d.GetCdsConfig(), "lds_config": d.GetLdsConfig(),
	} {
		if source.GetAds() != nil && ads == nil {
			bad("dynamic_resources."+name, "ads is set, and there is no ads_config")
		}
	}
	if ads == nil {
		return
	}
	if b.GetNode().GetId() == "" || b.GetNode().GetCluster() == "" {
		bad("node", "'id' and 'cluster' must be set: in the file, or by --service-node and "+
			"--service-cluster")
	}
	const field = "dynamic_resources.ads_config"
	switch ads.GetApiType() {
	case corev3.ApiConfigSource_GRPC, corev3.ApiConfigSource_DELTA_GRPC:
	default:
		bad(field+".api_type", "%v is not carried out yet; GRPC and DELTA_GRPC are",
			ads.GetApiType())
	}
	if n := len(ads.GetGrpcServices()); n != 1 {
		bad(field+".grpc_services", "%d; must be one", n)
		return
	}
	name := ads.GetGrpcServices()[0].GetEnvoyGrpc().GetClusterName()
	for _, c := range b.GetStaticResources().GetClusters() {
		if c.GetName() == name {
			return
		}
	}
	bad(field+".grpc_services[0].envoy_grpc.cluster_name",
		"Unknown gRPC client cluster '%s': it must be in static_resources.clusters", name)
}
