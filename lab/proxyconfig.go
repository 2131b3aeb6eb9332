package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/mesh-lab/mesh-lab/lab/topology"
)

// resourceKinds are the arguments of proxy-config, with the short forms that istioctl takes.
var resourceKinds = map[string]string{
	"listeners": "listeners", "listener": "listeners", "l": "listeners",
	"routes": "routes", "route": "routes", "r": "routes",
	"clusters": "clusters", "cluster": "clusters", "c": "clusters",
	"endpoints": "endpoints", "endpoint": "endpoints", "ep": "endpoints",
	"secrets": "secrets", "secret": "secrets", "s": "secrets",
	"all": "all",
}

func proxyConfigCommand(e *env) *cobra.Command {
	var src source
	var name string
	c := &cobra.Command{
		Use:     "proxy-config WORKLOAD [listeners|routes|clusters|endpoints|secrets]",
		Aliases: []string{"pc"},
		Short:   "Show what a sidecar or gateway was given, as istioctl prints it",
		Example: `  mesh-lab proxy-config preference routes
  mesh-lab proxy-config preference clusters -o json
  mesh-lab proxy-config -f mesh/ productpage listeners`,
		Args: wants(1, 2, "of which workload?"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			workload, kind := args[0], "all"
			if len(args) == 2 {
				// istioctl writes the kind first; both orders are understood
				if _, ok := resourceKinds[args[0]]; ok {
					args[0], args[1] = args[1], args[0]
				}
				workload, kind = args[0], resourceKinds[args[1]]
				if kind == "" {
					return usage("%q is unknown; one of listeners, routes, clusters, endpoints, "+
						"secrets", args[1])
				}
			}
			l, closeLab, err := e.lab(c.Context(), src, name)
			if err != nil {
				return err
			}
			defer closeLab() //nolint:errcheck // the answer is what counts
			snap, err := l.Snapshot(c.Context(), workload)
			if err != nil {
				return answered(err)
			}
			return e.printSnapshot(snap, kind)
		},
	}
	sourceFlags(c, &src)
	labFlag(c, &name)
	outputFlag(e, c, "text", "json")
	return c
}

func (e *env) printSnapshot(snap map[string][]json.RawMessage, kind string) error {
	if e.output == "json" {
		var v any = snap
		if kind != "all" {
			v = snap[kind]
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := json.Indent(&out, b, "", "  "); err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.out, out.String())
		return err
	}
	for _, k := range []string{"clusters", "listeners", "routes", "secrets", "endpoints"} {
		if kind != "all" && kind != k {
			continue
		}
		if err := e.printResources(k, snap[k]); err != nil {
			return err
		}
		if kind == "all" {
			fmt.Fprintln(e.out)
		}
	}
	return nil
}

// printResources prints one kind's table.
func (e *env) printResources(kind string, all []json.RawMessage) error {
	headings := map[string]string{
		"clusters":  "SERVICE FQDN\tPORT\tSUBSET\tDIRECTION\tTYPE\tDESTINATION RULE",
		"listeners": "ADDRESSES\tPORT\tMATCH\tDESTINATION",
		"routes":    "NAME\tVHOST NAME\tDOMAINS\tMATCH\tVIRTUAL SERVICE",
		"endpoints": "ENDPOINT\tSTATUS\tCLUSTER",
		"secrets": "RESOURCE NAME\tTYPE\tSTATUS\tVALID CERT\tSERIAL NUMBER\tNOT AFTER\t" +
			"NOT BEFORE",
	}
	w := e.table()
	fmt.Fprintln(w, headings[kind])
	for _, b := range all {
		var rows [][]string
		var err error
		switch kind {
		case "clusters":
			rows, err = each(b, &clusterv3.Cluster{}, clusterRows)
		case "listeners":
			rows, err = each(b, &listenerv3.Listener{}, listenerRows)
		case "routes":
			rows, err = each(b, &routev3.RouteConfiguration{}, routeRows)
		case "endpoints":
			rows, err = each(b, &endpointv3.ClusterLoadAssignment{}, endpointRows)
		case "secrets":
			rows, err = each(b, &tlsv3.Secret{}, secretRows)
		}
		if err != nil {
			return environment(err)
		}
		for _, r := range rows {
			fmt.Fprintln(w, strings.Join(r, "\t"))
		}
	}
	return w.Flush()
}

func each[M proto.Message](b []byte, m M, rows func(M) [][]string) ([][]string, error) {
	if err := protojson.Unmarshal(b, m); err != nil {
		return nil, err
	}
	return rows(m), nil
}

// configName shortens the istio.config metadata to "NAME.NAMESPACE".
func configName(m *corev3.Metadata) string {
	path := m.GetFilterMetadata()["istio"].GetFields()["config"].GetStringValue()
	parts := strings.Split(path, "/")
	if len(parts) < 8 {
		return ""
	}
	return parts[7] + "." + parts[5]
}

func clusterRows(c *clusterv3.Cluster) [][]string {
	parts := strings.Split(c.Name, "|")
	row := []string{c.Name, "-", "-", "-", c.GetType().String(), configName(c.Metadata)}
	if len(parts) == 4 {
		row[0], row[1], row[2], row[3] = orDash(parts[3]), parts[1], orDash(parts[2]), parts[0]
	}
	return [][]string{row}
}

func listenerRows(l *listenerv3.Listener) [][]string {
	a := l.GetAddress().GetSocketAddress()
	var out [][]string
	chains := slices.Clone(l.FilterChains)
	if l.DefaultFilterChain != nil {
		chains = append(chains, l.DefaultFilterChain)
	}
	for _, c := range chains {
		out = append(out, []string{a.GetAddress(), fmt.Sprint(a.GetPortValue()), chainMatch(c),
			chainDestination(c)})
	}
	return out
}

