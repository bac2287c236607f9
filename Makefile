# make demo and make test install everything they need; make install only prepares .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_FLAGS ?=

.DEFAULT_GOAL := help
PEERS := .venv-peers
AUDIT := .venv-audit
DATA ?= ../shared/data/cifar10-activations.npz

.PHONY: help install demo test lint lock fuzz soak chaos bench peers evaluate audit clean

help:            ## show this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install: $(READY)  ## prepare .venv with the command latentwatch

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "latentwatch needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "installing the packages (about 3 GB the first time, most of it torch) ..."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@touch $(READY)

demo: $(READY)   ## see an attack being detected (DEMO_FLAGS="--share 0.2" to change it)
	$(BIN)/latentwatch demo $(DEMO_FLAGS)

lint: $(READY)   ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# file by file, in folder order: the demos take longest and must not come last
TEST_FLAGS ?= --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: lint       ## every check: ruff, mypy, pytest with warnings as errors
	$(BIN)/pytest $(TEST_FLAGS)

lock: $(READY)   ## renew constraints.txt from .venv
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt
	@touch $(READY)

# experiments with the tag short; the others take longer or are known to fail
CHAOS ?= $(shell grep -l '^tags: .short' experiments/*.yaml)

FUZZ_SECONDS ?= 600

fuzz: $(READY)   ## hostile messages for ten minutes (FUZZ_SECONDS=60); new inputs in build/fuzz
	mkdir -p build/fuzz
	$(BIN)/python -m tests.fuzz.fuzz_decode build/fuzz tests/fuzz/corpus -dict=tests/fuzz/decode.dict \
		-max_len=16384 -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=build/

chaos: $(READY)  ## run ten short chaos experiments (under ten minutes)
	$(BIN)/latentwatch experiment run --force --out build/chaos $(CHAOS)

SOAK_FLAGS ?=

soak: $(READY)   ## faults one by one, then all for an hour (SOAK_FLAGS="--suite mixed --minutes 5")
	mkdir -p build
	$(BIN)/latentwatch soak --json build/soak.json $(SOAK_FLAGS)

bench: $(READY)  ## measure speed on this machine (two minutes; run nothing else)
	mkdir -p build
	$(BIN)/latentwatch bench --json build/bench.json

peers: $(PEERS)/.ready  ## prepare .venv-peers with other detectors, for comparison

$(PEERS)/.ready: lab/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement lab/peers/requirements.txt
	@touch $@

evaluate: $(READY) peers  ## measure all figures in docs/ (two hours; DATA=activations.npz)
	mkdir -p build
	$(BIN)/python -m latentwatch.lab.signs export --out build/signs.npz --cache build/signs
	OMP_NUM_THREADS=1 $(BIN)/latentwatch evaluate $(DATA) --layers layer1,layer3,layer4 \
		--splits 6 --markdown docs/figures-cifar10.md
	OMP_NUM_THREADS=1 $(BIN)/latentwatch evaluate $(DATA) --layers layer4 --measures power \
		--against ladis,alibi,frouros,frouros-median --against-sets pgd_eps03 \
		--markdown docs/figures-cifar10-layer4.md
	OMP_NUM_THREADS=1 $(BIN)/latentwatch evaluate build/signs.npz \
		--splits 6 --markdown docs/figures-signs.md
	$(BIN)/latentwatch baseline fit build/signs.npz --model traffic-signs --model-version 1 \
		--baselines build/baselines --drop-constant --pool-rare-classes --force
	$(BIN)/python -m latentwatch.lab.signs adapt --out build/adaptive.npz --cache build/signs \
		--baseline build/baselines/traffic-signs/1.safetensors
	OMP_NUM_THREADS=1 $(BIN)/latentwatch evaluate build/signs.npz build/adaptive.npz \
		--measures power --markdown docs/figures-adaptive.md

audit: $(AUDIT)/bin/pip-audit  ## list known vulnerabilities of pinned packages
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

$(AUDIT)/bin/pip-audit:
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet pip-audit==2.10.1

clean:           ## remove everything that make created
	rm -rf $(VENV) $(PEERS) $(AUDIT) .demo .mypy_cache .pytest_cache .ruff_cache build *.egg-info
