package live

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/mesh-lab/mesh-lab/lab/topology"
	"github.com/mesh-lab/mesh-lab/meshcore/control"
	"github.com/mesh-lab/mesh-lab/meshcore/identity"
	"github.com/mesh-lab/mesh-lab/meshcore/istio"
	"github.com/mesh-lab/mesh-lab/meshcore/translate"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// Bounds of a renewal that nobody waits for.
const (
	renewalPause    = 100 * time.Millisecond // at least, from one to the next
	renewalPatience = 10 * time.Second       // with proxies that do not answer
)

// startAuthority makes the lab's certificate authority.
func (m *Mesh) startAuthority() error {
	var err error
	m.authority, err = identity.New(identity.Options{
		TrustDomain: m.o.Spec.Config.Mesh.GetTrustDomain(), TTL: m.o.Spec.CertificateTTL,
		Now: m.wall,
	})
	return err
}

// workloadIdentity says who a pod is.
func workloadIdentity(c *istio.Config, p *translate.Pod) identity.Workload {
	return identity.Workload{TrustDomain: c.Mesh.GetTrustDomain(), Namespace: p.Namespace,
		ServiceAccount: p.ServiceAccount}
}

// withSecrets adds a pod's certificate and the mesh's root to its snapshot.
func (m *Mesh) withSecrets(
	c *istio.Config, p *translate.Pod, s *xds.Snapshot,
) (*xds.Snapshot, error) {
	own, err := m.authority.Secrets(workloadIdentity(c, p))
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", p.ID(), err)
	}
	out := *s
	out.Secrets = make(map[string]*tlsv3.Secret, len(s.Secrets)+len(own))
	maps.Copy(out.Secrets, s.Secrets)
	maps.Copy(out.Secrets, own)
	return &out, nil
}

// RotateCertificates issues the certificates of all workloads anew.
func (m *Mesh) RotateCertificates(ctx context.Context) (proxies int, err error) {
	ctx, release, err := m.take(ctx)
	if err != nil {
		return 0, err
	}
	defer release()
	m.authority.Rotate()
	res, err := m.renew(ctx)
	return res.Changed, err
}

// Certify gives the workload of a pod a certificate with something special about it, until a
// rotation.
func (m *Mesh) Certify(ctx context.Context, pod string, s identity.Special) error {
	ctx, release, err := m.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	for _, p := range m.Registry().Pods {
		if p.ID() != pod {
			continue
		}
		if err := m.authority.Replace(workloadIdentity(m.Config(), p), s); err != nil {
			return err
		}
		_, err = m.renew(ctx)
		return err
	}
	return fmt.Errorf("no pod %s", pod)
}

// renew gives every proxy the secrets that it is to have now; nothing else changes. Caller must
// hold apply.
func (m *Mesh) renew(ctx context.Context) (control.Result, error) {
	next := m.current()
	next.snaps, next.sent = maps.Clone(next.snaps), maps.Clone(next.sent)
	for _, p := range next.reg.Pods {
		id := p.ID()
		if next.snaps[id] == nil || m.isKilled(id) {
			continue
		}
		for _, all := range []map[string]*xds.Snapshot{next.snaps, next.sent} {
			s, err := m.withSecrets(next.config, p, all[id])
			if err != nil {
				return control.Result{}, err
			}
			all[id] = s
		}
	}
	m.set(next)
	defer m.planRenewal()
	return m.tell(ctx, next)
}

// renewLate renews what has become due while proxies were told of a change: it may take longer than
// a certificate lives. Caller must hold apply.
func (m *Mesh) renewLate(ctx context.Context) error {
	m.planRenewal()
	if at, ok := m.authority.Next(); !ok || m.wall().Before(at) {
		return nil
	}
	_, err := m.renew(ctx)
	return err
}

// planRenewal has certificates renewed when the first of them is due. Caller must hold apply.
func (m *Mesh) planRenewal() {
	now := m.current()
	var used []identity.Workload
	for _, p := range now.reg.Pods {
		if now.snaps[p.ID()] != nil {
			used = append(used, workloadIdentity(now.config, p))
		}
	}
	m.authority.Keep(used)
	m.stopRenewal()
	at, ok := m.authority.Next()
	if !ok {
		return
	}
	wait := max(at.Sub(m.wall()), renewalPause)
	m.stopRenewal = m.o.Clock.AfterFunc(wait, m.renewDue)
}

// renewDue renews what is due.
func (m *Mesh) renewDue() {
	ctx, release, err := m.take(m.ended)
	if err != nil {
		return // the lab has ended
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, renewalPatience)
	defer cancel()
	if _, err := m.renew(ctx); err != nil && m.ended.Err() == nil {
		m.o.Log.Warn("certificates were renewed, but not all proxies have them", "err", err)
	}
}

// Issue makes a client certificate of the mesh's authority, for who calls from outside.
func (m *Mesh) Issue(namespace, serviceAccount string) (tls.Certificate, error) {
	c, err := m.authority.Issue(identity.Workload{
		TrustDomain: m.Config().Mesh.GetTrustDomain(), Namespace: namespace,
		ServiceAccount: serviceAccount,
	}, identity.Special{})
	if err != nil {
		return tls.Certificate{}, err
	}
	return c.TLS(), nil
}

var (
	_ topology.Rotator = (*Mesh)(nil)
	_ topology.Issuer  = (*Mesh)(nil)
)
