package sidecar

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mesh-lab/mesh-lab/meshcore/engine"
	"github.com/mesh-lab/mesh-lab/meshcore/xds"
)

// stat is one number, under Envoy's name for it. Only what is really counted is shown: a name that
// is missing is not a zero.
type stat struct {
	name  string
	gauge bool
	value uint64
	base  string      // the name without what labels say, for Prometheus
	tags  [][2]string // Prometheus labels
}

// stats collects all numbers, sorted by name.
type stats struct{ list []stat }

// scope is a prefix of names, as Envoy's stats scopes are.
type scope struct {
	s      *stats
	prefix string // "cluster.NAME."
	base   string // "cluster."
	tags   [][2]string
}

func (c scope) add(gauge bool, name string, v uint64) {
	c.s.list = append(c.s.list, stat{c.prefix + name, gauge, v, c.base + name, c.tags})
}

func (c scope) counter(name string, v uint64) { c.add(false, name, v) }
func (c scope) gauge(name string, v uint64)   { c.add(true, name, v) }

// codes adds the classes that tools ask for, and each code that was seen.
func (c scope) codes(prefix string, all *codes) {
	var class [6]uint64
	completed := uint64(0)
	for code := range all {
		n := all[code].Load()
		if n == 0 {
			continue
		}
		class[code/100] += n
		completed += n
		if prefix == "upstream_rq_" {
			t := c
			t.tags = append(slices.Clone(c.tags),
				[2]string{"envoy_response_code", strconv.Itoa(code)})
			t.s.list = append(t.s.list, stat{c.prefix + prefix + strconv.Itoa(code), false, n,
				c.base + strings.TrimSuffix(prefix, "_"), t.tags})
		}
	}
	c.counter(prefix+"completed", completed)
	for i := 1; i <= 5; i++ {
		tags := append(slices.Clone(c.tags),
			[2]string{"envoy_response_code_class", strconv.Itoa(i)})
		c.s.list = append(c.s.list, stat{c.prefix + prefix + strconv.Itoa(i) + "xx", false,
			class[i], c.base + prefix + "xx", tags})
	}
}

// stats returns all numbers of now.
func (s *Sidecar) stats() []stat {
	all := &stats{}
	s.serverStats(all)
	s.updateStats(all)
	for _, c := range s.engine.Clusters() {
		s.clusterStats(all, &c)
	}
	s.downstreamStats(all)
	slices.SortStableFunc(all.list, func(a, b stat) int { return cmp.Compare(a.name, b.name) })
	return all.list
}

func (s *Sidecar) serverStats(all *stats) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c := scope{s: all, prefix: "server.", base: "server."}
	c.gauge("state", uint64(s.state()))
	c.gauge("live", flag(!s.failed.Load() && s.plane.live()))
	c.gauge("uptime", uint64(time.Since(s.began).Seconds()))
	c.gauge("concurrency", uint64(runtime.GOMAXPROCS(0)))
	c.gauge("memory_allocated", m.HeapAlloc)
	c.gauge("memory_heap_size", m.HeapSys)
	open := uint64(0)
	for _, n := range s.proxy.Connections() {
		open += n.Active
	}
	c.gauge("total_connections", open)
	lm := scope{s: all, prefix: "listener_manager.", base: "listener_manager."}
	lm.gauge("workers_started", flag(s.plane.live()))
	lm.gauge("total_listeners_active", uint64(s.plane.listeners()))
}

func flag(on bool) uint64 {
	if on {
		return 1
	}
	return 0
}

// updateStats tells what became of the ADS server's responses.
func (s *Sidecar) updateStats(all *stats) {
	c := s.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	for typeURL, name := range map[string]string{
		xds.ClusterType: "cluster_manager.cds.", xds.ListenerType: "listener_manager.lds.",
	} {
		u := c.updates[typeURL]
		sc := scope{s: all, prefix: name, base: name}
		sc.counter("update_success", u.success)
		sc.counter("update_rejected", u.rejected)
		sc.counter("update_attempt", u.success+u.rejected)
	}
	sc := scope{s: all, prefix: "control_plane.", base: "control_plane."}
	sc.gauge("connected_state", flag(c.isOn))
}

