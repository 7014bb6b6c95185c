# Verbs of the house. CI calls them as they are.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help install dev demo test unit soak bench check format lock clean snapshot
help: ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## the runtime environment, leaves .venv/bin/livermore

# pip comes last: what was interrupted before is made again.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Livermore needs Python 3.11 or newer: make install PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements/runtime.txt pyproject.toml | $(VENV)/bin/pip
	$(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements/runtime.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@
	@echo "Installed: $(BIN)/livermore --help"

dev: $(VENV)/.installed-dev ## install, and what tests and checks need

$(VENV)/.installed-dev: requirements/dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

demo: install ## the whole platform against simulated exchanges at 60x; Ctrl-C ends it
	$(BIN)/livermore up --simulate --speed 60 --seed 7 --symbols 20 --accounts --autostart binance --autostart coinbase

check: $(VENV)/.installed-dev ## style, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

unit: $(VENV)/.installed-dev ## tests without servers, under 30 s
	$(BIN)/pytest -q -n 2 tests/unit

test: $(VENV)/.installed-dev tools ## everything but the soak, under 10 min
	$(BIN)/pytest -q -n 2 -m "not soak" tests/unit
	$(BIN)/pytest -q -n 5 --dist loadgroup -m "not soak" tests/integration # they wait on real servers more than they compute
	$(BIN)/pytest -q -n 3 --dist loadgroup -m "not soak" tests/e2e

soak: $(VENV)/.installed-dev tools ## the long runs: full kill matrix, a day of market time (LIVERMORE_SOAK_HOURS, LIVERMORE_SOAK_SPEED)
	$(BIN)/pytest -q -m soak tests/soak tests/integration/ingest # they measure: nothing else runs
	$(BIN)/pytest -q -n 3 --dist loadgroup -m soak tests/integration/faults tests/e2e

bench: $(VENV)/.installed-dev ## speeds against their baselines, as ratios of one run
	@$(MAKE) --no-print-directory bench-env || echo "Without the other readers: their environment cannot be built."
	$(BIN)/python -m tests.bench

snapshot: $(VENV)/.installed-dev ## accept the asset graph as it now is
	$(BIN)/pytest -q tests/unit --snapshot-update -k asset_graph

lock: ## pin again what pyproject.toml asks for
	uv pip compile -q --universal --python-version 3.11 pyproject.toml --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/runtime.txt
	uv pip compile -q --universal --python-version 3.11 pyproject.toml --extra dev -c requirements/runtime.txt --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 requirements/oracle.in --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/oracle.txt
	uv pip compile -q --universal --python-version 3.11 requirements/oracle-coinbase.in --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/oracle-coinbase.txt
	uv pip compile -q --universal --python-version 3.11 requirements/oracle-binance.in --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/oracle-binance.txt
	uv pip compile -q --universal --python-version 3.11 requirements/bench.in --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/bench.txt

clean:
	rm -rf $(VENV) .tools .venv-oracle .venv-oracle-coinbase .venv-oracle-binance .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis

-include mk/tools.mk
