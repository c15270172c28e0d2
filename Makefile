# The two commands: make demo, make test. Both set up .venv first, once, and again when the pins change.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
STRESS ?= kill fuzz disk extremes large soak
.PHONY: setup demo test bench stress format clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "marginflow needs Python 3.11 or newer: make PYTHON=python3.x")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev --group peers
	@touch $@

demo: setup
	$(BIN)/marginflow demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/pytest -n 2 -m "not alone"
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
