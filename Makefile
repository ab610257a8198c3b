# `make demo` and `make test` need Python 3.11 or later and make, nothing else: both set up .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint types unit docs clean

setup: $(VENV)/.ready

# PyPI's torch brings its CUDA libraries: several GB, some minutes, once.
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps 'milvus-lite>=3.2'
	touch $@

demo: setup
	$(BIN)/bleep demo

test: lint types docs unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell

types: setup
	$(BIN)/mypy

docs: setup
	$(BIN)/sphinx-build -W -q -b html docs docs/_build

# Two at a time, a file each, with one thread: about twice as fast as one after another on two cores.
unit: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

clean:
	rm -rf $(VENV) docs/_build docs/reference/generated runs cache
