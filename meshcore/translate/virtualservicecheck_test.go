package translate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/meshcore/istio"
)

// TestCheckVirtualServices: what istiod does without a word is said, with the place.
func TestCheckVirtualServices(t *testing.T) {
	services := serviceYAML("one", "a", http80)
	rule := func(s string) string { return "{hosts: [one], http: [" + s + "]}" }
	to := func(s string) string { return rule("{route: [{destination: {" + s + "}}]}") }
	for _, c := range []struct {
		specs []string
		want  string // empty: nothing; else severity, field and a part of the message
	}{
		{[]string{to("host: one")}, ""},
		{[]string{rule("{redirect: {uri: /x, redirectCode: 304}}")},
			"0 spec.http[0].redirect.redirectCode 304: Envoy redirects with"},
		{[]string{to("host: one"), to("host: one")},
			"1 spec.hosts[0] VirtualService a/r0 rules this host already"},
	} {
		yaml := services
		for i, s := range c.specs {
			yaml += virtualServiceYAML(fmt.Sprintf("r%d", i), "a", s)
		}
		got := newLab(t, yaml).Diagnostics()
		if c.want == "" {
			if len(got) > 0 {
				t.Errorf("%v: %v", c.specs, got)
			}
			continue
		}
		f := strings.SplitN(c.want, " ", 3)
		severity := map[string]istio.Severity{"0": istio.Error, "1": istio.Warning}[f[0]]
		if len(got) != 1 || got[0].Severity != severity || got[0].Field != f[1] ||
			!strings.Contains(got[0].Msg, f[2]) || got[0].Place.Line == 0 {
			t.Errorf("%v: %v, want %s", c.specs, got, c.want)
		}
	}
}
