package sidecar_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"google.golang.org/grpc"

	"github.com/mesh-lab/mesh-lab/lab/topology/docker/capture"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/sidecar"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/istio/intercept"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/observe/sent"
	"github.com/mesh-lab/mesh-lab/meshcore/stock"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
	"github.com/mesh-lab/mesh-lab/testdata/netns"
)

// asSidecar is the variable that has this program be a sidecar.
const asSidecar = "MESHLAB_TEST_SIDECAR"

// TestMain is a sidecar's main, too: its process must be user 1337's.
func TestMain(m *testing.M) {
	text := os.Getenv(asSidecar)
	if text == "" {
		os.Exit(m.Run())
	}
	var c sidecar.Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := sidecar.Main(ctx, c, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const twoPods = `
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: a}, annotations: {mesh-lab.dev/ip: 10.244.0.2}}
spec: {containers: [{name: a, image: a}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {app: b}, annotations: {mesh-lab.dev/ip: 10.244.0.3}}
spec: {containers: [{name: b, image: b, ports: [{containerPort: 9080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {clusterIP: 10.96.0.20, selector: {app: b}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: b}
spec: {host: b, trafficPolicy: {tls: {mode: DISABLE}}}
`

// The addresses of the pods; Docker's are those that the bridge gave.
const (
	aPod, bPod, bVIP = "10.244.0.2", "10.244.0.3", "10.96.0.20"
	bDocker          = "172.31.0.3"
	infraIP          = "10.245.0.2"
	app              = 1000
)

// mesh is two pods with sidecars that are processes, and what they talk to, without Docker.
type mesh struct {
	t        *testing.T
	ctx      context.Context
	a, b, c  *netns.Namespace // c has no sidecar; the control plane is there
	rec      *observe.Recorder
	receiver *sent.Receiver
	sidecars map[string]*exec.Cmd
	seen     int // records that earlier calls of records have returned
}

func newMesh(t *testing.T) *mesh {
	lan := netns.LAN(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	m := &mesh{
		t: t, ctx: ctx, a: lan[0], b: lan[1], c: lan[2], rec: observe.NewRecorder(),
		sidecars: map[string]*exec.Cmd{},
	}
	for i, ip := range []string{aPod, bPod, infraIP} {
		lan[i].Do(func() { address(t, ip) })
	}
	m.receiver = sent.NewReceiver(sent.ReceiverOptions{Sink: m.rec})
	joined := make(chan string, 10)
	records := m.listen(m.c, 0, infraIP+":15302")
	go func() {
		for {
			c, err := records.Accept()
			if err != nil {
				return
			}
			if p, err := m.receiver.Serve(c); err == nil {
				joined <- p.Node()
			}
		}
	}()
	m.serveApp()
	for _, ns := range []*netns.Namespace{m.a, m.b} {
		var err error
		ns.Do(func() { err = capture.Install(intercept.Default()) })
		check(t, err)
	}
	server := control.New(control.Options{})
	g := grpc.NewServer(control.GRPCOptions()...)
	server.Register(g)
	go g.Serve(m.listen(m.c, 0, infraIP+":15010")) //nolint:errcheck // ends with Stop
	t.Cleanup(g.Stop)
	m.start(m.a, "a", aPod)
	m.start(m.b, "b", bPod)
	if _, err := server.Set(ctx, snapshots(t)); err != nil {
		t.Fatal(err)
	}
	<-joined
	<-joined
	return m
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// address gives the namespace its pod's address, by which all others are found on the bridge.
func address(t *testing.T, ip string) {
	eth, err := netlink.LinkByName("eth0")
	if err == nil {
		err = netlink.AddrAdd(eth, &netlink.Addr{IPNet: netlink.NewIPNet(net.ParseIP(ip))})
	}
	if err == nil {
		err = netlink.RouteReplace(&netlink.Route{
			LinkIndex: eth.Attrs().Index, Scope: netlink.SCOPE_LINK, Src: net.ParseIP(ip),
			Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)},
		})
	}
	if err != nil {
		t.Error(err)
	}
}

func (m *mesh) listen(ns *netns.Namespace, uid int, address string) net.Listener {
	m.t.Helper()
	var l net.Listener
	var err error
	ns.As(uid, uid, func() { l, err = net.Listen("tcp4", address) })
	check(m.t, err)
	m.t.Cleanup(func() { l.Close() })
	return l
}

// serveApp is b's app: on the port that its Service leads to, and on one that nobody knows.
func (m *mesh) serveApp() {
	for _, port := range []string{":9080", ":9999"} {
		l := m.listen(m.b, app, "0.0.0.0"+port)
		s := &http.Server{Handler: http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) })}
		go s.Serve(l) //nolint:errcheck // ends with Close
		m.t.Cleanup(func() { s.Close() })
	}
}

// start runs a pod's sidecar as user 1337.
func (m *mesh) start(ns *netns.Namespace, name, ip string) {
	c, err := json.Marshal(sidecar.Config{
		Node:    "sidecar~" + ip + "~" + name + ".default~default.svc.cluster.local",
		Control: infraIP + ":15010", Records: infraIP + ":15302", IP: netip.MustParseAddr(ip),
		Workload: observe.Workload{Pod: name, Workload: name, Namespace: "default"},
	})
	check(m.t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asSidecar+"="+string(c))
	cmd.Stderr = m.t.Output()
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: intercept.ProxyUID, Gid: intercept.ProxyGID},
	}
	ns.Do(func() { err = cmd.Start() })
	check(m.t, err)
	m.sidecars[name] = cmd
	m.t.Cleanup(func() { m.stop(name) })
}

// stop ends a sidecar at once.
func (m *mesh) stop(name string) {
	if cmd := m.sidecars[name]; cmd.ProcessState == nil {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // by the signal
	}
}