func chainMatch(c *listenerv3.FilterChain) string {
	var parts []string
	m := c.GetFilterChainMatch()
	if len(m.GetServerNames()) > 0 {
		parts = append(parts, "SNI: "+strings.Join(m.ServerNames, ","))
	}
	if m.GetTransportProtocol() != "" {
		parts = append(parts, "Trans: "+m.TransportProtocol)
	}
	if len(m.GetApplicationProtocols()) > 0 {
		parts = append(parts, "App: "+strings.Join(m.ApplicationProtocols, ","))
	}
	for _, p := range m.GetPrefixRanges() {
		parts = append(parts,
			fmt.Sprintf("Addr: %s/%d", p.AddressPrefix, p.GetPrefixLen().GetValue()))
	}
	if p := m.GetDestinationPort(); p != nil {
		parts = append(parts, fmt.Sprintf("Port: %d", p.Value))
	}
	if len(parts) == 0 {
		return "ALL"
	}
	return strings.Join(parts, "; ")
}

// chainDestination says where a chain leads: its route configuration or its cluster.
func chainDestination(c *listenerv3.FilterChain) string {
	for _, f := range c.Filters {
		b, err := protojson.Marshal(f)
		if err != nil {
			continue
		}
		var t struct {
			TypedConfig struct {
				RDS         struct{ RouteConfigName string }
				RouteConfig struct{ Name string }
				Cluster     string
			}
		}
		if json.Unmarshal(b, &t) != nil {
			continue
		}
		switch {
		case t.TypedConfig.RDS.RouteConfigName != "":
			return "Route: " + t.TypedConfig.RDS.RouteConfigName
		case t.TypedConfig.RouteConfig.Name != "":
			return "Inline Route: " + t.TypedConfig.RouteConfig.Name
		case t.TypedConfig.Cluster != "":
			return "Cluster: " + t.TypedConfig.Cluster
		}
	}
	return "-"
}

func routeRows(r *routev3.RouteConfiguration) [][]string {
	var out [][]string
	for _, v := range r.VirtualHosts {
		for _, x := range v.Routes {
			domains := strings.Join(v.Domains, ", ")
			if len(v.Domains) > 3 {
				domains = fmt.Sprintf("%s + %d more...",
					strings.Join(v.Domains[:3], ", "), len(v.Domains)-3)
			}
			out = append(out,
				[]string{r.Name, v.Name, domains, pathMatch(x.Match), configName(x.Metadata)})
		}
	}
	return out
}

func pathMatch(m *routev3.RouteMatch) string {
	s := "/*"
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		s = p.Prefix + "*"
	case *routev3.RouteMatch_Path:
		s = p.Path
	case *routev3.RouteMatch_SafeRegex:
		s = "regex " + p.SafeRegex.Regex
	case *routev3.RouteMatch_PathSeparatedPrefix:
		s = p.PathSeparatedPrefix + "/*"
	}
	for _, h := range m.GetHeaders() {
		s += " " + h.Name
	}
	return s
}

func endpointRows(c *endpointv3.ClusterLoadAssignment) [][]string {
	var out [][]string
	for _, l := range c.Endpoints {
		for _, ep := range l.LbEndpoints {
			a := ep.GetEndpoint().GetAddress().GetSocketAddress()
			out = append(out, []string{fmt.Sprintf("%s:%d", a.GetAddress(), a.GetPortValue()),
				ep.HealthStatus.String(), c.ClusterName})
		}
	}
	return out
}

func proxyStatusCommand(e *env) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:     "proxy-status [POD...]",
		Aliases: []string{"ps"},
		Short:   "Show what each proxy ACKed",
		Example: "  mesh-lab proxy-status -o json",
		RunE: func(c *cobra.Command, args []string) error {
			l, err := running(c.Context(), name)
			if err != nil {
				return err
			}
			all, err := l.Proxies(c.Context())
			if err != nil {
				return answered(err)
			}
			if all, err = pick(all, args); err != nil {
				return err
			}
			if e.output == "json" {
				enc := json.NewEncoder(e.out)
				enc.SetIndent("", "  ")
				return enc.Encode(all)
			}
			w := e.table()
			fmt.Fprintln(w, "NAME\tCDS\tLDS\tEDS\tRDS")
			for _, p := range all {
				row := []string{p.Node}
				for _, t := range []string{"CDS", "LDS", "EDS", "RDS"} {
					s, ok := p.Types[t]
					switch {
					case !ok || s.Sent == "":
						row = append(row, "NOT SENT")
					case s.Nack != "":
						row = append(row, "NACK: "+s.Nack)
					case s.Sent != s.Acked:
						row = append(row, "STALE")
					default:
						row = append(row, "SYNCED")
					}
				}
				fmt.Fprintln(w, strings.Join(row, "\t"))
			}
			return w.Flush()
		},
	}
	labFlag(c, &name)
	outputFlag(e, c, "text", "json")
	return c
}

// pick returns the proxies of pods or workloads; all without names.
func pick(all []topology.ProxyStatus, names []string) ([]topology.ProxyStatus, error) {
	if len(names) == 0 {
		return all, nil
	}
	var out []topology.ProxyStatus
	for _, n := range names {
		found := false
		for _, p := range all {
			pod, _, _ := strings.Cut(p.Node, ".")
			if p.Node == n || pod == n || pod[:max(0, strings.LastIndexByte(pod, '-'))] == n {
				out, found = append(out, p), true
			}
		}
		if !found {
			return nil, usage("no proxy %q in the lab", n)
		}
	}
	return out, nil
}
