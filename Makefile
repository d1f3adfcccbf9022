# Every target first makes .venv/, where it is missing or older than what it is made from.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
DEVICE ?= cpu
ARGS ?=
BIN := .venv/bin
STAMP := .venv/.made-for-$(DEVICE)

.PHONY: help setup services demo stack stack-down test unit soak lint format bench train clean

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## Make .venv/ (PYTHON=python3.12 and DEVICE=gpu choose others)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: name a Python of at least 3.11, as in: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1): Triadline needs at least 3.11, as in: make setup PYTHON=python3.12" >&2; exit 1; }
	@[ "$(DEVICE)" = cpu ] || [ "$(DEVICE)" = gpu ] || { echo "DEVICE=$(DEVICE): give cpu or gpu" >&2; exit 1; }
	@# faiss-cpu and faiss-gpu share one module name: changing the device starts from nothing.
	@for made in .venv/.made-for-*; do [ ! -e "$$made" ] || [ "$$made" = "$(STAMP)" ] || rm -rf .venv; done
	$(PYTHON) -m venv .venv
	@echo "Installing; the models' libraries are some gigabytes, the first time takes minutes."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(DEVICE),dev]'
	@touch $@

services:  ## Install what tests need beside Python packages, where that is allowed
	@deploy/local/install-services.sh

demo: $(STAMP)  ## Inspect frames of simulated lines and write a page to look at
	$(BIN)/triad demo $(ARGS)

stack: $(STAMP) services  ## Run the whole distributed system on this machine, in the background
	$(BIN)/python deploy/local/stack.py up $(ARGS)

stack-down: $(STAMP)  ## End it; its data stays
	$(BIN)/python deploy/local/stack.py down

test: $(STAMP) services  ## Run every test (with CI=true a missing service is a failure)
	$(BIN)/python -m pytest $(ARGS)

unit: $(STAMP)  ## Run the tests that need no service
	$(BIN)/python -m pytest tests/unit $(ARGS)

soak: $(STAMP) services  ## Break a running system at random and hold it to its contract (ARGS="--frames N --faults N --seed N")
	PYTHONPATH=. $(BIN)/python tests/fault/soak.py $(ARGS)

lint: $(STAMP)  ## Check format, rules, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## Put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## Print every number that the documents quote (a quarter of an hour)
	@for each in simulated_lines deep_pcb distributed stack_run first_verdict; do \
		echo "== benchmarks/$$each.py"; $(BIN)/python -m "benchmarks.$$each" $(ARGS); done

train: $(STAMP)  ## Train the bundled models again, from nothing
	$(BIN)/triad train $(ARGS)

clean:  ## Remove what was made here, .venv/ included
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .scratch
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
