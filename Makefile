# `make demo` and `make test` set up what they need in .venv, once, and run.

.DEFAULT_GOAL := help
.PHONY: help demo test test-dvc night check lock

SHELL := bash
# Else each process that imports torch would compile it anew, for 4 s: pip does not (see READY).
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
READY := .venv/ready
# Of pip's hundreds of lines those on packages of 10 MB and more, as each begins; warnings and errors are not among them.
LARGE := awk '/(Downloading|Using cached) .*\(([0-9][0-9]+(\.[0-9]+)? M|[0-9.]+ G)B\)/ { print; fflush() } \
  /^Installing/ { print "Installing all"; fflush() }'

help:
	@echo "make demo   set up and rebuild the tables and figures at demo scale, into figures/demo"
	@echo "make test   set up and run the tests"
	@echo "make test-dvc   run the tests of DVC over Snakemake, which take another five minutes"
	@echo "make night  run the tests that take too long for every change, those of DVC among them"
	@echo "make check  set up and check format, lint and types"
	@echo "make lock   write the versions installed in .venv to envs/requirements.lock"

demo: $(READY)
	$(BIN)/snakemake --cores all

# Each file as a whole to one worker: tests of a file share what is costly to make, one a run of the whole DAG. (Groups of
# tests, by loadgroup, are ignored by pytest-xdist 3.8 under pytest 9.2: pytest-dev/pytest-xdist#1386.) One worker more than
# two cores need, since the tests on a cluster mostly wait.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

test-dvc: $(READY)
	$(BIN)/pytest -m dvc

night: $(READY)
	$(BIN)/pytest -m "night or dvc" -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

lock:
	$(BIN)/python envs/lock.py

# Without --no-compile all of torch is compiled, of which a run imports a part: that part is compiled by importing it.
$(READY): envs/requirements.lock pyproject.toml setup.py $(wildcard src/invgrad/tangent/kernels/*.cpp)
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed; name one with 'make PYTHON=/path/to/python'" >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON): some minutes and up to 7 GB, most of it torch's CUDA libraries"
	$(PYTHON) -m venv .venv
	@set -o pipefail; $(BIN)/python -m pip install --progress-bar off --no-compile --requirement envs/requirements.lock | $(LARGE)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -c 'import snakemake.cli; from invgrad.warm.server import import_everything; import_everything()'
	@touch $@
	@echo "Set up. '. .venv/bin/activate' makes it this shell's environment. Then 'invgrad demo' shows the attack on one"
	@echo "photograph, and 'snakemake --cores all' rebuilds the tables and figures, cut down ('make demo' does it, too)."
