package xds

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v3"
)

// Resources returns the resources of a type by name.
func (s *Snapshot) Resources(typeURL string) map[string]proto.Message {
	switch typeURL {
	case ClusterType:
		return messages(s.Clusters)
	case EndpointType:
		return messages(s.Endpoints)
	case ListenerType:
		return messages(s.Listeners)
	case RouteType:
		return messages(s.Routes)
	case SecretType:
		return messages(s.Secrets)
	}
	return nil
}

func messages[M proto.Message](in map[string]M) map[string]proto.Message {
	out := make(map[string]proto.Message, len(in))
	for name, m := range in {
		out[name] = m
	}
	return out
}

// Name returns a resource's own name.
func Name(m proto.Message) string {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		return m.Name
	case *endpointv3.ClusterLoadAssignment:
		return m.ClusterName
	case *listenerv3.Listener:
		return m.Name
	case *routev3.RouteConfiguration:
		return m.Name
	case *tlsv3.Secret:
		return m.Name
	}
	return ""
}

// Version returns a hash of the content: the same resources have the same version, whoever made
// them.
func (s *Snapshot) Version() string {
	h := sha256.New()
	for _, typeURL := range Types {
		fmt.Fprintf(h, "%s %s\n", typeURL, s.TypeVersion(typeURL))
	}
	return short(h.Sum(nil))
}

// TypeVersion returns a hash of the resources of one type.
func (s *Snapshot) TypeVersion(typeURL string) string {
	h := sha256.New()
	resources := s.Resources(typeURL)
	var buf []byte
	for _, name := range slices.Sorted(maps.Keys(resources)) {
		var err error
		buf, err = proto.MarshalOptions{Deterministic: true}.MarshalAppend(buf[:0], resources[name])
		if err != nil {
			panic("xds: " + err.Error()) // only invalid UTF-8 in a string field
		}
		fmt.Fprintf(h, "%d %s %d\n", len(name), name, len(buf))
		h.Write(buf)
	}
	return short(h.Sum(nil))
}

func short(sum []byte) string { return hex.EncodeToString(sum[:8]) }

// JSON returns Envoy's JSON of the snapshot with every list of resources sorted by name and every
// object's keys sorted: the same bytes for the same content.
func (s *Snapshot) JSON() ([]byte, error) {
	v, err := s.plain()
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(v, "", " ")
}

// YAML returns the same as JSON does, as YAML.
func (s *Snapshot) YAML() ([]byte, error) {
	v, err := s.plain()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// plain returns the snapshot as maps and slices. protojson itself varies its spaces on purpose, so
// its output is read again.
func (s *Snapshot) plain() (map[string]any, error) {
	keys := map[string]string{
		ClusterType: "clusters", EndpointType: "endpoints", ListenerType: "listeners",
		RouteType: "routes", SecretType: "secrets",
	}
	out := map[string]any{}
	for _, typeURL := range Types {
		resources := s.Resources(typeURL)
		list := []any{}
		for _, name := range slices.Sorted(maps.Keys(resources)) {
			b, err := protojson.Marshal(Redact(resources[name]))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			var v any
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			if err := d.Decode(&v); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			list = append(list, numbers(v))
		}
		if len(list) > 0 {
			out[keys[typeURL]] = list
		}
	}
	return out, nil
}

// numbers puts integers and floats in the place of json.Number, which YAML would print as text.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = numbers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = numbers(e)
		}
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
	}
	return v
}
