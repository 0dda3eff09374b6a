# The targets are the same scripts that .ci/run calls.

.PHONY: test check bench compare load fuzz mutants tidy demo serve

test: ## every module's tests, with the race detector
	go test -race -timeout 20m work

check: ## all that CI checks
	.ci/run

bench: ## the project's own benchmarks
	go test -run '^$$' -bench . -count 6 .

compare: ## against other libraries; rewrites docs/performance.md
	go run ./internal/compare -out docs

load: ## what enforcement and logging cost the gateway; needs wrk
	go run ./cmd/internal/load

FUZZTIME ?= 10m
fuzz: ## every fuzz target, one after another
	.ci/fuzz $(FUZZTIME)

mutants: ## faults made on purpose, which tests must see; MUTANTS=--help says more
	cd tools && GOWORK=off go run ./mutants $(MUTANTS)

tidy: ## go mod tidy in every module
	.ci/tidy

demo: ## the README's first command
	go run ./cmd/ipallow demo

serve: ## the reference server
	go run ./cmd/ipallowd serve
