# `make` alone lists the targets. Everything runs in .venv, which `setup` keeps current.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILED := .venv-compiled
SERVING_TESTS := $(addprefix tests/,test_compiled.py transport rpc identity pipeline policy serving ledger conformance app observer)
ARGS ?=
export PATH := $(CURDIR)/.tools/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup tools demo serve test chaos soak test-models test-compiled wheel bench bench-compiled check lint types layers format policy proto proto-check models lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(VENV)/.stamp: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; say PYTHON=python3.11 make setup") if sys.version_info < (3, 11) else 0'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,audit]'
	@touch $@

setup: $(VENV)/.stamp ## create .venv and install the package with its development tools

tools: setup ## install OPA, Regal and the other tools that CI needs (Go, apt)
	deploy/install-tools.sh

demo: setup ## start the gateway on real models and show a tour; ARGS=--once ends after it
	@$(BIN)/gateway demo $(ARGS)

serve: setup ## serve examples/models with policies/
	@$(BIN)/gateway serve --models examples/models --policies policies --data data $(ARGS)

test: setup ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

chaos: setup ## minutes of crashes and faults
	$(BIN)/python -m pytest -m chaos -p no:randomly $(ARGS)

soak: setup ## long load, bounded by SOAK_SECONDS
	$(BIN)/python -m pytest -m soak -p no:randomly $(ARGS)

test-models: setup ## serve ONNX models that ship inside PyPI wheels and compare with onnxruntime
	$(BIN)/python -m pytest -m models -p no:randomly $(ARGS)

wheel: setup ## build dist/*.whl with the request path compiled (a C compiler, two minutes)
	rm -rf build dist
	COMPILE_GATEWAY=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir dist .

$(COMPILED)/.stamp: $(VENV)/.stamp setup.py $(shell find gateway -name '*.py')
	$(MAKE) wheel
	test -x $(COMPILED)/bin/python || $(PYTHON) -m venv $(COMPILED)
	$(COMPILED)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --find-links dist 'inference-gateway[dev,audit]'
	$(COMPILED)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps dist/*.whl
	@touch $@

test-compiled: $(COMPILED)/.stamp ## run the tests of what serves calls on the compiled package
	TEST_COMPILED=1 PYTHONSAFEPATH=1 $(COMPILED)/bin/python -m pytest -n 2 --dist loadgroup $(SERVING_TESTS) $(ARGS)

bench-compiled: $(COMPILED)/.stamp ## the throughput table of the compiled package
	$(COMPILED)/bin/python bench/throughput.py $(ARGS)

bench: setup ## the throughput table: bare and governed, both transports
	$(BIN)/python bench/throughput.py $(ARGS)

models: setup ## train the example models again and print their metrics
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[examples]'
	$(BIN)/python -m examples.train

check: lint types layers proto-check policy ## all static checks that CI runs

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

policy: setup ## check and test the shipped policies
	$(BIN)/gateway policy check policies
	$(BIN)/gateway policy test policies

format: setup ## rewrite the code in its one style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: setup ## generate gateway/v1 from proto/
	$(BIN)/python proto/generate.py

proto-check: setup
	$(BIN)/python proto/generate.py --check

lock: ## resolve constraints.txt anew from pyproject.toml
	rm -rf .tools/lock && $(PYTHON) -m venv .tools/lock
	.tools/lock/bin/pip install --quiet '.[dev,audit,examples]'
	.tools/lock/bin/pip freeze --exclude inference-gateway > constraints.txt

clean: ## remove the environment and caches
	rm -rf $(VENV) $(COMPILED) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
