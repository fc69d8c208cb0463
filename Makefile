# Two commands matter: `make demo` and `make test`. Both set up everything they need under this folder.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
ifeq ($(shell command -v $(PYTHON) 2>/dev/null),)
PYTHON := python3
endif
BIN := .venv/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
WEB_SOURCES := $(shell find api/web -name node_modules -prune -o -type f -print 2>/dev/null)

.PHONY: help setup demo test faults soak check bench lock web clean format

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: .make/run .make/dev .make/web ## everything for developing: run, test, check

demo: .make/run .make/web ## the whole pipeline on embedded servers, with a simulated business
	$(BIN)/headrace demo $(ARGS)

test: setup ## all tests (ARGS="-k name" to choose)
	$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

faults: setup ## break the pipeline on purpose, in short sizes (they are part of `test`)
	$(BIN)/pytest tests/faults $(ARGS)

soak: setup ## the same in full size on Apache Kafka: hours; the figures go into benchmarks/FAULTS.md
	$(BIN)/pytest tests/faults --faults full --faults-results benchmarks/faults.jsonl $(ARGS); \
	status=$$?; $(BIN)/python -m tests.faults.report; exit $$status

check: setup ## lint, types, import contracts, and documents that must match the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python api/web/build.py --check
	$(BIN)/headrace docs --check

format: .make/dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## measure, and print the ratios that benchmarks/RESULTS.md reports
	$(UV) --require-hashes -r requirements-bench.lock
	$(BIN)/headrace bench $(ARGS)

lock: .make/uv ## pin every dependency again, with hashes and without addresses
	$(COMPILE) requirements-uv.in -o requirements-uv.lock
	$(COMPILE) requirements-web.in -o requirements-web.lock
	$(COMPILE) --extra embedded pyproject.toml -o requirements.lock
	$(COMPILE) --extra embedded --extra dev pyproject.toml -c requirements.lock -o requirements-dev.lock
	$(BIN)/python -c "from deploy.embedded.kafka.program import main; main()" > jars.sha256.new && mv jars.sha256.new deploy/embedded/kafka/jars.sha256
	$(COMPILE) --extra embedded --extra dev --extra bench pyproject.toml -c requirements-dev.lock -o requirements-bench.lock

.make/uv:
	@mkdir -p .make
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(wildcard requirements-uv.lock),--require-hashes -r requirements-uv.lock,uv)
	@touch $@

.make/run: .make/uv requirements.lock pyproject.toml
	$(UV) --require-hashes -r requirements.lock
	$(UV) --no-deps -e .
	@touch $@

.make/dev: .make/run requirements-dev.lock
	$(UV) --require-hashes -r requirements-dev.lock
	@touch $@

# The page is built with the machine's Node when it is recent enough, else with the one from the wheel.
.make/web: .make/run $(WEB_SOURCES) requirements-web.lock
	@cd api/web && ../../$(BIN)/python -c 'import build; build.find_node()' 2>/dev/null || (cd ../.. && $(UV) --require-hashes -r requirements-web.lock)
	$(BIN)/python api/web/build.py
	@touch $@

clean: ## remove what the other targets made
	rm -rf .venv .make api/static api/web/node_modules .headrace
