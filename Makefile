# Two commands matter: `make demo` shows the product at work, `make test` proves a change.
# Both set themselves up on a machine with Python 3.11 or newer and make.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/it" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python's venv module is needed (Debian and Ubuntu: python3-venv)" >&2; exit 2; }

# What the product needs to run, and its command.
$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements/run.txt
	$(PIP) --require-hashes -r requirements/build.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# What its checks need besides.
$(VENV)/.test: requirements/test.txt $(VENV)/.run
	$(PIP) --require-hashes -r requirements/test.txt
	@touch $@

.PHONY: demo
demo: $(VENV)/.run ## Watch per-tool metrics of an MCP server that knows nothing of them (Ctrl-C ends it)
	@$(BIN)/mcp-proxy-exporter demo $(ARGS)

.PHONY: test
test: lint unit ## All checks: format, lint, types, import contracts, tests, coverage

.PHONY: lint
lint: $(VENV)/.test ## Format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: unit
unit: $(VENV)/.test ## The tests, with coverage
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" --cov --cov-report=
	$(BIN)/coverage report
	$(BIN)/coverage report --include='mcp_proxy_exporter/protocol/*' --fail-under=100

.PHONY: test-all
test-all: lint $(VENV)/.test ## `test` and the long-running tests
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=
	$(BIN)/coverage report
	$(BIN)/coverage report --include='mcp_proxy_exporter/protocol/*' --fail-under=100

# The compiled package stands first, here and in every process that the tests start.
.PHONY: test-compiled
test-compiled: $(VENV)/.test ## The tests of the byte path and from end to end, on what mypyc compiled (needs gcc)
	tools/compile .cache/compiled
	PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/.cache/compiled:$(CURDIR) $(BIN)/python -m pytest \
		-o pythonpath= -n 2 --dist loadfile -m "not slow" tests/proxy tests/e2e tests/test_tap.py

.PHONY: conformance
conformance: $(VENV)/.test ## The official MCP suite, directly and through the proxy: no difference (needs npm)
	$(BIN)/python -m tests.conformance

.PHONY: differential
differential: $(VENV)/.test ## 5 000 spoiled requests: what is forwarded is read alike by five parsers (needs Node.js)
	$(BIN)/python -m tests.differential $(ARGS)

.PHONY: torture
torture: $(VENV)/.test ## HTTP suites of others, and varnishtest scripts, against the proxy (see CONTRIBUTING.md)
	$(BIN)/python -m tests.torture $(ARGS)

.PHONY: soak
soak: $(VENV)/.test ## 30 000 sessions and 100 000 calls: no map grows, and memory stays within 5 %
	$(BIN)/python -m pytest -s tests/soak --ignore=tests/soak/test_weather.py

# SOAK_RATE sets the calls in a second, SOAK_SEED repeats what was drawn.
.PHONY: soak-faults
soak-faults: export SOAK_SECONDS ?= 1200
soak-faults: $(VENV)/.test ## 20 minutes of random faults on both sides: every figure stays true, and nothing is left
	$(BIN)/python -m pytest -s tests/soak/test_weather.py

.PHONY: weight
weight: $(VENV)/.test ## 50 restarts behind HAProxy, bodies of 1 GiB, 5 000 event streams (ten minutes; needs haproxy)
	$(BIN)/python -m pytest -s tests/weight

.PHONY: fuzz
fuzz: $(VENV)/.test ## A million inputs of what reads bytes from the wire (some minutes)
	$(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: bench
bench: $(VENV)/.test ## CPU, latency and event streams beside nginx, and the cost of a scrape (needs wrk, nginx, gcc)
	tools/compile .cache/compiled
	$(BIN)/python -m bench.compare
	$(BIN)/python -m bench.stream
	$(BIN)/python -m bench.scrape

.PHONY: format
format: $(VENV)/.test ## Format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: $(VENV)/.run ## Write the generated documents anew
	$(BIN)/python -m mcp_proxy_exporter.observe.document >docs/metrics.md

.PHONY: dashboards
dashboards: $(VENV)/.test ## Build the Grafana dashboards, and the rules made by the product, anew
	$(BIN)/python -m grafana.build
	$(BIN)/mcp-proxy-exporter rules >prometheus/rules/slo.yml
	$(BIN)/python deploy/kubernetes/build-rules >deploy/kubernetes/monitoring/prometheusrule.yaml

.PHONY: board-pictures
board-pictures: $(VENV)/.test ## Draw the documentation's pictures of the boards anew (ten minutes; needs Prometheus, npm, Chromium)
	$(BIN)/python -m tools.boards $(ARGS)

.PHONY: image-test
image-test: $(VENV)/.test ## Build the image and start the stack for real (needs a Docker engine)
	$(BIN)/python -m pytest -s tests/containers

.PHONY: picture
picture: $(VENV)/.test ## Draw the README's picture of the demo anew
	$(BIN)/python tools/picture docs/images/demo.svg

.PHONY: lock
lock: $(VENV)/.test ## Lock the dependencies anew
	$(PIP) 'uv>=0.9'
	sh tools/lock

.PHONY: clean
clean: ## Remove what the other targets made
	rm -rf $(VENV) .cache .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist build
