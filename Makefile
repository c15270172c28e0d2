# make demo, make test; make quick is what to call while working: lint, types, and the tests that start no Python and take no time.
# Each sets up .venv first, once, and again when the pins change.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
STRESS ?= kill fuzz disk extremes large soak graphs
.PHONY: setup demo quick test bench stress format clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "marginflow needs Python 3.11 or newer: make PYTHON=python3.x")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev --group peers
	@touch $@

demo: setup
	$(BIN)/marginflow demo

quick: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/pytest -n 2 --dist worksteal -m "not alone and not slow" --ignore tests/processes

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/pytest -n 2 --dist worksteal -m "not alone"
	$(BIN)/pytest -m alone

bench: setup
	$(BIN)/python -m benchmarks

stress: setup
	cd tests && for each in $(STRESS); do ../$(BIN)/python -m stress.$$each || exit 1; done

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist
