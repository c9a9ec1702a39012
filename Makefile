# Two commands do everything: `make demo` and `make test`. The rest is for people who change livelake.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check format bench stress browser nchan clean help
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "livelake needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "installing livelake into $(VENV) …"
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing livelake and what its tests need into $(VENV) …"
	$(PIP) --editable '.[dev]'
	@# Only the script in this wheel is used: Datastar's client, for the browser tests. Its Python wants 3.12.
	$(PIP) --no-deps --ignore-requires-python 'starhtml==0.7.0'
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	@echo "installing livelake and the caches that it is compared with into $(VENV) …"
	$(PIP) --editable '.[bench]'
	@touch $@

demo: $(VENV)/.demo  ## this machine's own telemetry, live in the browser (DEMO="--no-browser" for options)
	@$(BIN)/livelake demo $(DEMO)

test: $(VENV)/.dev browser  ## all tests
	$(BIN)/python -m pytest -m "not stress" $(TESTS)

check: $(VENV)/.dev  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

format: $(VENV)/.dev  ## rewrite the code in house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.bench nchan  ## every question in benchmarks/, as ratios (BENCH="hit apply --quick" for some)
	$(BIN)/python -m benchmarks $(BENCH)

stress: $(VENV)/.dev  ## long searches, soaks and faults
	$(BIN)/python -m pytest -m stress

# Headless Chromium comes from Debian. Where apt-get may not be used, the browser tests are skipped by name.
browser:
	@command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 \
	       && echo "installing Debian's chromium for the browser tests …" \
	       && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
	  || echo "no chromium here and no right to install it: the browser tests will be skipped by name"

# nginx and nchan, which benchmarks/fanout.py compares with. Not there: a row that says so.
nchan:
	@[ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 \
	       && echo "installing Debian's nginx and nchan for benchmarks/fanout.py …" \
	       && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nginx libnginx-mod-nchan >/dev/null; } \
	  || echo "no nchan here and no right to install it: fanout has no baseline"

clean:  ## remove everything that make has made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .detangle