// snapshots are what the sidecars are given.
func snapshots(t *testing.T) map[string]*xds.Snapshot {
	c, diags := istio.Read([]istio.File{{Name: "two.yaml", Data: []byte(twoPods)}},
		istio.ReadOptions{})
	if istio.HasErrors(diags) {
		t.Fatal(diags)
	}
	reg, _ := translate.NewRegistry(c, nil)
	tr := translate.New(c, reg)
	low := stock.NewLowering()
	out := map[string]*xds.Snapshot{}
	for _, p := range reg.Pods {
		s, diags := tr.Snapshot(p)
		if istio.HasErrors(diags) {
			t.Fatal(diags)
		}
		var err error
		out[p.ID()], err = low.Snapshot(s)
		check(t, err)
	}
	return out
}

// get asks as a user of a namespace; it returns the status and the body, or why there is none.
func (m *mesh) get(ns *netns.Namespace, uid int, address, host string) string {
	var c net.Conn
	var err error
	ns.As(uid, uid, func() { c, err = net.DialTimeout("tcp4", address, 5*time.Second) })
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused"
	}
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second)) //nolint:errcheck // the read says it, too
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err.Error()
	}
	from, _, _ := strings.Cut(string(body), ":")
	return fmt.Sprint(r.StatusCode, " ", from)
}

// records returns those that have come since it was called last, once there are n and all that has
// ended is there. A connection's own record comes with its end, which is after its client's.
func (m *mesh) records(n int) []observe.Request {
	m.t.Helper()
	var all []observe.Request
	for {
		for name, cmd := range m.sidecars {
			if cmd.ProcessState == nil {
				check(m.t, m.receiver.Settle(m.ctx, name+".default"))
			}
		}
		if all = m.rec.Snapshot().Requests; len(all) >= m.seen+n {
			break
		}
	}
	came := all[m.seen:]
	m.seen = len(all)
	return came
}

// by returns the record of one proxy.
func by(list []observe.Request, proxy string) observe.Request {
	for _, r := range list {
		if r.Proxy == proxy+".default" {
			return r
		}
	}
	return observe.Request{}
}

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

// TestCaptureProven: an app can not get past its sidecar, nor anybody past the sidecar of an app,
// and the records say who asked whom.
func TestCaptureProven(t *testing.T) {
	m := newMesh(t)
	for _, c := range []struct {
		name, address, host string
		cluster             string // that a's sidecar chose
		local               string // where the app was going
		upstream            string
		from                string // the app's address
	}{
		{"Service", bVIP + ":80", "b", "outbound|80||b.default.svc.cluster.local", bVIP + ":80",
			bPod + ":9080", aPod},
		{"pod", bPod + ":9080", "b", "PassthroughCluster", bPod + ":9080", bPod + ":9080", aPod},
		{"port that nobody knows", bPod + ":9999", "b", "PassthroughCluster", bPod + ":9999",
			bPod + ":9999", aPod},
		{"Docker's address", bDocker + ":9080", "b", "PassthroughCluster", bDocker + ":9080",
			bDocker + ":9080", "172.31.0.2"},
	} {
		for _, uid := range []int{app, 0} {
			t.Run(fmt.Sprint(c.name, " by user ", uid), func(t *testing.T) {
				got := m.get(m.a, uid, c.address, c.host)
				list := m.records(2)
				out, in := by(list, "a"), by(list, "b")
				if len(list) != 2 || !strings.HasPrefix(got, "200 127.0.0.6") {
					t.Fatalf("answer %q, records %+v", got, list)
				}
				if out.Reporter != observe.Source || out.Cluster != c.cluster ||
					out.Local != c.local || hostOf(out.Remote) != c.from || out.Upstream != c.upstream {
					t.Errorf("the client's record: %+v", out)
				}
				if in.Reporter != observe.Destination || in.Local != c.upstream ||
					hostOf(in.Remote) != c.from {
					t.Errorf("the server's record: %+v", in)
				}
			})
		}
	}
	t.Run("the sidecar itself passes", func(t *testing.T) {
		got := m.get(m.a, intercept.ProxyUID, bPod+":9080", "b")
		if list := m.records(1); got != "200 127.0.0.6" || len(list) != 1 ||
			list[0].Proxy != "b.default" || hostOf(list[0].Remote) != aPod {
			t.Errorf("answer %q, records %+v", got, list)
		}
	})
	t.Run("from outside", func(t *testing.T) {
		got := m.get(m.c, 0, bPod+":9080", "b")
		if list := m.records(1); got != "200 127.0.0.6" || len(list) != 1 ||
			hostOf(list[0].Remote) != infraIP || list[0].Local != bPod+":9080" {
			t.Errorf("answer %q, records %+v", got, list)
		}
	})
	m.stop("a")
	for _, to := range []string{bVIP + ":80", bPod + ":9080", bPod + ":9999", bDocker + ":9080"} {
		if got := m.get(m.a, app, to, "b"); got != "refused" {
			t.Errorf("without its sidecar an app reaches %s: %s", to, got)
		}
	}
	if got := m.get(m.a, intercept.ProxyUID, bPod+":9080", "b"); got != "200 127.0.0.6" {
		t.Errorf("b is gone, too: %s", got)
	}
	m.stop("b")
	for _, to := range []string{bPod + ":9080", bPod + ":9999", bDocker + ":9080"} {
		if got := m.get(m.c, 0, to, "b"); got != "refused" {
			t.Errorf("without its sidecar b's app answers on %s: %s", to, got)
		}
	}
	if got := m.get(m.b, app, "127.0.0.1:9080", "b"); got != "200 127.0.0.1" {
		t.Errorf("b's app is gone, and not its sidecar alone: %s", got)
	}
}
