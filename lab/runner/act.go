package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/chaos"
	"github.com/mesh-lab/mesh-lab/lab/request"
	"github.com/mesh-lab/mesh-lab/lab/tlsclient"
	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/clock"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/observe"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
)

// act carries out one action of step i.
func (r *run) act(
	ctx context.Context, i int, a *scenarios.Action, did *reports.Did, from clock.Instant,
) error {
	switch {
	case a.Apply != nil:
		return r.apply(ctx, a.Apply, did)
	case a.Delete != nil:
		return r.delete(ctx, a.Delete, did)
	case a.Scale != nil:
		return r.scale(ctx, a.Scale, did)
	case a.Fault != nil:
		return r.breaks(ctx, a.Fault, did)
	case a.Heal != nil:
		return r.heal(ctx, a.Heal, did)
	case a.Restart != nil:
		return r.restart(ctx, a.Restart, did)
	case a.Rotate != "":
		return r.rotate(ctx, did)
	case a.Exec != nil:
		return r.exec(ctx, a.Exec, did)
	case a.Load != nil:
		return r.load(ctx, i, a.Load, did)
	case a.Request != nil:
		return r.request(ctx, a.Request, did)
	}
	did.What = a.Wait.String()
	return wait(ctx, a.Wait)
}

// wait lets time pass, as the story says.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// names lists the files of documents.
func names(docs *scenarios.Documents) string {
	var out []string
	for _, d := range *docs {
		n := d.File
		if d.Line > 0 {
			n = fmt.Sprintf("%s:%d", d.File, d.Line)
		}
		out = append(out, n)
	}
	return strings.Join(out, ", ")
}

func (r *run) apply(ctx context.Context, docs *scenarios.Documents, did *reports.Did) error {
	did.What = names(docs)
	add, err := read(documents(r.s, docs), r.config)
	if err != nil {
		return err
	}
	return r.become(ctx, istio.Merge(r.config, add), did)
}

func (r *run) delete(ctx context.Context, docs *scenarios.Documents, did *reports.Did) error {
	did.What = names(docs)
	del, err := read(documents(r.s, docs), r.config)
	if err != nil {
		return err
	}
	return r.become(ctx, istio.Remove(r.config, del), did)
}

func (r *run) scale(ctx context.Context, all []scenarios.Scale, did *reports.Did) error {
	c := *r.config
	c.Objects = append([]*istio.Object(nil), c.Objects...)
	var what []string
	for _, s := range all {
		w := scenarios.Workload{Name: s.Workload, Replicas: &s.Replicas}
		if err := override(&c, w); err != nil {
			return fmt.Errorf("scale: %w", err)
		}
		what = append(what, fmt.Sprintf("%s to %d", s.Workload, s.Replicas))
	}
	did.What = strings.Join(what, ", ")
	return r.become(ctx, &c, did)
}

// become makes a configuration the mesh's and waits for every ACK.
func (r *run) become(ctx context.Context, c *istio.Config, did *reports.Did) error {
	r.mesh.Recorder().Change(observe.Change{At: did.From, Kind: did.Kind, What: did.What})
	applied, err := r.mesh.Apply(ctx, c)
	if err != nil {
		return fmt.Errorf("%s %s: %w", did.Kind, did.What, err)
	}
	did.Changes = differences(r.config, c)
	r.config = c
	did.Proxies, did.Total, did.Took = applied.Proxies, applied.Total, applied.Took
	r.place(c)
	r.exactness()
	return nil
}

// rotate has the control plane issue every workload's certificate anew.
func (r *run) rotate(ctx context.Context, did *reports.Did) error {
	ca, ok := r.mesh.(topology.Rotator)
	if !ok {
		return fmt.Errorf("rotate: topology %s can not", r.opt.Topology)
	}
	at := r.mesh.Clock().Now()
	n, err := ca.RotateCertificates(ctx)
	if err != nil {
		return fmt.Errorf("rotate certificates: %w", err)
	}
	did.What, did.Proxies = fmt.Sprintf("certificates of %d proxies", n), n
	r.mesh.Recorder().Fault(observe.Fault{
		From: at, Kind: "rotate", Target: "certificates", Fired: int64(n),
	})
	return nil
}

// exec calls the pods' own app, past the mesh.
func (r *run) exec(ctx context.Context, e *scenarios.Exec, did *reports.Did) error {
	did.What = strings.Join(e.In, ", ") + " " + e.Path
	for _, n := range e.In {
		pods, err := chaos.Pods(r.mesh.Registry(), n)
		if err != nil {
			return fmt.Errorf("exec: %w", err)
		}
		for _, p := range pods {
			if _, err := r.execIn(ctx, p, e); err != nil {
				return fmt.Errorf("exec in %s: %w", p.ID(), err)
			}
		}
	}
	return nil
}

