# The two commands of the README: `make demo` and `make test`. Both make .venv if need be.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types contract tests clean

demo: .venv/demo
	$(BIN)/homolog demo

test: lint types contract tests

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy

contract: .venv/dev
	$(BIN)/lint-imports

tests: .venv/dev
	$(BIN)/python -m pytest

.venv/pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	touch $@

.venv/demo: .venv/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable ".[demo]"
	touch $@

.venv/dev: .venv/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable ".[all]" --group dev
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache homolog-demo dist
