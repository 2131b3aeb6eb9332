package bootstrap

import (
	"fmt"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"
)

func TestRead(t *testing.T) {
	for _, row := range []struct{ name, text, id, err string }{
		{"a.yaml", "node:\n  id: 'yes'\n", "yes", ""},
		{"a.yaml", "node: &n {id: x}\n", "x", ""},
		{"a.json", `{"node":{"id":"x"}}`, "x", ""},
		{"a.conf", `{"node":{"id":"x"}}`, "x", ""}, // as Envoy: what is not YAML is JSON
		{"a.pb_text", `node { id: "x" }`, "x", ""},
		{"a.pb", "\n\x03\n\x01x", "x", ""},
		{"a.yaml", "", "", "it is empty"},
		{"a.json", " \n", "", "it is empty"},
		{"a.yaml", "node:\n  id: x\n  idd: y\n", "", `line 3: unknown field "idd"`},
		{"a.yaml", "# c\nnode:\n- id\n", "", "line 3: unexpected token ["},
		{"a.yaml", "node:\n  id: 7\n", "", "line 2: invalid value for string field id: 7"},
		{"a.yaml", "node: {id: yes}\nstats_flush_on_admin: yes\n", "", "line 2: invalid value"},
		{"a.json", "{\n\"node\": {\"metadata\": [}}", "", "line 2: "},
		{"a.yaml", "a: b: c", "", "mapping values are not allowed"},
		{"a.yaml", "x: &x {a: 1}\ny:\n  <<: *x\n", "", "line 3: << is not known to Envoy"},
		{"a.yaml", "a: &a [*a]", "", "a"},
		{"a.yaml", "bootstrap_extensions:\n- typed_config: {\"@type\": type.googleapis.com/a.B}\n", "",
			"line 2: a.B is not carried out, or there is no such type"},
		{"a.yaml", "node: {metadata: {a: .inf}}", "", "line 1: .inf is not a number in JSON"},
		{"a.yaml", "admin:\n  address:\n    socket_address: {address: a, port_value: 0x1F}\n", "", ""},
		{"a.yaml", strings.Repeat("[", 200) + strings.Repeat("]", 200), "", "nested deeper than 100"},
	} {
		b, err := Read([]File{{Name: row.name, Data: []byte(row.text)}}, false)
		switch {
		case row.err == "" && err != nil, row.err != "" && err == nil,
			err != nil && !strings.Contains(err.Error(), row.err):
			t.Errorf("%s %q: %v, want %q", row.name, row.text, err, row.err)
		case err == nil && b.GetNode().GetId() != row.id:
			t.Errorf("%s %q: id %q", row.name, row.text, b.GetNode().GetId())
		}
	}
}

// TestMerge: what comes later wins, lists grow.
func TestMerge(t *testing.T) {
	b, err := Read([]File{
		{"a.json", []byte(`{"node":{"id":"a","cluster":"c"},"static_resources":{"clusters":[{"name":"x"}]}}`)},
		{"b.yaml", []byte("node: {id: b}\nstatic_resources: {clusters: [{name: y}]}\nnonsense: 1\n")},
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(b.Node.Id, b.Node.Cluster, len(b.StaticResources.Clusters))
	if got != "bc2" {
		t.Error(got)
	}
}

// agent is what Istio's agent writes (tools/packaging/common/envoy_bootstrap.json), as far as it is
// carried out or ignored.
const agent = `
node:
  id: sidecar~10.0.0.7~a-0.default~default.svc.cluster.local
  cluster: a.default
  locality: {region: r, zone: z}
  metadata: {NAMESPACE: default, LABELS: {app: a}, PROXY_CONFIG: {concurrency: 2}}
layered_runtime:
  layers:
  - name: global config
    static_layer:
      envoy.deprecated_features:envoy.config.listener.v3.Listener.hidden_envoy_deprecated_use_original_dst: true
      envoy.reloadable_features.http_reject_path_with_fragment: false
      envoy.restart_features.use_eds_cache_for_ads: true
      overload.global_downstream_max_connections: 2147483647
      re2.max_program_size.error_level: 32768
  - {name: admin, admin_layer: {}}
bootstrap_extensions:
- name: envoy.bootstrap.internal_listener
  typed_config: {"@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}
stats_config: {use_all_default_tags: false, stats_tags: [{tag_name: cluster_name, regex: x}]}
admin: {access_log_path: /dev/null, profile_path: x, address: {socket_address: {address: 127.0.0.1, port_value: 15000}}}
dynamic_resources:
  lds_config: {ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3}
  cds_config: {ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3}
  ads_config:
    api_type: DELTA_GRPC
    set_node_on_first_message_only: true
    transport_api_version: V3
    grpc_services: [{envoy_grpc: {cluster_name: xds-grpc}, initial_metadata: [{key: a, value: b}]}]
static_resources:
  clusters: [{name: xds-grpc, type: STATIC, connect_timeout: 1s}]
`

func TestCheck(t *testing.T) {
	b, err := Read([]File{{"a.yaml", []byte(agent)}}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Check(b) {
		t.Error(r)
	}
	for _, row := range []struct {
		field, reason string
		change        func(*bootstrapv3.Bootstrap)
	}{
		{"hds_config", "is not carried out yet", func(b *bootstrapv3.Bootstrap) {
			b.HdsConfig = b.DynamicResources.AdsConfig
		}},
		{"dynamic_resources.cds_config.path_config_source", "is not carried out yet",
			func(b *bootstrapv3.Bootstrap) {
				c, _ := Read([]File{{"x.yaml", []byte("dynamic_resources: {cds_config: {path_config_source: {path: x}}}")}}, false)
				b.DynamicResources.CdsConfig = c.DynamicResources.CdsConfig
			}},
		{"dynamic_resources.ads_config.grpc_services", "0; must be one",
			func(b *bootstrapv3.Bootstrap) { b.DynamicResources.AdsConfig.GrpcServices = nil }},
		{"dynamic_resources.cds_config", "ads is set, and there is no ads_config",
			func(b *bootstrapv3.Bootstrap) {
				b.DynamicResources.AdsConfig, b.DynamicResources.LdsConfig = nil, nil
			}},
		{"node", "'id' and 'cluster' must be set", func(b *bootstrapv3.Bootstrap) { b.Node.Id = "" }},
		{"static_resources.clusters[1]", "duplicate cluster 'xds-grpc'",
			func(b *bootstrapv3.Bootstrap) {
				c := b.StaticResources.Clusters
				b.StaticResources.Clusters = append(c, c[0])
			}},
	} {
		c := proto.Clone(b).(*bootstrapv3.Bootstrap)
		row.change(c)
		out := Check(c)
		if len(out) != 1 || out[0].Field != row.field || !strings.Contains(out[0].Reason, row.reason) {
			t.Errorf("got %v, want %s: %s", out, row.field, row.reason)
		}
	}
}

// FuzzRead: whatever a file holds, it is read or refused.
func FuzzRead(f *testing.F) {
	f.Add("a.yaml", agent)
	f.Add("a.json", `{"node":{"id":"x"}}`)
	f.Fuzz(func(t *testing.T, name, text string) {
		b, err := Read([]File{{name, []byte(text)}}, false)
		if err == nil {
			Check(b)
		}
	})
}
