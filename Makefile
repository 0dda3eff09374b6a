# The targets are the same scripts that .ci/run calls.

.PHONY: help quick test check bench benchdiff compare load logload fuzz mutants tidy release-test demo serve

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quick: ## what a change in the engine breaks first: its tests in short form, without -race
	go vet . ./internal/...
	go test -short . ./internal/...

# The race detector needs a C compiler; where CI lacks one that is an error.
RACE := $(shell command -v "$$(go env CC)" >/dev/null && echo -race)
test: ## every module's tests, with the race detector
	@[ -n "$(RACE)" ] || echo "There is no C compiler, so the tests run without the race detector."
	@[ -n "$(RACE)" ] || [ "$$CI" != true ]
	go test $(RACE) -timeout 20m work

check: ## all that CI checks
	.ci/run

bench: ## the project's own benchmarks
	go test -run '^$$' -bench . -count 6 . ./internal/index

BASE ?= origin/main
benchdiff: ## Check, Set and loads beside those of BASE (origin/main), in turns
	.ci/benchdiff $(BASE)

compare: ## against other libraries; rewrites docs/performance.md, its tables and charts
	go run ./benchmarks -out docs

load: ## what enforcement and logging cost the gateway; needs wrk
	go run ./cmd/internal/load

logload: ## what the usage log's filters take at five million records, and saves beside charts
	go run ./cmd/internal/logload

FUZZTIME ?= 10m
fuzz: ## every fuzz target, one after another
	.ci/fuzz $(FUZZTIME)

mutants: ## faults made on purpose, which tests must see; MUTANTS=--help says more
	cd tools && GOWORK=off go run ./mutants $(MUTANTS)

tidy: ## go mod tidy in every module
	.ci/tidy

release-test: ## releases a copy of the tree and installs the programs from it; RELEASING.md
	cd tools && GOWORK=off go test -count=1 -run 'TestRefusals|TestRelease' -timeout 20m ./ci -install

demo: ## the README's first command
	go run ./cmd/ipallow demo

serve: ## the reference server
	go run ./cmd/ipallowd serve
