package lab_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/mesh-lab/mesh-lab/lab/remote"
	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/lab/topology/embedded"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// TestKeysStayInMemory plays a scenario and looks for private keys of workloads in everything that
// is written or told: files, while the mesh runs and after it, logs, reports, the recorded run, and
// what commands answer.
func TestKeysStayInMemory(t *testing.T) {
	t.Run("meshcore", func(t *testing.T) { keysStayInMemory(t, "") })
	t.Run("envoy", func(t *testing.T) {
		envoy.Binary(t)
		keysStayInMemory(t, "envoy")
	})
}

const keysScenario = `
name: keys
mesh: {app: customer}
needs: [rotate]
steps:
  - load:
      from: curl
      to: "http://customer:8080/"
      requests: 200
      meanwhile: {rotate: certificates}
    expect: [success: 100%]
  - request: {from: curl, to: "http://customer:8080/", expect: {status: 200}}
`

func keysStayInMemory(t *testing.T, plane string) {
	dir, tmp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", tmp)
	k := &keys{t: t}
	d := embedded.Driver{Proxy: plane, Dir: dir, Tamper: k.collect}
	var log lockedBuffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	access := func(_ string, line []byte) { log.Write(line) }
	inspected := inspector{d, func(m topology.Mesh) {
		k.absent("answers of the lab", answers(t, m))
		k.absentFiles(dir, tmp)
	}}
	s, diags := scenarios.Open(fstest.MapFS{"keys.yaml": {Data: []byte(keysScenario)}}, "keys.yaml")
	for _, d := range diags {
		t.Fatal(d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	run, err := runner.Run(ctx, s, runner.Options{
		Driver: inspected, Topology: "embedded", Proxy: plane, Seed: 1, Version: "test",
		Log: logger, AccessLog: access,
	})
	if err != nil {
		t.Fatal(err)
	}
	k.absentFiles(dir, tmp)
	k.absent("logs", log.bytes())
	var told bytes.Buffer
	res, err := reports.Judge(run)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		reports.WriteRun(&told, run), reports.JSON(&told, res), reports.JUnit(&told, res),
		reports.Text(&told, res, reports.TextOptions{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range reports.Fortio(res) {
		told.Write(b)
	}
	k.absent("reports", told.Bytes())
	k.enough()
}

// answers asks a lab for all that it tells.
func answers(t *testing.T, m topology.Mesh) []byte {
	t.Helper()
	ctx := t.Context()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := remote.NewServer(m, remote.Info{Name: "keys"}, nil)
	go server.Serve(l)
	defer server.Close()
	client := remote.NewClient(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	})
	var out []any
	for _, w := range []string{"customer", "recommendation-v1"} {
		snap, err := client.Snapshot(ctx, w)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, snap)
	}
	objects, err := client.Objects(ctx)
	if err != nil {
		t.Fatal(err)
	}
	proxies, err := client.Proxies(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = client.Request(ctx, request.Spec{From: "curl", URL: "http://customer:8080/"},
		func(r request.Result) error { out = append(out, r); return nil })
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(append(out, objects, proxies))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inspector is a driver whose meshes are looked at before they are closed.
type inspector struct {
	embedded.Driver
	look func(topology.Mesh)
}

// Up brings up a mesh.
func (d inspector) Up(ctx context.Context, s topology.Spec) (topology.Mesh, error) {
	m, err := d.Driver.Up(ctx, s)
	if err != nil {
		return nil, err
	}
	return &inspectedMesh{m, m.(topology.Rotator), d.look}, nil
}

type inspectedMesh struct {
	topology.Mesh
	topology.Rotator
	look func(topology.Mesh)
}

// Close looks, and closes.
func (m *inspectedMesh) Close(ctx context.Context) error {
	m.look(m.Mesh)
	return m.Mesh.Close(ctx)
}

// keys are the private keys that were given to proxies, in the forms in which they might be seen.
type keys struct {
	t *testing.T

	mu    sync.Mutex
	seen  map[string]bool
	forms map[string][]byte // by what it is
}

// collect takes the keys of a snapshot.
func (k *keys) collect(s *xds.Snapshot) *xds.Snapshot {
	for _, secret := range s.Secrets {
		source := secret.GetTlsCertificate().GetPrivateKey()
		text := source.GetInlineBytes()
		if text == nil {
			text = []byte(source.GetInlineString())
		}
		if len(text) > 0 {
			k.add(secret, text)
		}
	}
	return s
}

func (k *keys) add(secret *tlsv3.Secret, text []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen == nil {
		k.seen = map[string]bool{}
		k.forms = map[string][]byte{"PEM": []byte("PRIVATE KEY")}
	}
	if k.seen[string(text)] {
		return
	}
	k.seen[string(text)] = true
	block, _ := pem.Decode(text)
	if block == nil {
		k.t.Errorf("a key of %s that is no PEM", secret.Name)
		return
	}
	raw := number(block.Bytes)
	if raw == nil {
		k.t.Errorf("a key of %s that is not of an elliptic curve", secret.Name)
		return
	}
	name := secret.Name + " " + hex.EncodeToString(raw[:4]) + " "
	k.forms[name+"DER"] = block.Bytes
	k.forms[name+"number"] = raw
	k.forms[name+"in hex"] = []byte(hex.EncodeToString(raw))
	// Of three alignments, one line of base64 each.
	for i := range 3 {
		b := base64.StdEncoding.EncodeToString(raw[i:])
		k.forms[name+"in base64 "+string(rune('0'+i))] = []byte(b[:36])
	}
	k.forms[name+"PEM in base64"] = []byte(base64.StdEncoding.EncodeToString(text)[:60])
	// What is looked for must be found where it is.
	shown, err := protojson.Marshal(secret)
	if err != nil {
		k.t.Error(err)
	} else if k.find(shown) == "" || k.find(text) == "" || k.find(block.Bytes) == "" {
		k.t.Errorf("no key found in %s itself", secret.Name)
	}
}

// number is the secret number of an ECDSA key.
func number(der []byte) []byte {
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		any, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			return nil
		}
		var ok bool
		if key, ok = any.(*ecdsa.PrivateKey); !ok {
			return nil
		}
	}
	raw, err := key.Bytes()
	if err != nil {
		return nil
	}
	return raw
}

// find says which key is in a text; empty: none. Caller must hold mu.
func (k *keys) find(text []byte) string {
	for name, form := range k.forms {
		if bytes.Contains(text, form) {
			return name
		}
	}
	return ""
}

// absent reports a key in what is written or told.
func (k *keys) absent(where string, text []byte) {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if name := k.find(text); name != "" {
		k.t.Errorf("%s: a private key: %s", where, name)
	}
	if len(text) == 0 {
		k.t.Errorf("%s: nothing to look at", where)
	}
}

// absentFiles looks into every file.
func (k *keys) absentFiles(dirs ...string) {
	k.t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if len(text) > 0 {
				k.absent(path, text)
			}
			return err
		})
		if err != nil {
			k.t.Error(err)
		}
	}
}

// enough says whether there were keys: those of five proxies.
func (k *keys) enough() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.seen) < 5 {
		k.t.Errorf("only %d keys were given to proxies", len(k.seen))
	}
}

// lockedBuffer is a log that many write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write adds to the log.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}
