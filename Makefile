# Set-up, demo, tests and checks; `make help` lists what there is.
#
# Every target does the set-up that it needs: a virtual environment in .venv, forebay built into it, and
# the tools of that target. Set-up runs again only when pyproject.toml, CMakeLists.txt or native/ changed.

PYTHON ?= python3
BIN := .venv/bin
JOBS ?= auto
CALM_JOBS ?= 2

.PHONY: help demo test test-beside test-calm test-full-speed lint types contracts docs bench format clean

help:
	@echo "make demo       set up, then record from a simulated detector and check the file (start here)"
	@echo "make test       set up, then run all tests (JOBS=N processes for those that run side by side)"
	@echo "make lint       ruff: style and format"
	@echo "make types      mypy, strict"
	@echo "make contracts  which room may import which"
	@echo "make docs       build the documentation into build/docs; a warning is an error"
	@echo "make bench      run every benchmark (BENCH_ARGS=--quick for a first look)"
	@echo "make format     let ruff rewrite the files"
	@echo "make clean      remove the environment and everything that was built"

demo: .venv/.project
	$(BIN)/forebay demo

# Tests that are sensitive to a busy machine run two at a time; the others, slow ones first, on every core.
# One after another, also under make -j, and each also where another fails.
test:
	@$(MAKE) --no-print-directory --keep-going -j1 test-beside test-calm test-full-speed

# Sends as fast as a whole machine can: by itself.
FULL_SPEED := tests/system/test_every_fault.py

TESTS := .venv/.project .venv/.group-test .venv/.servers .venv/.peers .venv/.peers-larpix .venv/.peers-larpixdaq

test-beside: $(TESTS)
	$(WITH_PEERS) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m 'not calm' \
		tests/system tests/compat tests/flow tests/unit

test-calm: $(TESTS)
	$(BIN)/python -m pytest -n $(CALM_JOBS) --dist loadfile --no-loadscope-reorder -m calm \
		--ignore $(FULL_SPEED) tests/system

test-full-speed: $(TESTS)
	$(BIN)/python -m pytest $(FULL_SPEED)

lint: .venv/.project .venv/.group-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.group-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.project .venv/.group-lint
	$(BIN)/mypy

contracts: .venv/.project .venv/.group-lint
	$(BIN)/lint-imports

docs: .venv/.project .venv/.group-docs
	$(BIN)/sphinx-build -W --keep-going --fresh-env -q -j auto -b html docs build/docs
	@echo "The documentation is in build/docs/index.html"

bench: .venv/.project .venv/.group-test .venv/.peers .venv/.peers-larpix .venv/.peers-larpixdaq
	$(WITH_PEERS) for file in bench/*.py; do echo "== $$file"; $(BIN)/python $$file $(BENCH_ARGS) || exit 1; done

clean:
	rm -rf .venv build dist docs/reference/generated .mypy_cache .ruff_cache .pytest_cache .hypothesis

# $(call install,PYTHON) WHAT: a package index that is slow or away for a moment is asked again.
PIP := -m pip install --quiet --disable-pip-version-check --retries 10 --timeout 60
install = again() { "$$@" || { echo "Once more in 10 s: $$*"; sleep 10; "$$@"; }; }; again $(1) $(PIP)

.venv/.pip:
	@.ci/system-packages $(PYTHON)
	$(PYTHON) -m venv .venv
	@$(call install,$(BIN)/python) --upgrade 'pip>=25.1'
	@touch $@

.venv/.servers: .venv/.pip .ci/system-packages
	@.ci/system-packages --tests
	@touch $@

.venv/.project: .venv/.pip pyproject.toml CMakeLists.txt $(wildcard native/*)
	@echo "Building forebay into .venv (a minute or two the first time)"
	@$(call install,$(BIN)/python) --editable '.[picture,api]'
	@touch $@

.venv/.group-%: .venv/.pip pyproject.toml
	@echo "Installing the tools for: $*"
	@$(call install,$(BIN)/python) --group $*
	@touch $@

# Clients of other systems, for comparison, live by themselves: they bring libraries that disturb ours. Where
# they do not exist for this Python, their tests are left out.
PEERS := .venv/peers/bin/python
LARPIX_PEERS := .venv/peers-larpix/bin/python
WITH_PEERS = if $(PEERS) -c 'import bsread' 2>/dev/null; then export FOREBAY_PSI_BSREAD_PYTHON=$(CURDIR)/$(PEERS); fi; \
	if $(LARPIX_PEERS) -c 'import larpix' 2>/dev/null; then export FOREBAY_LARPIX_PYTHON=$(CURDIR)/$(LARPIX_PEERS); fi;

.venv/.peers: .venv/.pip pyproject.toml
	@echo "Installing clients of other systems into .venv/peers"
	@$(PYTHON) -m venv .venv/peers
	@$(call install,$(PEERS)) --upgrade 'pip>=25.1'
	@$(call install,$(PEERS)) --group compat
	@touch $@

.venv/.peers-larpix: .venv/.pip pyproject.toml
	@echo "Installing larpix-control into .venv/peers-larpix"
	@$(PYTHON) -m venv .venv/peers-larpix
	@$(call install,$(LARPIX_PEERS)) --upgrade 'pip>=25.1'
	@$(call install,$(LARPIX_PEERS)) --group larpix
	@touch $@

# Its pins contradict each other: without dependencies it installs, and works.
.venv/.peers-larpixdaq: .venv/.pip pyproject.toml
	@echo "Installing larpix-daq into .venv/peers-larpixdaq"
	@$(PYTHON) -m venv .venv/peers-larpixdaq
	@$(call install,.venv/peers-larpixdaq/bin/python) --upgrade 'pip>=25.1'
	@$(call install,.venv/peers-larpixdaq/bin/python) --group larpixdaq
	@$(call install,.venv/peers-larpixdaq/bin/python) --no-deps xylem-daq==0.3.2 larpix-control==2.3.0 \
		larpix-geometry==0.4.0 larpix-daq==0.2.1
	@touch $@
