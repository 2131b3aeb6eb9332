# mesh-lab: `make help` lists what there is.
SHELL := /bin/bash
GO ?= go
FUZZTIME ?= 20s
SOAK ?= 50

.DEFAULT_GOAL := help
.PHONY: help build test check lint bench golden fuzz soak parity screenshots

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the mesh-lab binary
	$(GO) build -o mesh-lab .

# What the race detector would only slow down: packages that start no goroutine; tests that start hundreds of processes,
# meshes or real Envoys to do the same again and again, of which it gets some; those that count allocations.
SLOW_PACKAGES := lab|lab/parity|meshcore/accept|meshcore/istio|meshcore/translate|scenarios/assert
LONG := Truth|Planted|PlantedBugs|Scenarios|Sabotage|Stories
SLOW_TESTS := Envoy$$|Alloc|^Test($(LONG))$$
RACED := TestScript/(interrupt|lab)$$|TestWatchCanary
RACED := $(RACED)|TestScenarios/(canary|faults)$$|TestStories/(half-open|kill-pod)$$
PACKAGES = $$($(GO) list ./... | grep $(1)E '/mesh-lab/($(SLOW_PACKAGES))$$')

test: ## run every test, with the race detector where there is concurrency (all that a fresh machine needs)
	$(GO) test -race -vet=off -timeout 40m -skip '$(SLOW_TESTS)' $(call PACKAGES,-v)
	$(GO) test -race -vet=off -timeout 40m -run '$(RACED)' ./lab ./lab/runner
	$(GO) test -vet=off -timeout 40m $(call PACKAGES,-)
	$(GO) test -vet=off -timeout 40m -run '$(SLOW_TESTS)' $$(grep -rlE --include='*_test.go' \
	  '^func Test(\w*(Envoy\(|Alloc)|($(LONG))\()' . | \
	  sed 's|/[^/]*$$||' | sort -u | grep -vE '^\./($(SLOW_PACKAGES))$$')

check: lint test ## format, vet, static analysis, tidy modules, and every test

lint: ## format, vet, static analysis, tidy modules
	@test -z "$$(gofmt -l .)" || { echo "gofmt these:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck -checks inherit,-SA1019 ./... # deprecated fields of the APIs are carried out, too
	$(GO) mod tidy -diff

bench: ## measure, side by side in one run (see docs/performance.md)
	$(GO) run ./lab/bench

# The packages that have golden files are those whose tests define -update.
golden: ## rewrite the golden files
	$(GO) test -count=1 -p 1 $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -n1 dirname | sort -u) -update # one after the other: they share docs/fidelity.md

fuzz: ## fuzz every target for FUZZTIME each
	@set -e; for p in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9]+' $$p/*_test.go | sed 's/func //'); do \
	    echo "== $$p $$f"; $(GO) test $$p -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME); \
	  done; done

soak: build ## run all bundled scenarios SOAK times, with other seeds
	@.ci/soak $(SOAK)

screenshots: ## draw the pictures in docs/ again: the terminal UI and the page of a run
	$(GO) test -count=1 ./lab/tui -run '^TestPicture$$' -update
	$(GO) test -count=1 ./lab -run '^TestPage$$' -screenshots

parity: build ## compare with the real Envoy: scenarios, random configurations
	@.ci/parity
