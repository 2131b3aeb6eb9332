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

# What the race detector would only slow down: packages that start no goroutine and have long tests, and
# lab and lab/parity, which start hundreds of processes and meshes. Of these it gets a few; what else they use it sees elsewhere.
UNRACED := lab|lab/parity|meshcore/accept|meshcore/istio|meshcore/translate|scenarios/assert
RACED_OF_LAB := TestScript/(chaos|interrupt|lab)$$|TestWatch
# What costs most beside real Envoys is theirs; a pool gives nothing back under the race detector; long rows of cases that do the same.
ELSEWHERE := Envoy$$|Alloc|^TestTruth$$|^TestPlanted
PACKAGES = $$($(GO) list ./... | grep $(1)E '/mesh-lab/($(UNRACED))$$')

test: ## run every test, with the race detector where there is concurrency (all that a fresh machine needs)
	$(GO) test -race -vet=off -timeout 40m -skip '$(ELSEWHERE)' $(call PACKAGES,-v)
	$(GO) test -race -vet=off -timeout 40m -run '$(RACED_OF_LAB)' ./lab
	$(GO) test -vet=off -timeout 40m $(call PACKAGES,-)
	$(GO) test -vet=off -timeout 40m -run '$(ELSEWHERE)' $$(grep -rlE --include='*_test.go' '^func Test(\w*(Envoy\(|Alloc)|Truth\(|Planted)' . | \
	  sed 's|/[^/]*$$||' | sort -u | grep -vE '^\./($(UNRACED))$$')

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
