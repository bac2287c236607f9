# make demo and make test set up everything they need; make install prepares .venv alone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test lint lock clean

help:            ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install: $(READY)  ## prepare .venv with the command latentwatch

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "latentwatch needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "installing the packages (about 3 GB the first time, most of it torch) ..."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	@touch $(READY)

demo: $(READY)   ## see an attack being caught (DEMO_FLAGS="--share 0.2" to change it)
	$(BIN)/latentwatch demo $(DEMO_FLAGS)

lint: $(READY)   ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint       ## every check: ruff, mypy, pytest with warnings as errors
	$(BIN)/pytest

lock: $(READY)   ## renew constraints.txt from .venv
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt
	@touch $(READY)

clean:           ## remove what make made
	rm -rf $(VENV) .demo .mypy_cache .pytest_cache .ruff_cache build *.egg-info
