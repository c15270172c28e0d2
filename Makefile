# The two commands: make demo, make test. Both set up .venv first, once, and again when the pins change.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready
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
	$(BIN)/pytest -n 2

bench: setup
	$(BIN)/python -m benchmarks

stress: setup
	cd tests && ../$(BIN)/python -m stress.kill && ../$(BIN)/python -m stress.fuzz

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist
