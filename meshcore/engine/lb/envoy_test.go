package lb_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

var update = flag.Bool("update", false, "ask the real Envoy again and rewrite the golden file")

const goldenFile = "testdata/envoy.json"

// golden is what the real Envoy answered: for each case, for each request, the hosts that were
// tried.
type golden map[string][][]string

func readGolden(t *testing.T) golden {
	t.Helper()
	data, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	g := golden{}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestEnvoy asks the real Envoy where it sends the requests of all cases and compares with the
// golden file (whole for hash policies, whose choice is fixed; else it only reports).
func TestEnvoy(t *testing.T) {
	binary := envoy.Binary(t).Path
	upstreams := serve(t)
	url := startEnvoy(t, binary)
	got := golden{}
	client := &http.Client{}
	for _, c := range cases {
		for i := range c.Requests {
			got[c.Name] = append(got[c.Name], upstreams.ask(t, client, url+"/"+c.Name, c.key(i)))
		}
	}
	if *update {
		var out bytes.Buffer
		out.WriteString("{\n")
		for i, c := range cases {
			fmt.Fprintf(&out, "  %q: [\n", c.Name)
			for j, hosts := range got[c.Name] {
				line, _ := json.Marshal(hosts)
				fmt.Fprintf(&out, "    %s%s\n", line, strings.Repeat(",", min(1, len(got[c.Name])-1-j)))
			}
			fmt.Fprintf(&out, "  ]%s\n", strings.Repeat(",", min(1, len(cases)-1-i)))
		}
		out.WriteString("}\n")
		if err := os.MkdirAll(filepath.Dir(goldenFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenFile, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := readGolden(t)
	for _, c := range cases {
		if !c.hashed() {
			continue
		}
		if diff := gocmp.Diff(want[c.Name], got[c.Name]); diff != "" {
			t.Errorf("%s: Envoy no longer answers as the golden file says (-golden +envoy):\n%s",
				c.Name, diff)
		}
	}
}

// upstreams are the servers behind Envoy; each notes which requests it saw.
type upstreams struct {
	mu   sync.Mutex
	seen []string
}

// serve starts a server on each address that some case names.
func serve(t *testing.T) *upstreams {
	t.Helper()
	u := &upstreams{}
	var started []string
	for _, c := range cases {
		for _, e := range c.endpoints() {
			if slices.Contains(started, e.Address) {
				continue
			}
			started = append(started, e.Address)
			l, err := net.Listen("tcp", e.Address)
			if err != nil {
				t.Skip("cannot bind a second loopback address: ", err)
			}
			s := &http.Server{Handler: u.handler(e.Address)}
			go func() { _ = s.Serve(l) }()
			t.Cleanup(func() { _ = s.Close() })
		}
	}
	return u
}

func (u *upstreams) handler(address string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.seen = append(u.seen, address)
		u.mu.Unlock()
		if r.Header.Get("x-fail") != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
}

// ask sends one request and returns the hosts that saw it, in order.
func (u *upstreams) ask(t *testing.T, client *http.Client, url, key string) []string {
	t.Helper()
	u.mu.Lock()
	u.seen = nil
	u.mu.Unlock()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("x-key", key)
	if strings.Contains(url, "retry") {
		request.Header.Set("x-fail", "yes")
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.seen)
}

// startEnvoy runs Envoy with one worker and returns the URL of its listener once it answers.
func startEnvoy(t *testing.T, binary string) string {
	t.Helper()
	port := freePort(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "--config-yaml", bootstrap(port),
		"--concurrency", "1", "--disable-hot-restart", "--log-level", "error")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() { cancel(); <-done })
	address := fmt.Sprintf("127.0.0.1:%d", port)
	deadline := time.After(30 * time.Second)
	for {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return "http://" + address
		}
		select {
		case err := <-done:
			done <- err
			t.Fatalf("envoy ended: %v\n%s", err, log.String())
		case <-deadline:
			t.Fatal("envoy does not listen")
		case <-time.Tick(20 * time.Millisecond):
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

type object = map[string]any
type list = []any

// bootstrap is the static configuration: a route by path and a cluster for each case.
func bootstrap(port int) string {
	var routes, clusters list
	for _, c := range cases {
		action := object{"cluster": c.Name, "hash_policy": list{
			object{"header": object{"header_name": "x-key"}}}}
		if c.Retries > 0 {
			action["retry_policy"] = object{
				"retry_on": "5xx", "num_retries": c.Retries,
				"retry_back_off": object{"base_interval": "0.001s"},
				"retry_host_predicate": list{object{"name": "envoy.retry_host_predicates.previous_hosts",
					"typed_config": object{"@type": "type.googleapis.com/envoy.extensions.retry." +
						"host.previous_hosts.v3.PreviousHostsPredicate"}}},
				"host_selection_retry_max_attempts": "5",
			}
		}
		routes = append(routes, object{"match": object{"path": "/" + c.Name}, "route": action})
		clusters = append(clusters, c.cluster())
	}
	hcm := object{
		"@type": "type.googleapis.com/envoy.extensions.filters.network." +
			"http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "in",
		"route_config": object{"virtual_hosts": list{
			object{"name": "all", "domains": list{"*"}, "routes": routes}}},
		"http_filters": list{object{"name": "envoy.filters.http.router", "typed_config": object{
			"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}},
	}
	config := object{"static_resources": object{
		"listeners": list{object{
			"address": object{"socket_address": object{"address": "127.0.0.1", "port_value": port}},
			"filter_chains": list{object{"filters": list{object{
				"name": "envoy.filters.network.http_connection_manager", "typed_config": hcm}}}},
		}},
		"clusters": clusters,
	}}
	data, err := json.Marshal(config)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// cluster is the case in Envoy's words.
func (c testCase) cluster() object {
	var localities list
	for _, l := range c.Localities {
		var endpoints list
		for _, e := range l.Endpoints {
			host, port, _ := net.SplitHostPort(e.Address)
			endpoint := object{"endpoint": object{"address": object{"socket_address": object{
				"address": host, "port_value": json.Number(port)}}}}
			if e.Weight > 0 {
				endpoint["load_balancing_weight"] = e.Weight
			}
			if e.Unhealthy {
				endpoint["health_status"] = "UNHEALTHY"
			}
			endpoints = append(endpoints, endpoint)
		}
		locality := object{"lb_endpoints": endpoints, "priority": l.Priority,
			"locality": object{"region": l.Region}}
		if l.Weight > 0 {
			locality["load_balancing_weight"] = l.Weight
		}
		localities = append(localities, locality)
	}
	common := object{"healthy_panic_threshold": object{"value": c.Panic}}
	if c.LocalityWeighted {
		common["locality_weighted_lb_config"] = object{}
	}
	out := object{
		"name": c.Name, "type": "STATIC", "lb_policy": c.Policy.String(), "connect_timeout": "5s",
		"common_lb_config": common,
		"load_assignment":  object{"cluster_name": c.Name, "endpoints": localities},
	}
	if c.MinRing > 0 {
		out["ring_hash_lb_config"] = object{
			"minimum_ring_size": c.MinRing, "maximum_ring_size": c.MaxRing}
	}
	if c.Table > 0 {
		out["maglev_lb_config"] = object{"table_size": c.Table}
	}
	return out
}
