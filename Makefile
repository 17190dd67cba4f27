# `make` alone lists the targets. PYTHON is the interpreter that the environments are made from (3.11 or newer);
# TORCH is the build of torch: plain `pip install torch` pulls gigabytes of CUDA, so the CPU set-up names its version.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
PORT ?= 4200
# Workers of the test suite; a file's tests stay in one of them, for they share what is slow to make.
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
BIN := $(VENV)/bin
VAR := $(CURDIR)/var

# A server of one's own is never assumed, and nothing leaves the machine.
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
# Threads that wait spin for microseconds and then sleep: long spinning starves a machine that does something else as well.
export GOMP_SPINCOUNT ?= 20000

.DEFAULT_GOAL := help
.PHONY: help demo up test quick long lint audit bench swift

help:  ## This list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## The main job on a real table: set up, train, score, gate, publish (about 5 minutes).
	$(BIN)/python -m flows.demo demo/rand-hie.parquet
	mkdir -p $(VAR)/prefect-demo
	PREFECT_HOME=$(VAR)/prefect-demo $(BIN)/tvae run configs/demo.yaml

up: $(VENV)/.installed  ## Server, work pools, both workers and the deployments; stop with Ctrl-C. PORT=4200.
	$(BIN)/python -m flows.demo demo/rand-hie.parquet
	PYTHON=$(CURDIR)/$(BIN)/python TVAE_HOME=$(CURDIR) deployments/up.sh $(PORT)

test: lint swift  ## Lint, types and the test suite, with real object stores (moto, OpenStack Swift).
	$(PYTEST) -m "not long"

quick: $(VENV)/.installed  ## The tests that take seconds.
	$(PYTEST) -m "not slow and not long"

long: $(VENV)/.installed swift  ## The tests that take minutes.
	$(PYTEST) -m long

lint: $(VENV)/.installed audit  ## ruff check, ruff format --check, mypy, known vulnerabilities.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: $(VENV)/.installed  ## Known vulnerabilities of the pinned dependencies, asked for once a day.
	$(BIN)/python deployments/audit.py constraints.txt --stamp var/audit.stamp

bench: $(VENV)/.installed  ## Run the benchmarks and write the README's table of figures.
	$(MAKE) -C benchmarks PYTHON=$(abspath $(BIN)/python)

swift: .venv-swift/.installed  ## The environment of OpenStack Swift, an object store for the tests.

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv-swift/.installed: tests/swift-requirements.txt
	test -x .venv-swift/bin/python || $(PYTHON) -m venv .venv-swift
	.venv-swift/bin/python -m pip install --quiet --requirement tests/swift-requirements.txt
	touch $@