func (s *Sidecar) clusterStats(all *stats, st *engine.ClusterStatus) {
	name := strings.ReplaceAll(st.Shown, ":", "_")
	c := scope{all, "cluster." + name + ".", "cluster.", [][2]string{{"envoy_cluster_name", name}}}
	n := get[clusterCount](&s.counts.clusters, st.Name)
	healthy := uint64(0)
	for i := range st.Hosts {
		healthy += flag(st.Hosts[i].Healthy())
	}
	c.gauge("membership_total", uint64(len(st.Hosts)))
	c.gauge("membership_healthy", healthy)
	c.gauge("upstream_cx_active", uint64(st.Usage.Connections))
	c.gauge("upstream_rq_active", uint64(st.Usage.Requests))
	c.gauge("upstream_rq_pending_active", uint64(st.Usage.Pending))
	c.counter("upstream_cx_total", n.connects.Load())
	c.counter("upstream_cx_connect_fail", n.connectKO.Load())
	c.counter("upstream_rq_total", n.total.Load())
	c.counter("upstream_rq_retry", n.retry.Load())
	c.counter("upstream_rq_timeout", n.timeout.Load())
	c.counter("upstream_rq_pending_overflow", n.overflow.Load())
	c.counter("upstream_rq_pending_failure_eject", n.pendingFailed.Load())
	c.codes("upstream_rq_", &n.codes)
}

func (s *Sidecar) downstreamStats(all *stats) {
	for prefix, open := range s.proxy.Connections() {
		kind, label := "tcp.", "envoy_tcp_prefix"
		if open.HTTP {
			kind, label = "http.", "envoy_http_conn_manager_prefix"
		}
		name := strings.ReplaceAll(prefix, ":", "_")
		c := scope{all, kind + name + ".", kind, [][2]string{{label, name}}}
		c.counter("downstream_cx_total", open.Total)
		n := get[prefixCount](&s.counts.prefixes, prefix)
		if !open.HTTP {
			c.counter("downstream_cx_rx_bytes_total", n.received.Load())
			c.counter("downstream_cx_tx_bytes_total", n.sent.Load())
			continue
		}
		c.gauge("downstream_cx_active", open.Active)
		c.counter("downstream_rq_total", n.total.Load())
		c.counter("no_route", n.noRoute.Load())
		c.counter("no_cluster", n.noCluster.Load())
		c.codes("downstream_rq_", &n.codes)
	}
}

// selection is what ?filter= and ?usedonly leave.
type selection struct {
	filter *regexp.Regexp
	used   bool
}

func (f selection) takes(st *stat) bool {
	return (f.filter == nil || f.filter.MatchString(st.name)) && (!f.used || st.value != 0 ||
		st.gauge)
}

// writeText writes numbers as Envoy's /stats does.
func writeText(w io.Writer, list []stat, f selection) {
	for i := range list {
		if st := &list[i]; f.takes(st) {
			fmt.Fprintf(w, "%s: %d\n", st.name, st.value)
		}
	}
}

// unnamed is what a Prometheus name can not have.
var unnamed = regexp.MustCompile(`[^a-zA-Z0-9_]`)

// writePrometheus writes numbers as Envoy's /stats/prometheus does: families in the order of their
// names.
func writePrometheus(w io.Writer, list []stat, f selection) {
	families := map[string][]*stat{}
	var names []string
	for i := range list {
		st := &list[i]
		if !f.takes(st) {
			continue
		}
		name := "envoy_" + unnamed.ReplaceAllString(st.base, "_")
		if families[name] == nil {
			names = append(names, name)
		}
		families[name] = append(families[name], st)
	}
	slices.Sort(names)
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	for _, name := range names {
		kind := "counter"
		if families[name][0].gauge {
			kind = "gauge"
		}
		fmt.Fprintf(w, "# TYPE %s %s\n", name, kind)
		for _, st := range families[name] {
			var labels []string
			for _, t := range st.tags {
				labels = append(labels, t[0]+`="`+escape.Replace(t[1])+`"`)
			}
			fmt.Fprintf(w, "%s{%s} %d\n", name, strings.Join(labels, ","), st.value)
		}
		fmt.Fprintln(w)
	}
}