// token returns the bearer token to send, minted now where that is asked for; empty without one.
func (r *run) token(ctx context.Context, s *scenarios.Secure) (string, error) {
	if s.TokenFrom == nil {
		return s.Token.Text, nil
	}
	pods, err := chaos.Pods(r.mesh.Registry(), s.TokenFrom.In[0])
	if err != nil {
		return "", fmt.Errorf("tokenFrom: %w", err)
	}
	text, err := r.execIn(ctx, pods[0], s.TokenFrom)
	if err != nil {
		return "", fmt.Errorf("tokenFrom %s: %w", pods[0].ID(), err)
	}
	return strings.TrimSpace(text), nil
}

// execIn calls one pod's app and returns its answer.
func (r *run) execIn(ctx context.Context, p *translate.Pod, e *scenarios.Exec) (string, error) {
	method, port := e.Method, e.Port
	if method == "" {
		method = http.MethodGet
	}
	if port == 0 {
		port = firstPort(p)
	}
	address := fmt.Sprintf("localhost:%d", port)
	c, err := r.mesh.Dial(ctx, p.ID(), address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if d, ok := ctx.Deadline(); ok {
		c.SetDeadline(d)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+e.Path, nil)
	if err != nil {
		return "", err
	}
	resp, err := request.RoundTrip(c, req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode/100 != 2 {
		return "", fmt.Errorf("%s %s: %s: %s",
			method, e.Path, resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}

// firstPort is the app's first container port.
func firstPort(p *translate.Pod) int {
	for _, c := range p.Containers {
		for _, cp := range c.Ports {
			return int(cp.ContainerPort)
		}
	}
	return 8080
}

// request sends a few exact requests.
func (r *run) request(ctx context.Context, q *scenarios.Request, did *reports.Did) error {
	did.What, did.Client, did.Sent = q.URL, q.From, max(q.Count, 1)
	if q.Method != "" {
		did.What = q.Method + " " + q.URL
	}
	token, err := r.token(ctx, &q.Secure)
	if err != nil {
		return err
	}
	spec := request.Spec{
		From: q.From, Gateway: q.Gateway, URL: q.URL, Method: q.Method, Body: q.Body, Host: q.Host,
		Count: q.Count, Concurrency: q.Connections, Timeout: q.Timeout, Token: token,
		TLS: secure(&q.Secure), Jar: r.jars.Named(q.Cookies),
	}
	send := func(s request.Spec) error {
		return request.Send(ctx, r.mesh, s, func(res request.Result) error {
			r.mesh.Recorder().Client(client(r.mesh, &res, q.From))
			reply, err := reply(res)
			did.Replies = append(did.Replies, reply)
			return err
		})
	}
	if constant(q.Headers) {
		spec.Headers = lines(q.Headers, 0)
		return send(spec)
	}
	spec.Count = 1
	for n := range did.Sent {
		spec.Headers = lines(q.Headers, n)
		if err := send(spec); err != nil {
			return err
		}
	}
	return nil
}

// client turns a result into the sender's record.
func client(m topology.Mesh, res *request.Result, from string) *observe.Client {
	d := time.Duration(res.DurationMS * float64(time.Millisecond))
	return &observe.Client{
		ID: res.RequestID, From: from, Start: m.Clock().Now() - clock.Instant(d), Duration: d,
		Status: res.Status, Error: res.Error,
	}
}

// reply turns a result into what is judged.
func reply(res request.Result) (assert.Reply, error) {
	hops, err := json.Marshal(res.Hops)
	out := assert.Reply{
		N: res.N, RequestID: res.RequestID, Status: res.Status, GRPCStatus: res.GRPCStatus,
		Error: res.Error, DurationMS: res.DurationMS, Headers: res.Headers, Body: res.Body,
		Hops: hops,
	}
	if t := res.TLS; t != nil {
		out.Certificate = append(slices.Clone(t.Certificate), t.URIs...)
	}
	if b := res.Backend; b != nil {
		out.Backend.Workload, out.Backend.Version = b.Workload, b.Version
		out.Backend.Pod, out.Backend.Namespace = b.Pod, b.Namespace
	}
	return out, err
}

// secure returns how a client speaks TLS.
func secure(s *scenarios.Secure) tlsclient.Options {
	return tlsclient.Options{
		SNI: s.SNI, CACert: s.CACert.Text, Cert: s.Cert.Text, Key: s.Key.Text,
		Identity: s.Identity,
	}
}

func constant(headers []scenarios.Header) bool {
	for _, h := range headers {
		if !h.Value.Constant() {
			return false
		}
	}
	return true
}

func lines(headers []scenarios.Header, n int) []string {
	var out []string
	for _, h := range headers {
		out = append(out, h.Name+": "+h.Value.At(n))
	}
	return out
}
