package sidecar

import (
	"fmt"
	"net/http"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
)

// clusters shows hosts as Envoy does (source/server/admin/clusters_handler.cc).
func (s *Sidecar) clusters(w http.ResponseWriter, r *http.Request) {
	all := s.engine.Clusters()
	if r.URL.Query().Get("format") == "json" {
		out := &adminv3.Clusters{}
		for i := range all {
			out.ClusterStatuses = append(out.ClusterStatuses, s.clusterStatus(&all[i]))
		}
		writeJSON(w, out)
		return
	}
	for i := range all {
		c := &all[i]
		line := func(key string, v any) { fmt.Fprintf(w, "%s::%s::%v\n", c.Name, key, v) }
		line("observability_name", c.Shown)
		line("default_priority::max_connections", c.Limits.MaxConnections)
		line("default_priority::max_pending_requests", c.Limits.MaxPendingRequests)
		line("default_priority::max_requests", c.Limits.MaxRequests)
		line("default_priority::max_retries", c.Limits.MaxRetries)
		line("added_via_api", s.dynamic(c.Name))
		if c.EDS != "" && s.dynamic(c.Name) {
			line("eds_service_name", c.EDS)
		}
		for j := range c.Hosts {
			h := &c.Hosts[j]
			for _, x := range s.hostLines(c.Name, h) {
				line(h.Addr.String()+"::"+x.key, x.value)
			}
		}
	}
}

// hostLine is one fact of a host.
type hostLine struct {
	key   string
	value any
}

func (s *Sidecar) hostLines(cluster string, h *engine.HostStatus) []hostLine {
	n := get[hostCount](&get[clusterCount](&s.counts.clusters, cluster).hosts, h.Addr.String())
	return []hostLine{
		{"cx_connect_fail", n.connectKO.Load()}, {"cx_total", n.connects.Load()},
		{"rq_active", h.Active()}, {"rq_error", n.failed.Load()},
		{"rq_success", n.success.Load()}, {"rq_timeout", n.timeout.Load()},
		{"rq_total", n.total.Load()}, {"hostname", ""}, {"health_flags", healthFlags(h)},
		{"weight", h.Weight}, {"region", h.Locality.Region}, {"zone", h.Locality.Zone},
		{"sub_zone", h.Locality.SubZone}, {"canary", false}, {"priority", h.Priority},
		{"success_rate", "-1"}, {"local_origin_success_rate", "-1"},
	}
}

// healthFlags writes what is wrong with a host (Envoy HostUtility::healthFlagsToString).
func healthFlags(h *engine.HostStatus) string {
	switch {
	case h.Failed && h.Ejected:
		return "/failed_outlier_check/failed_eds_health"
	case h.Failed:
		return "/failed_eds_health"
	case h.Ejected:
		return "/failed_outlier_check"
	}
	return "healthy"
}

// dynamic says whether a cluster came from the ADS server.
func (s *Sidecar) dynamic(cluster string) bool { return s.plane.static.Clusters[cluster] == nil }

func (s *Sidecar) clusterStatus(c *engine.ClusterStatus) *adminv3.ClusterStatus {
	out := &adminv3.ClusterStatus{Name: c.Name, AddedViaApi: s.dynamic(c.Name),
		ObservabilityName: c.Shown}
	if out.AddedViaApi {
		out.EdsServiceName = c.EDS
	}
	counter, gauge := adminv3.SimpleMetric_COUNTER, adminv3.SimpleMetric_GAUGE
	for i := range c.Hosts {
		h := &c.Hosts[i]
		n := get[hostCount](&get[clusterCount](&s.counts.clusters, c.Name).hosts, h.Addr.String())
		metric := func(t adminv3.SimpleMetric_Type, name string, v uint64) *adminv3.SimpleMetric {
			return &adminv3.SimpleMetric{Type: t, Name: name, Value: v}
		}
		eds := corev3.HealthStatus_HEALTHY
		if h.Failed {
			eds = corev3.HealthStatus_UNHEALTHY
		}
		out.HostStatuses = append(out.HostStatuses, &adminv3.HostStatus{
			Address: protoAddress(h.Addr),
			Stats: []*adminv3.SimpleMetric{
				metric(counter, "cx_connect_fail", n.connectKO.Load()),
				metric(counter, "cx_total", n.connects.Load()),
				metric(counter, "rq_error", n.failed.Load()),
				metric(counter, "rq_success", n.success.Load()),
				metric(counter, "rq_timeout", n.timeout.Load()),
				metric(counter, "rq_total", n.total.Load()),
				metric(gauge, "rq_active", uint64(h.Active())),
			},
			HealthStatus: &adminv3.HostHealthStatus{
				FailedOutlierCheck: h.Ejected, EdsHealthStatus: eds},
			Weight: h.Weight, Priority: h.Priority,
			Locality: &corev3.Locality{Region: h.Locality.Region, Zone: h.Locality.Zone,
				SubZone: h.Locality.SubZone},
		})
	}
	return out
}

func protoAddress(a engine.Address) *corev3.Address {
	if a.Path != "" {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: a.Path}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{
		SocketAddress: &corev3.SocketAddress{Address: a.Addr().String(),
			PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())}}}}
}

// listeners shows where the proxy listens (source/server/admin/listeners_handler.cc).
func (s *Sidecar) listeners(w http.ResponseWriter, r *http.Request) {
	out := &adminv3.Listeners{}
	for _, l := range s.plane.bound() {
		st := &adminv3.ListenerStatus{Name: l.name, LocalAddress: protoAddress(l.at[0])}
		for _, a := range l.at[1:] {
			st.AdditionalLocalAddresses = append(st.AdditionalLocalAddresses, protoAddress(a))
		}
		out.ListenerStatuses = append(out.ListenerStatuses, st)
	}
	if r.URL.Query().Get("format") == "json" {
		writeJSON(w, out)
		return
	}
	for _, l := range s.plane.bound() {
		for _, a := range l.at {
			fmt.Fprintf(w, "%s::%s\n", l.name, a)
		}
	}
}
