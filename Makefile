# What people type here. `make` alone shows this list.
.DEFAULT_GOAL := help
.PHONY: help demo up test long chaos mutants bench check format docs lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NODE := $(shell command -v node)
# Most tests wait for sessions to run out: three at a time, each with servers of its own. In the order of the
# folders the long ones come early, so that none is left to run alone at the end.
SPREAD := -n 3 --dist loadfile --no-loadscope-reorder
# In CI the whole run is measured, too: each of these folders has to be covered by over 90 %, branches included.
COVERED := producers/sources sinks
COVER := $(if $(CI),--cov --cov-report=)

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

demo: $(VENV)/.runtime ## Backfill a simulated network into Parquet and DynamoDB Local, and prove it complete
	$(BIN)/skyfill demo

up: $(VENV)/.runtime ## Start a deployment on this machine and keep it running until Ctrl-C
	$(BIN)/skyfill up

test: $(VENV)/.dev ## Run all tests, against a real broker, real DynamoDB Local and real PDSs
ifeq ($(CI)$(NODE),)
	@echo "There is no Node.js here: the tests against the reference PLC and PDSs are left out."
	$(BIN)/pytest $(SPREAD) $(COVER) -m "not reference and not long" $(ARGS)
else
	$(BIN)/pytest $(SPREAD) $(COVER) -m "not long" $(ARGS)
endif
ifneq ($(CI),)
	@set -e; for folder in $(COVERED); do \
	  echo "Coverage of $$folder:"; $(BIN)/coverage report --include="$$folder/*" --fail-under=90; done
endif

long: $(VENV)/.dev ## Run the tests that wait for minutes, such as for the end of a real PDS's window
	$(BIN)/pytest -m long -s $(ARGS)

chaos: $(VENV)/.dev ## Kill and stop every process in mid-work, and prove that nothing is lost or doubled
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(ARGS)

mutants: $(VENV)/.dev ## Break the code on purpose, one fault at a time, and see that a test finds each
	$(BIN)/python -m tests.mutants $(ARGS)

bench: $(VENV)/.runtime ## Measure speed, CPU and memory; ARGS="worker --scale 0.1" for a part of it
	$(BIN)/python -m benchmarks $(ARGS)

check: $(VENV)/.dev ## Lint, types, layers, and docs that match the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check

format: $(VENV)/.dev ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev ## Write the generated documents anew
	$(BIN)/python -m docs.generate

lock: $(VENV)/.dev ## Pin the newest versions that pyproject.toml allows
	$(BIN)/pip install uv
	$(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --extra build pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --extra build --extra dev pyproject.toml -o requirements-dev.txt

clean: ## Remove the virtual environment and everything generated
	rm -rf $(VENV) .coverage build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache demo-output chaos-output benchmarks/cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("skyfill needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	@echo "Setting up $(VENV), once; this takes about a minute"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt pyproject.toml | $(VENV)/bin/python
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
