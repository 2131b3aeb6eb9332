package istio

import (
	"strings"
	"testing"

	"github.com/mesh-lab/mesh-lab/testdata/truth"
)

// refusals says for each invalid case of the networking API which field is blamed and in which
// words. Those of kinds that are not carried out yet are refused as such.
var refusals = map[string]string{
	"ra-neither-issuer-nor-jwks-uri": "spec.jwtRules[0]: issuer or jwksUri must be non-empty string",
	"authz-bad-template":             "spec.rules[0].to[0].operation.paths[0]: invalid or unsupported path /a/{*}/b*",
	"authz-custom-no-provider":       "spec.provider.name: `provider.name` must not be empty",
	"authz-empty-source":             "spec.rules[0].from[0].source: `from.source` must not be empty",
	"dr-connect-timeout":             "spec.trafficPolicy.connectionPool.tcp.connectTimeout: duration 200us is too short",
	"dr-distribute-sum":              "distribute[0].to: total locality weight 90 != 100",
	"dr-duplicate-subset":            "spec.subsets[1].name: duplicate subset names",
	"dr-simple-and-hash":             "spec.trafficPolicy.loadBalancer.consistentHash: cannot be given together with simple",
	"gw-bad-host":                    `spec.servers[0].hosts[0]: host name "a.*.example" is invalid: label "*"`,
	"gw-duplicate-port-names":        "spec.servers[1].port.name: port names in servers must be unique",
	"pa-port-without-selector":       "spec.portLevelMtls: portLevelMtls requires selector",
	"se-static-fqdn":                 `endpoint address "b.example.com" is not a valid IP address`,
	"se-wildcard-dns": "hosts must be FQDN or contain only prefix wildcards if no endpoints are " +
		`provided for resolution mode DNS`,
	"gw-https-no-tls":             "server must have TLS settings for HTTPS/TLS protocols",
	"vs-bad-regex":                "invalid or unsupported Perl syntax: `(?=`",
	"vs-duplicate-hosts":          "spec.hosts[1]: duplicate hosts: lamp",
	"vs-fault-percent":            "percentage 120 must be 0, or from 0.0001 to 100",
	"vs-mirror-and-mirrors":       "cannot contain both mirrors and mirror",
	"vs-negative-weight":          "spec.http[0].route[0].weight: weight -5 < 0",
	"vs-nothing-to-do":            "spec.http[0]: route, redirect or directResponse is required",
	"vs-retry-code":               `"499" is not a valid retryOn policy`,
	"vs-root-delegate-with-route": "spec.http[0].route: a rule cannot contain both route and delegate",
	"vs-route-and-redirect":       "cannot contain both route and redirect",
	"vs-sni-short-host":           `spec.tls[0].match[0].sniHosts[0]: SNI host "lamp.lab.svc.cluster.local" is not a compatible subset`,
	"vs-star-host-mesh":           "spec.hosts[0]: wildcard host * is not allowed",
	"vs-unknown-field":            `spec.http[0].rewrit: unknown field; did you mean "rewrite"?`,
	"vs-zero-timeout":             "spec.http[0].timeout: duration 0s is too short",
	"vs-zero-weights":             "total destination weight = 0",
}

func TestTruthInvalid(t *testing.T) {
	for _, c := range truth.Cases(t, "invalid") {
		t.Run(c.Name, func(t *testing.T) {
			_, diags := Read(
				[]File{{Name: "config.yaml", Data: c.Read(t, "config.yaml")}},
				ReadOptions{},
			)
			if !HasErrors(diags) {
				t.Fatalf("accepted; Istio says: %s", c.Read(t, "expected-error.txt"))
			}
			want, ok := refusals[c.Name]
			if !ok {
				want = "is not carried out yet"
			}
			if got := text(diags); !strings.Contains(got, want) {
				t.Errorf(
					"got:\n%swant: %s\nIstio says: %s",
					got,
					want,
					c.Read(t, "expected-error.txt"),
				)
			}
		})
	}
}

// TestTruthValid reads every other case. A case may wait for a later step, which its errors then
// say; anything else that is refused was refused wrongly.
func TestTruthValid(t *testing.T) {
	read, waiting := 0, map[string]int{}
	for _, c := range truth.Cases(t) {
		if c.Rejected || c.Area == "invalid" {
			continue
		}
		config, diags := Read(
			[]File{{Name: c.String(), Data: c.Read(t, "config.yaml")}},
			ReadOptions{},
		)
		reason := ""
		for _, d := range diags {
			if d.Severity != Error {
				continue
			}
			reason, _, _ = strings.Cut(d.Msg, "; ")
			if !strings.Contains(reason, "not carried out yet") {
				t.Errorf("refused: %s", d)
			}
		}
		if reason != "" {
			waiting[reason]++
			continue
		}
		read++
		for _, d := range CrossCheck(config) {
			t.Log(d)
		}
	}
	for _, reason := range sortedNames(waiting) {
		t.Logf("%3d cases wait: %s", waiting[reason], reason)
	}
	if t.Logf("%d cases are read", read); read < 130 {
		t.Errorf("only %d cases are read", read)
	}
}

func text(diags []Diagnostic) string {
	var b strings.Builder
	for _, d := range diags {
		if d.Severity == Warning {
			b.WriteString("warning: ")
		}
		b.WriteString(d.String() + "\n")
	}
	return b.String()
}
