# Everything runs in .venv, which is made when it is needed. `make` alone lists the targets.

PYTHON ?= python3
BIN := .venv/bin
PYTEST_ARGUMENTS ?=

.DEFAULT_GOAL := help
.PHONY: help install up test test-faults check fuzz soak bench docs clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

install: .venv/installed ## Make .venv with .venv/bin/hostpulse

up: .venv/installed ## Run broker, publisher and consumer on this machine (ARGUMENTS="--interval 5" passes options on)
	@$(BIN)/hostpulse up $(ARGUMENTS)

test: .venv/installed-test ## Run the tests in several processes (PYTEST_ARGUMENTS="-k name" passes options on, "-n 0" has one process)
	@$(BIN)/python -m pytest -n auto $(PYTEST_ARGUMENTS)

test-faults: .venv/installed-test ## Kill, cut off, fill and confuse everything for a quarter of an hour, and count the messages
	@$(BIN)/python -m pytest tests/faults -m "" $(PYTEST_ARGUMENTS)

check: .venv/installed-check ## Lint, check formatting and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/pyright

fuzz: .venv/installed-fuzz ## Fuzz what reads strangers' input, FUZZ_SECONDS=60 for each reader
	@$(BIN)/python -m tests.fuzz.fuzz

soak: .venv/installed-test ## Run everything for SOAK_SECONDS=600 with mild faults; fails if something grows
	@$(BIN)/python bench/soak.py

bench: .venv/installed-test .bench/installed ## Measure the publisher beside psmqtt, the receiver beside plain paho, the stores, the alert engine, the consumer beside Telegraf
	@$(BIN)/python bench/publisher.py
	@$(BIN)/python bench/receive.py
	@$(BIN)/python bench/store.py
	@$(BIN)/python bench/alerts.py
	@if command -v influxd >/dev/null; then $(BIN)/python bench/influxdb.py && $(BIN)/python bench/consumer.py; \
		else echo "bench/influxdb.py and bench/consumer.py need influxd"; fi

docs: .venv/installed-test ## Write the generated parts of docs/ and config/
	@$(BIN)/python docs/generate.py

clean: ## Remove .venv and caches; history and settings lie elsewhere and stay
	rm -rf .venv .bench .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "hostpulse needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version); make PYTHON=python3.12 names another" >&2; exit 1; }
	@$(PYTHON) -m venv .venv \
		|| { rm -rf .venv; echo "python3 -m venv failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

.venv/installed: pyproject.toml | .venv/bin/python
	@echo "installing into .venv" >&2
	@$(BIN)/python -m pip install --quiet --editable '.[notify]'
	@touch $@

.venv/installed-test: .venv/installed
	@$(BIN)/python -m pip install --quiet --group test
	@touch $@

.venv/installed-fuzz: .venv/installed-test
	@$(BIN)/python -m pip install --quiet --group fuzz
	@touch $@

.venv/installed-check: .venv/installed-test
	@$(BIN)/python -m pip install --quiet --group check
	@touch $@

# psmqtt pins its dependencies to exact versions, which are not ours, so it has an environment of its own.
.bench/installed: pyproject.toml | .venv/bin/python
	@$(PYTHON) -m venv .bench
	@$(BIN)/python -m pip --python .bench install --quiet --group bench
	@touch $@
