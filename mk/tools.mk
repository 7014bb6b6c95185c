# Tools that tests need and users install otherwise.
ATLAS_VERSION := v0.13.1
ATLAS := .tools/atlas
export LIVERMORE_ATLAS ?= $(CURDIR)/$(ATLAS)

.PHONY: tools atlas-bin oracle-env account-oracle-envs bench-env
tools: atlas-bin oracle-env account-oracle-envs ## what the tests need beside .venv: Atlas, independent exchange clients

oracle-env: .venv-oracle/.installed ## ccxt and binance-sdk-spot in an environment of their own

.venv-oracle/.installed: requirements/oracle.txt
	$(PYTHON) -m venv .venv-oracle
	.venv-oracle/bin/python -m pip install -q --no-deps --require-hashes -r requirements/oracle.txt
	@touch $@

account-oracle-envs: .venv-oracle-coinbase/.installed .venv-oracle-binance/.installed ## coinbase-advanced-py and binance-connector

.venv-oracle-%/.installed: requirements/oracle-%.txt
	$(PYTHON) -m venv .venv-oracle-$*
	.venv-oracle-$*/bin/python -m pip install -q --no-deps --require-hashes -r requirements/oracle-$*.txt
	@touch $@

bench-env: .venv-bench/.installed ## what the benchmarks compare with, in an environment of its own

.venv-bench/.installed: requirements/bench.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install -q --no-deps --require-hashes -r requirements/bench.txt
	@touch $@

atlas-bin: $(ATLAS)

# The newest Atlas that its Go module gives. It is built in a module of our own because it asks for an x/tools that
# no current Go compiles. Atlas' own installer is the way for users.
$(ATLAS):
	@command -v go >/dev/null || { echo "Go is needed to build Atlas for the tests (Debian: golang-go)"; exit 1; }
	@mkdir -p $(dir $@)
	@set -e; place=$$(mktemp -d); trap 'rm -rf "$$place"' EXIT; cd "$$place"; \
	go mod init atlas-build >/dev/null 2>&1; \
	go get ariga.io/atlas/cmd/atlas@$(ATLAS_VERSION) golang.org/x/tools@v0.30.0 >build.log 2>&1 || { cat build.log; exit 1; }; \
	go build -o "$(CURDIR)/$@.new" ariga.io/atlas/cmd/atlas; mv "$(CURDIR)/$@.new" "$(CURDIR)/$@"
	@$@ version | head -1
