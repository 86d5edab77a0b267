# make demo    install the core and run the main job on the demo data set
# make test    install what tests need and run them (SLOW=1 adds the tests that take minutes)
# make check   formatting, lint, types, import contracts
# make all     install every optional extra as well

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --override overrides.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check all clean

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/.core
	$(BIN)/iqabench run --defense cprl --attack fgsm --eps 1,2,4 --out runs/demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(if $(SLOW),-m "not gpu",--numprocesses=auto --maxprocesses=4 --dist=loadfile)

check: $(VENV)/.dev
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

all: $(VENV)/.all

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(BIN)/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "iqabench needs Python 3.10 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.core: $(BIN)/uv pyproject.toml constraints.txt overrides.txt
	$(UV) --editable .
	@touch $@

$(VENV)/.dev: $(BIN)/uv pyproject.toml constraints.txt overrides.txt
	$(UV) --editable '.[dev,torchattacks,art]'
	@touch $@ $(VENV)/.core

$(VENV)/.all: $(BIN)/uv pyproject.toml constraints.txt overrides.txt
	$(UV) --editable '.[all,dev]'
	@touch $@ $(VENV)/.dev $(VENV)/.core
