# Everything that people and CI run. `make help` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# Arguments of `make demo`, `make bench-tpch`, `make sim`: make demo ARGS=--exit
ARGS ?=
# Arguments of `make bench-shuffle`.
SHUFFLE_ARGS ?=

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/penstock
VENV := $(CACHE)/airflow-venv
UI := history-server/ui
BUILD := cargo build --locked --package penstock-cli
# Built with the binary: alone, the simulation would have build tools with other features, and all crates of ours again.
SIM = cargo build --locked --package penstock-cli --package penstock-sim && "$(TARGET)/debug/penstock-sim"
TARGET = $(shell cargo metadata --format-version 1 --no-deps --locked | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
PENSTOCK = $(TARGET)/debug/penstock

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Check the prerequisites and fetch dependencies
	@scripts/prerequisites
	@cargo fetch --locked
	@$(MAKE) $(UI)/node_modules/.package-lock.json $(VENV)/.installed

.PHONY: build
build: prerequisites ui ## Build everything
	$(BUILD)

.PHONY: ui
ui: $(UI)/dist/index.html ## Build the web UI of the history server

.PHONY: demo
demo: prerequisites ui ## Run TPC-H on a cluster inside one process, every answer checked
	@echo "building penstock: the first time takes up to 20 minutes on 2 cores"
	$(BUILD)
	"$(PENSTOCK)" demo $(ARGS)

.PHONY: bench
bench: bench-tpch bench-shuffle ## Measure everything: make bench ARGS="--scale 1"

.PHONY: bench-tpch
bench-tpch: prerequisites ## Compare with DataFusion, or with batches in memory: make bench-tpch ARGS="--scale 10 --engines memory,service"
	cargo build --locked --release --package penstock-cli --package penstock-benches
	cargo run --locked --release --package penstock-benches --bin tpch -- $(ARGS)

.PHONY: bench-shuffle
bench-shuffle: prerequisites ## Measure the shuffle service beside plain TCP, files and sendfile: make bench-shuffle SHUFFLE_ARGS=--docs
	cargo run --locked --release --package penstock-shuffle-bench -- $(SHUFFLE_ARGS)

.PHONY: soak
soak: prerequisites soak-sim ## The long tests: 2,000 simulated clusters with 10,000 faults and more, scale 1, a 6 GiB shuffle, long pauses
	cargo test --locked --release --package penstock-cli --test it -- --ignored --test-threads 1 --nocapture soak

# Invariants of `make mutants`, such as "13 21"; all of them without.
MUTANTS ?=

.PHONY: mutants
mutants: ## Take the guards of the shuffle's invariants away, one at a time: their tests must fail
	scripts/mutants $(MUTANTS)

# Seconds for each of the fuzzer's targets.
FUZZ_SECONDS ?= 60
FUZZ := shuffle-service/fuzz

.PHONY: fuzz
fuzz: ## Look for bytes that break the decoders, for FUZZ_SECONDS each; what it adds to the corpus is worth a commit
	@cargo fuzz --version >/dev/null 2>&1 || { echo "needs cargo-fuzz: cargo install cargo-fuzz"; exit 1; }
	@# The sanitizer's flags are unstable, and its runtime comes with the stable compiler.
	@export RUSTC_BOOTSTRAP=1; for target in frame batches control; do \
		kept=$(FUZZ)/corpus/$$target; found="$(TARGET)/fuzz-corpus/$$target"; mkdir -p "$$found"; \
		cargo fuzz run --fuzz-dir $(FUZZ) $$target "$$found" $$kept -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096 || exit 1; \
		cargo fuzz run --fuzz-dir $(FUZZ) $$target $$kept "$$found" -- -set_cover_merge=1; \
	done

.PHONY: fmt
fmt: ## Format all code
	cargo fmt --all
	@if [ -x $(VENV)/bin/ruff ]; then $(VENV)/bin/ruff format airflow && $(VENV)/bin/ruff check --fix airflow; fi

.PHONY: lint
lint: lint-rust layering metrics-reference mutants-check lint-ui lint-airflow ## Look for mistakes without running anything

.PHONY: clean
clean: ## Remove what was built
	cargo clean
	rm -rf $(UI)/dist $(UI)/node_modules $(VENV)

.PHONY: test
test: prerequisites ## Everything that CI runs
	@$(MAKE) ui
	@$(MAKE) fmt-check layering metrics-reference mutants-check lint-rust
	@$(MAKE) test-rust
	@$(MAKE) test-sim
	@$(MAKE) lint-ui test-ui
	@$(MAKE) lint-airflow test-airflow
	@$(MAKE) test-readme

# --- the parts ---

.PHONY: prerequisites
prerequisites:
	@scripts/prerequisites

.PHONY: fmt-check
fmt-check:
	cargo fmt --all --check

.PHONY: lint-rust
lint-rust:
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: layering
layering:
	scripts/layering

.PHONY: metrics-reference
metrics-reference:
	scripts/metrics-reference --check

.PHONY: mutants-check
mutants-check:
	scripts/mutants --check

.PHONY: test-rust
test-rust: ui
	@scripts/prerequisites namespaces
	$(BUILD)
	scripts/config-reference --check "$(PENSTOCK)"
	cargo test --workspace --locked

.PHONY: sim
sim: ## Simulate clusters under faults, or one of them again: make sim ARGS="--seed 17 --log"
	$(SIM) $(ARGS)

.PHONY: test-sim
test-sim:
	$(SIM) --seeds 200 --faults-min 1000

.PHONY: soak-sim
soak-sim:
	$(SIM) --from 1000 --seeds 2000 --faults-min 10000

$(UI)/node_modules/.package-lock.json: $(UI)/package-lock.json
	@scripts/prerequisites node
	cd $(UI) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(UI)/dist/index.html: $(UI)/node_modules/.package-lock.json $(shell find $(UI)/src $(UI)/public $(UI)/index.html $(UI)/vite.config.ts -type f 2>/dev/null)
	cd $(UI) && npm run --silent build
	@touch $@

.PHONY: lint-ui
lint-ui: $(UI)/node_modules/.package-lock.json
	cd $(UI) && npm run --silent lint && npm run --silent typecheck

.PHONY: test-ui
test-ui: ui
	cd $(UI) && npm run --silent test
	@chromium=$$(scripts/chromium) && serve=$$($(MAKE) serve-example) && cd $(UI) && \
		PENSTOCK_CHROMIUM="$$chromium" PENSTOCK_SERVE="$$serve" PENSTOCK_BIN="$(PENSTOCK)" npm run --silent test:browser

# The server of the browser tests, with the features that `test-rust` has built; prints its path.
.PHONY: serve-example
serve-example: ui
	@cargo build --workspace --locked --quiet --example serve
	@echo "$(TARGET)/debug/examples/serve"

$(VENV)/.installed: airflow/pyproject.toml $(wildcard airflow/constraints-*.txt)
	@scripts/prerequisites python
	python3 -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e 'airflow[dev]' -c $(wildcard airflow/constraints-*.txt)
	@touch $@

.PHONY: lint-airflow
lint-airflow: $(VENV)/.installed
	cd airflow && $(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check . && $(VENV)/bin/mypy

.PHONY: test-airflow
test-airflow: $(VENV)/.installed
	cd airflow && PENSTOCK_BIN="$(PENSTOCK)" $(VENV)/bin/pytest

.PHONY: test-readme
test-readme:
	scripts/readme-commands README.md "$(PENSTOCK)"
