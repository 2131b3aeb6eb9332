package lab_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

const redirectMesh = `
apiVersion: v1
kind: Service
metadata: {name: app}
spec:
  clusterIP: 10.96.0.10
  selector: {app: app}
  ports: [{name: http, port: 80, targetPort: 9080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: mesh-lab/echo, ports: [{containerPort: 9080}]}]}
`

// redirections are Istio's rules for one pod, without its exceptions by user: what comes from the
// inbound listener (127.0.0.6) is the app's; what goes to the Service is the outbound listener's;
// what goes to the pod is the inbound listener's.
var redirections = map[string][]string{
	"nft": {
		"nft add table ip mesh",
		"nft add chain ip mesh output { type nat hook output priority -100 ; }",
		"nft add rule ip mesh output ip saddr 127.0.0.6 return",
		"nft add rule ip mesh output ip daddr 10.96.0.10 tcp dport 80 redirect to :15001",
		"nft add rule ip mesh output ip daddr 10.0.0.2 tcp dport 9080 redirect to :15006",
	},
	"iptables": {
		"iptables -t nat -A OUTPUT -s 127.0.0.6 -j RETURN",
		"iptables -t nat -A OUTPUT -p tcp -d 10.96.0.10 --dport 80 -j REDIRECT --to-ports 15001",
		"iptables -t nat -A OUTPUT -p tcp -d 10.0.0.2 --dport 9080 -j REDIRECT --to-ports 15006",
	},
}

// ownNetwork puts this goroutine, and the processes that it starts, into a network of their own in
// which the kernel redirects. The goroutine's thread ends with it.
func ownNetwork(t *testing.T) {
	t.Helper()
	tool := ""
	for _, name := range []string{"nft", "iptables"} {
		if _, err := exec.LookPath(name); err == nil && tool == "" {
			tool = name
		}
	}
	if tool == "" {
		t.Skip("neither nft nor iptables is here to have the kernel redirect")
	}
	runtime.LockOSThread() // never unlocked: nobody else gets a thread in another network
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skip("a network of its own needs root: ", err)
	}
	setUp := []string{"ip link set lo up", "ip address add 10.0.0.2/32 dev lo",
		"ip address add 10.96.0.10/32 dev lo"}
	for _, line := range append(setUp, redirections[tool]...) {
		args := strings.Fields(line)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v: %s", line, err, out)
		}
	}
}

// TestRedirected has the kernel redirect a pod's connections to its sidecar, both ways: the original
// destination is SO_ORIGINAL_DST, and nothing else tells it.
func TestRedirected(t *testing.T) {
	for _, kind := range []string{"ours", "envoy"} {
		t.Run(kind, func(t *testing.T) {
			ownNetwork(t)
			l, err := net.Listen("tcp4", "10.0.0.2:9080")
			if err != nil {
				t.Fatal(err)
			}
			app := httptest.NewUnstartedServer(http.HandlerFunc(seen))
			app.Listener.Close()
			app.Listener = l
			app.Start()
			defer app.Close()
			dir, err := os.MkdirTemp("", "ml")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			mesh := filepath.Join(dir, "mesh.yaml")
			if err := os.WriteFile(mesh, []byte(redirectMesh), 0o600); err != nil {
				t.Fatal(err)
			}
			cp := launch(t, "control plane", "mesh-lab", "control-plane", "-f", mesh,
				"--listen", "unix:"+filepath.Join(dir, "ads"), "-v")
			cp.await("ADS for 1 proxy")
			file := filepath.Join(dir, "app.yaml")
			text := strings.Replace(fmt.Sprintf(halvesBootstrap, "10.0.0.2", "app", dir,
				"DELTA_GRPC"), "router~", "sidecar~", 1)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			dataPlane(t, kind, kind, file, filepath.Join(dir, "app.admin"))
			cp.await("(?s)connected node=app-0.default ip=10.0.0.2.*msg=pushed proxies=1")

			// The test's own connection is made by this thread, in its network.
			conn, err := new(net.Dialer).DialContext(context.Background(), "tcp4", "10.96.0.10:80")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET /x HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n")
			b, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			// Istio's inbound clusters bind 127.0.0.6.
			for _, want := range []string{"HTTP/1.1 200 OK\r\n", "\r\nserver: envoy\r\n",
				"GET /x from 127.0.0.6\n"} {
				if !strings.Contains(string(b), want) {
					t.Errorf("no %q in %s", want, b)
				}
			}
		})
	}
}
