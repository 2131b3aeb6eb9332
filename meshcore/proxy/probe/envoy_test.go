package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// bootstrap makes a snapshot static, and has Envoy choose the listeners' ports.
func bootstrap(n int, s *xds.Snapshot) *bootstrapv3.Bootstrap {
	b := &bootstrapv3.Bootstrap{
		Admin:           &bootstrapv3.Admin{Address: socket("127.0.0.1", 0)},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{},
	}
	for i := range n {
		name := fmt.Sprintf("case-%d", i)
		l := proto.CloneOf(s.Listeners[name])
		l.Address = socket("127.0.0.1", 0)
		c := proto.CloneOf(s.Clusters[name])
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		c.EdsClusterConfig, c.LoadAssignment = nil, s.Endpoints[name]
		b.StaticResources.Listeners = append(b.StaticResources.Listeners, l)
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, c)
	}
	return b
}

// startEnvoy runs Envoy and returns where each case's listener is.
func startEnvoy(t *testing.T, binary string, b *bootstrapv3.Bootstrap) map[string]string {
	t.Helper()
	at, _ := runEnvoy(t, binary, b)
	return at
}

// runEnvoy is startEnvoy; stop ends Envoy so that it writes what it still holds.
func runEnvoy(t *testing.T, binary string, b *bootstrapv3.Bootstrap) (
	at map[string]string, stop func()) {
	t.Helper()
	dir := t.TempDir()
	config, admin := filepath.Join(dir, "envoy.json"), filepath.Join(dir, "admin")
	data, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, data, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "-c", config, "--concurrency", "1",
		"--disable-hot-restart", "--admin-address-path", admin, "-l", "info")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	stop = sync.OnceFunc(func() {
		cancel()
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	var said []string
	for !strings.Contains(strings.Join(said, ""), "starting workers") {
		if !lines.Scan() {
			t.Fatalf("envoy ended:\n%s", strings.Join(said, "\n"))
		}
		said = append(said, lines.Text())
	}
	go io.Copy(io.Discard, log) //nolint:errcheck // until it ends
	return addresses(t, admin), stop
}

// addresses asks the admin port where the listeners are bound.
func addresses(t *testing.T, admin string) map[string]string {
	t.Helper()
	addr, err := os.ReadFile(admin)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Get("http://" + string(addr) + "/listeners?format=json")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var got struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				SocketAddress struct {
					Address string `json:"address"`
					Port    uint32 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, s := range got.Statuses {
		a := s.Address.SocketAddress
		out[s.Name] = fmt.Sprintf("%s:%d", a.Address, a.Port)
	}
	return out
}
