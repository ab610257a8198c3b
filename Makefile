# `make demo` and `make test` need Python 3.11 or later and make, nothing else: both set up .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# The newest numpy, pandas and anndata need a newer Python than the lowest that bleep runs on.
LOWEST_PYTHON ?= python3.11
NEWEST_PYTHON ?= python3.12

# Hundreds of processes of the tests import the package: each would compile it anew where Python may keep nothing.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test test-lowest test-newest lint types unit docs clean

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

# Types and pages at the same time: each keeps one core busy for minutes.
test: lint
	$(MAKE) --jobs=2 types docs
	$(MAKE) unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/codespell

types: setup
	$(BIN)/mypy

docs: setup
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html

# Two at a time, a file each, the longest first, with one thread: about twice as fast as one after another on two cores.
unit: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The suite on the lowest and on the newest versions that pyproject admits, each in a folder of its own, made once (9 GB each);
# versions.txt in it says which they are.
test-lowest: .venv-lowest/.ready
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-newest: .venv-newest/.ready
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.venv-lowest/.ready: PYTHON_OF_IT = $(LOWEST_PYTHON)
.venv-lowest/.ready: RESOLUTION = lowest-direct
.venv-newest/.ready: PYTHON_OF_IT = $(NEWEST_PYTHON)
.venv-newest/.ready: RESOLUTION = highest
.venv-lowest/.ready .venv-newest/.ready: pyproject.toml
	$(PYTHON_OF_IT) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet uv
	$(@D)/bin/uv pip compile --quiet --python $(@D)/bin/python --resolution $(RESOLUTION) --extra dev pyproject.toml -o $(@D)/versions.txt
	$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python -r $(@D)/versions.txt
	$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python --no-deps --editable . 'milvus-lite>=3.2'
	touch $@

clean:
	rm -rf $(VENV) .venv-lowest .venv-newest docs/_build docs/jupyter_execute docs/reference/generated runs cache
