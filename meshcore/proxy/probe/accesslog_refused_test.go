package probe

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// refusedFormats are formats that Envoy refuses, and the words for it; accepted is what it takes.
var refusedFormats = []struct{ format, words string }{
	{"%REQ%", "REQ requires parameters"},
	{"%REQ()%", "REQ requires parameters"},
	{"%REQ(a?b?c)%", "More than 1 alternative header specified in token: a?b?c"},
	{"%REQ(a b)%", "Invalid header configuration. Format string contains invalid characters."},
	{"%REQ(a))%", "Invalid header configuration. Format string contains invalid characters."},
	{"%REQ(?)%", accepted},
	{"%REQ(a%b)%", accepted},
	{"%REQ(a):5x%", "Incorrect configuration: %REQ(a):5x%. Couldn't find valid command at position 0"},
	{"x%", "Incorrect configuration: x%. Couldn't find valid command at position 1"},
	{"%%%", "Incorrect configuration: %%%. Couldn't find valid command at position 2"},
	{"%req(a)%", "Incorrect configuration: %req(a)%. Couldn't find valid command at position 0"},
	{"%REQ(a):99999999999999999999%", "Incorrect configuration: %REQ(a):99999999999999999999%. " +
		"Couldn't find valid command at position 0"},
	{"%1%", "Not supported field in StreamInfo: 1"},
	{"%FOO(a)%", "Not supported field in StreamInfo: FOO"},
	{"%REQ_WITHOUT_QUERY(a)%", "Not supported field in StreamInfo: REQ_WITHOUT_QUERY"},
	{"%PROTOCOL()%", accepted},
	{"%PROTOCOL:3%", "PROTOCOL does not take any parameters or length"},
	{"%UPSTREAM_HOST(x)%", "UPSTREAM_HOST does not take any parameters or length"},
	{"%RESPONSE_CODE_DETAILS:5%", "RESPONSE_CODE_DETAILS does not allow length to be specified."},
	{"%CLUSTER_METADATA(a):5%", "CLUSTER_METADATA does not allow length to be specified."},
	{"%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(16):3%",
		"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT does not allow length to be specified."},
	{"%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(x)%", accepted},
	{"%COMMON_DURATION(a)%", "Invalid common duration configuration: a."},
	{"%COMMON_DURATION(a:b:c)%", "Invalid common duration precision: c."},
	{"%COMMON_DURATION(a:b)%", accepted},
	{"%START_TIME(a%En)%", "Invalid header configuration. Format string contains newline."},
	{"%START_TIME(a)b)%", accepted},
	{"%PATH(X)%", "Invalid PATH option: 'X', only 'WQ'/'NQ' are allowed"},
	{"%PATH(WQ:X)%", "Invalid PATH option: 'X', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed"},
	{"%PATH(WQ:ORIG:X)%", accepted},
	{"%QUERY_PARAMS(X)%", "Invalid QUERY_PARAMS option: 'X', only 'ORIG'/'DECODED' are allowed"},
	{"%GRPC_STATUS(x)%",
		"GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: x"},
	{"%FILTER_STATE%", "Invalid filter state configuration, key cannot be empty."},
	{"%FILTER_STATE(a:b)%",
		"Invalid filter state serialize type, only support PLAIN/TYPED/FIELD."},
	{"%FILTER_STATE(a:FIELD)%",
		"Invalid filter state serialize type, FIELD should be used with the field name."},
	{"%METADATA(X:ns)%", "X is not supported type of metadata"},
	{"%METADATA%", " is not supported type of metadata"},
	{"%METADATA(ROUTE):5%", accepted},
	{"%COALESCE({})%", "COALESCE: JSON configuration must contain 'operators' array"},
	{`%COALESCE({"operators":["REQ"]})%`,
		"COALESCE: failed to parse operator at index 0: REQ requires parameters"},
	{`%COALESCE({"operators":[1]})%`, "COALESCE: failed to parse operator at index 0: operator " +
		"entry must be either a string (command name) or an object with 'command' field"},
}

const accepted = ""

// formatListener is a listener whose log has this format.
func formatListener(t *testing.T, format string) *listenerv3.Listener {
	t.Helper()
	m := &hcmv3.HttpConnectionManager{}
	decode(t, `{"statPrefix":"x","routeConfig":{},"httpFilters":[{"name":"r","typedConfig":{
		"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}`, m)
	f := &filelogv3.FileAccessLog{Path: "/dev/null", AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{
		LogFormat: &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{
			TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{
				InlineString: format}}}}}}
	m.AccessLog = []*accesslogv3.AccessLog{{Name: "f",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: typed(f)}}}
	return &listenerv3.Listener{Name: "l", Address: socket("127.0.0.1", 20000),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{Name: "h",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: typed(m)}}}}}}
}

// TestRefusedFormats: what Envoy refuses is refused in its words, by the path of the field.
func TestRefusedFormats(t *testing.T) {
	const at = "Listener l: filter_chains[0].filters[0].typed_config.access_log[0].typed_config." +
		"log_format.text_format_source.inline_string: "
	e := engine.New(engine.Options{Node: "probe"})
	for _, c := range refusedFormats {
		err := e.Check(formatListener(t, c.format))
		switch {
		case c.words == accepted && err != nil:
			t.Errorf("%s: %v", c.format, err)
		case c.words != accepted && (err == nil || err.Error() != at+c.words):
			t.Errorf("%s: %v, want %s%s", c.format, err, at, c.words)
		}
	}
}

// TestRefusedFormatsEnvoy: these are its words.
func TestRefusedFormatsEnvoy(t *testing.T) {
	binary := envoy.Binary(t).Path
	config := filepath.Join(t.TempDir(), "envoy.json")
	for _, c := range refusedFormats {
		data, err := protojson.Marshal(&bootstrapv3.Bootstrap{StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Listeners: []*listenerv3.Listener{formatListener(t, c.format)}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(config, data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), binary, "--mode", "validate", "-c", config,
			"--disable-hot-restart", "-l", "critical").CombinedOutput()
		if (err == nil) != (c.words == accepted) || !strings.Contains(string(out), c.words) {
			t.Errorf("%s: %v\n%s", c.format, err, out)
		}
	}
}
