package bundled_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/bundled"
	"github.com/mesh-lab/mesh-lab/testdata/wait"
)

// free returns a port that nobody listens on.
func free(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// get asks an app; empty while it does not answer.
func get(port uint16) string {
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/who", port))
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body) // what came is compared
	return string(text)
}

// TestServes: an app serves where it is to, and on ports that it is told of later; it ends with its
// context.
func TestServes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	first, second, told := free(t), free(t), free(t)
	ended := make(chan error, 1)
	go func() {
		ended <- bundled.Main(ctx, bundled.Config{
			App: "echo", Image: "mesh-lab/echo", Pod: "echo-1", Workload: "echo",
			Namespace: "default", Ports: []uint16{first}, Told: fmt.Sprintf("127.0.0.1:%d", told),
		}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	}()
	wait.Until(t, func() string { return get(first) }, func() bool { return strings.Contains(get(first), "echo-1") })
	if get(second) != "" {
		t.Error("it listens where nobody has told it to")
	}
	r, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/ports", told), "", strings.NewReader(
		fmt.Sprintf("[%d,%d]", first, second)))
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("told: %v, %v", r, err)
	}
	r.Body.Close()
	if !strings.Contains(get(second), "echo-1") {
		t.Error("it does not listen where it was told to")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if get(first) != "" {
		t.Error("it outlived its context")
	}
}
