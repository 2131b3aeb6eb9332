package lb_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"gopkg.in/yaml.v3"

	"github.com/mesh-lab/mesh-lab/meshcore/engine/lb"
	"github.com/mesh-lab/mesh-lab/testdata/truth"
)

// TestRecordedHash asks for the pods that Istio's proxies chose by the header in dr-lb/hash-header.
func TestRecordedHash(t *testing.T) {
	cases := truth.Cases(t, "dr-lb")
	i := slices.IndexFunc(cases, func(c truth.Case) bool { return c.Name == "hash-header" })
	if i < 0 {
		t.Fatal("no case dr-lb/hash-header")
	}
	c := cases[i]
	b, err := lb.New(lb.Config{Policy: lb.RingHash})
	if err != nil {
		t.Fatal(err)
	}
	b.Update(recordedEndpoints(t, c, "outbound|4100||hive.meadow.svc.cluster.local"), 0)
	var observed struct {
		Requests []struct {
			ID    string
			First struct {
				Proxy struct{ Upstream string } `yaml:"client_proxy"`
			}
		}
	}
	if err := yaml.Unmarshal(c.Read(t, "observed.yaml"), &observed); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, r := range observed.Requests {
		value, ok := strings.CutPrefix(r.ID, "value-")
		if !ok {
			continue
		}
		compared++
		got := b.Pick(&lb.Context{Hash: xxhash.Sum64String(value), HasHash: true})
		if got == nil || got.Address != r.First.Proxy.Upstream {
			t.Errorf("%s: picked %v, Envoy %s", value, got, r.First.Proxy.Upstream)
		}
	}
	if compared < 6 {
		t.Errorf("compared %d values only", compared)
	}
}

// recordedEndpoints reads an assignment that istiod generated.
func recordedEndpoints(t *testing.T, c truth.Case, cluster string) lb.Assignment {
	t.Helper()
	var assignments []struct {
		ClusterName string
		Endpoints   []struct {
			LbEndpoints []struct {
				Endpoint struct {
					Address struct {
						SocketAddress struct {
							Address   string
							PortValue int
						}
					}
				}
			}
		}
	}
	data := c.Read(t, "xds", c.Nodes[0], "endpoints.json")
	if err := json.Unmarshal(data, &assignments); err != nil {
		t.Fatal(err)
	}
	var out lb.Assignment
	for _, a := range assignments {
		if a.ClusterName != cluster {
			continue
		}
		for _, l := range a.Endpoints {
			var to lb.LocalityEndpoints
			for _, e := range l.LbEndpoints {
				s := e.Endpoint.Address.SocketAddress
				to.Endpoints = append(to.Endpoints, lb.Endpoint{
					Host: &lb.Host{Address: fmt.Sprint(s.Address, ":", s.PortValue)}})
			}
			out.Localities = append(out.Localities, to)
		}
	}
	return out
}
