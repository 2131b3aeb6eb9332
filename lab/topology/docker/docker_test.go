package docker_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/mesh-lab/mesh-lab/lab/runner"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker"
	"github.com/mesh-lab/mesh-lab/lab/topology/docker/part"
	"github.com/mesh-lab/mesh-lab/reports"
	"github.com/mesh-lab/mesh-lab/scenarios"
	"github.com/mesh-lab/mesh-lab/scenarios/assert"
	needed "github.com/mesh-lab/mesh-lab/testdata/docker"
	"github.com/mesh-lab/mesh-lab/testdata/envoy"
)

// TestMain is also what the containers of these tests run: images are made of the binary that runs.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "part" {
		if err := part.Main(context.Background(), os.Args[2], os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		serve(os.Args[2:])
	}
	if os.Getenv("ROLE") == "come and go" {
		comeAndGo()
	}
	os.Exit(m.Run())
}

// sampled are the bundled scenarios that run here; the gate runs all.
var sampled = []string{"canary"}

// TestScenarios runs bundled scenarios in Docker, on both data planes.
func TestScenarios(t *testing.T) {
	needed.Needed(t)
	for _, proxy := range []string{"meshcore", "envoy"} {
		for _, name := range sampled {
			t.Run(proxy+"/"+name, func(t *testing.T) {
				if proxy == "envoy" {
					envoy.Binary(t)
				}
				play(t, proxy, name)
			})
		}
	}
}

// play runs a bundled scenario, which must pass.
func play(t *testing.T, proxy, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s, diags := scenarios.Open(scenarios.Catalogue(), name+".yaml")
	if s == nil {
		t.Fatal(diags)
	}
	began := time.Now()
	run, err := runner.Run(ctx, s, runner.Options{
		Driver: docker.Driver{Proxy: proxy, Progress: func(what string) {
			t.Logf("%6.2f s: %s", time.Since(began).Seconds(), what)
		}, Note: func(text string) { t.Log("note:", text) }},
		Topology: "docker", Proxy: proxy, Seed: 7,
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})), Now: began,
	})
	if err != nil {
		t.Fatal(err)
	}
	res, err := reports.Judge(run)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s in %s", res.Verdict, time.Since(began))
	if err := reports.Text(t.Output(), res, reports.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if res.Verdict != assert.Pass {
		t.Errorf("%s: %v", name, res.Verdict)
	}
}
