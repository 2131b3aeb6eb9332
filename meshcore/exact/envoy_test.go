package exact_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	testenvoy "github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// thousands are what 1,000 requests to a route come to: by cluster, status and flags.
var thousands = []struct {
	path string
	want map[string]int
}{
	{"/certain", map[string]int{"a 200": 1000}},
	{"/split", map[string]int{"a 200": 700, "b 200": 300}},
	{"/three", map[string]int{"a 200": 500, "c 200": 300, "d 200": 200}},
	{"/abort", map[string]int{"a 200": 700, "a 418 FI": 300}},
	{"/delay", map[string]int{"a 200": 800, "a 200 DI": 200}},
	{"/product", map[string]int{"a 200": 450, "b 200": 450, "a 418 FI": 50, "b 418 FI": 50}},
	{"/all", map[string]int{"a 200": 360, "b 200": 360, "a 200 DI": 90, "b 200 DI": 90,
		"a 418 FI": 40, "b 418 FI": 40, "a 418 DI,FI": 10, "b 418 DI,FI": 10}},
	{"/mirror", map[string]int{"a 200": 1000}},
	{"/retry", map[string]int{"a 200": 700, "b 200": 300}},
	{"/moved", map[string]int{"- 301": 750, "- 418 FI": 250}},
}

// copies are what the mirrors get of them: 20 %, 60 % and all of the 900 of /all that are not
// aborted, and 30 % of /mirror.
var copies = map[string]int{"shadow": 180 + 300, "other": 540, "every": 900}

// play sends 1,000 requests to each route, and then some that ask for their draws.
func play(t *testing.T, s *servers, d dataPlane) []seen {
	for _, row := range thousands {
		for range 1000 {
			d.do(t, row.path, "x-sort", "any")
		}
	}
	for _, v := range []string{"0", "69", "70", "170", "abc", "-1", "1000000000000000"} {
		d.do(t, "/split", "x-mesh-lab-draw-split", v)
	}
	for range 10 { // a preflight takes no draw
		d.preflight(t, "/cors")
		d.do(t, "/cors")
	}
	d.do(t, "/abort", "x-mesh-lab-draw-abort", "299999")
	d.do(t, "/abort", "x-mesh-lab-draw-abort", "300000")
	for name, n := range copies {
		s.wait(name, n)
	}
	all := d.end(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, n := range copies {
		if s.came[name] != n {
			t.Errorf("%d copies came to %s, not %d", s.came[name], name, n)
		}
	}
	if len(s.leak) > 0 {
		t.Errorf("draws went upstream: %v", s.leak)
	}
	if len(all) != 1000*len(thousands)+9+20 {
		t.Fatalf("%d records", len(all))
	}
	if d := cmp.Diff(map[string]int{"a 200": 7, "b 200": 3}, answered(all)); d != "" {
		t.Errorf("between preflights (-wanted +got)\n%s", d)
	}
	for i, row := range thousands {
		if d := cmp.Diff(row.want, sorts(all[1000*i:1000*i+1000])); d != "" {
			t.Errorf("%s (-wanted +got)\n%s", row.path, d)
		}
	}
	return all
}

// answered counts what came of the requests between the preflights, and forgets the clusters of
// these, which are drawn at random before anything takes a draw.
func answered(all []seen) map[string]int {
	at := 1000*len(thousands) + 7
	var list []seen
	for i := at; i < at+20; i += 2 {
		all[i].Cluster = ""
		list = append(list, all[i+1])
	}
	return sorts(list)
}

// TestProxies holds our data plane and Envoy to the same numbers, and has both decide the same of
// each single request.
func TestProxies(t *testing.T) {
	s := newServers(t)
	ours := play(t, s, startOurs(t, s.mesh(t)))
	asked := append(ours[1000*len(thousands):][:7:7], ours[len(ours)-2:]...)
	for i, want := range []string{"a", "a", "b", "b", "a", "b", "a", "a", "a"} {
		if asked[i].Cluster != want {
			t.Errorf("request %d with a draw of its own went to %s, not to %s", i, asked[i].Cluster, want)
		}
	}
	for _, b := range testenvoy.Binaries(t) {
		t.Run(b.Version, func(t *testing.T) {
			s := newServers(t)
			for i, theirs := range play(t, s, startEnvoy(t, b.Path, s.mesh(t))) {
				if d := cmp.Diff(ours[i], theirs); d != "" {
					t.Fatalf("request %d (-ours +envoy)\n%s", i, d)
				}
			}
		})
	}
}
