# Every verb works from a clean clone; `make demo` and `make test` bring up what they need.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.stamp
FUZZTIME ?= 60s

.PHONY: help venv demo test test-fast race race-go lint fmt generate manifests lock lab-up lab-down lab-env bench chaos soak fuzz image clean

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

venv: $(STAMP) ## the project's own Python environment

$(STAMP): requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lab-up: ## a real cluster (kind), registry, git and S3 server on this machine
	@$(PYTHON) -m tests.lab up

lab-down: ## take the lab down; nothing is left but the cache
	@$(PYTHON) -m tests.lab down

lab-env: ## print the lab's addresses for a shell: env $$(make -s lab-env) kubectl get builds
	@$(PYTHON) -m tests.lab env

image: venv lab-up ## build the container image and load it into the lab
	@$(BIN)/python tools/image.py --tag sentinel:dev
	@$(PYTHON) -m tests.lab load sentinel:dev

demo: venv ## everything, from nothing: a real project built on a real cluster
	@$(BIN)/python -m tests.demo

test: venv lint image race-go ## lint, then all tests, those on the cluster included
	$(BIN)/python -m tests.suite

test-fast: venv ## tests that need no cluster
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not cluster"

lint: venv ## format check, linters, types, layers, unused code, Go vet and staticcheck
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	cd operator/boxkit && test -z "$$(gofmt -l .)" && go vet ./... && go test ./...
	cd operator/boxkit && "$$(PYTHONPATH=$(CURDIR) $(CURDIR)/$(BIN)/python -m tests.lab staticcheck)" ./...

race: race-go ## boxkit's tests with Go's race detector (needs a C compiler); of the shells only bash: the Go code is the same
	SENTINEL_BOXKIT=$(CURDIR)/build/race/boxkit $(BIN)/python -m pytest -q -n 2 --dist worksteal \
		-k "not dash and not busybox" tests/boxkit

race-go: venv
	cd operator/boxkit && CGO_ENABLED=1 go test -race $(addprefix ./internal/,attach control journal pipe proc services session shell steplog store)
	cd operator/boxkit && CGO_ENABLED=1 go build -race -o ../../build/race/boxkit .

fmt: venv ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	cd operator/boxkit && gofmt -w .

generate: venv ## write what is generated: the CRDs, for kubectl and for the chart, and reference pages
	$(BIN)/python -m sentinel.api.crd crds
	$(BIN)/python -m sentinel.api.crd charts/sentinel/files/crds
	$(BIN)/python tools/reference.py docs/reference
	$(BIN)/python tools/steps.py

manifests: ## manifests/install.yaml from the chart (needs the lab's helm)
	@$(BIN)/python -m tests.install > manifests/install.yaml

lock: ## resolve pyproject.toml into requirements/ (needs uv)
	uv pip compile -q --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 pyproject.toml -o requirements/run.txt
	uv pip compile -q --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 pyproject.toml --group dev -o requirements/dev.txt

bench: venv image ## measure on the lab; writes build/bench.json
	@$(BIN)/python -m tests.bench

chaos: venv lab-up ## break streams, operators and cluster by count; writes build/chaos.json (SEED=n, FAULTS=...)
	@$(BIN)/python -m tests.chaos

soak: venv lab-up ## 500 builds, 2 GiB of output, a sick store, a dead receiver; writes build/soak.json (PARTS="builds ...")
	@$(BIN)/python -m tests.soak $(PARTS)

fuzz: venv ## every fuzzer for FUZZTIME (default 60s): wercker.yml, and boxkit's frames, journal, masks and answers
	FUZZ_EXAMPLES=100000 $(BIN)/python -m pytest tests/unit/config/test_load.py -q -k raise_anything
	cd operator/boxkit && grep -rHo 'func Fuzz[A-Za-z]*' internal --include=*_test.go | sort | while IFS=: read -r file each; do \
		go test -run='^$$' -fuzz="^$${each#func }\$$" -fuzztime=$(FUZZTIME) "./$$(dirname "$$file")" || exit 1; done

clean: ## remove what was built in this checkout
	rm -rf build dist .venv .pytest_cache .mypy_cache .ruff_cache
