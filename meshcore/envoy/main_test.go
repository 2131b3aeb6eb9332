package envoy_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"go.uber.org/goleak"

	"github.com/mesh-lab/mesh-lab/meshcore/envoy"
)

// TestMain lets this program be other programs, when a test runs it under another name or in a
// role.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "envoy" {
		pretend()
	}
	switch os.Getenv("ROLE") {
	case "owner":
		own()
	case "innocent":
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// pretend answers --version with what lies beside the program.
func pretend() {
	version, err := os.ReadFile(os.Args[0] + ".version")
	if err != nil || len(os.Args) != 2 || os.Args[1] != "--version" {
		fmt.Fprintln(os.Stderr, "not an Envoy for this:", os.Args, err)
		os.Exit(1)
	}
	fmt.Printf("\n%s  version: 0123abcd/%s/Clean/RELEASE/BoringSSL\n\n", os.Args[0], version)
	os.Exit(0)
}

// own starts an Envoy, says its pid, and then has nothing more to do than to be killed.
func own() {
	b := envoy.Binary{Path: os.Getenv("BINARY")}
	p, err := envoy.Start(background, envoy.Options{Binary: b, Dir: os.Getenv("DIR"), Name: "a.b",
		Node: &corev3.Node{Id: "a", Cluster: "b"}, Control: filepath.Join(os.Getenv("DIR"), "ads")})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	os.Exit(2)
}
