# `make demo` on a fresh machine with Python 3.11 does everything; the other targets are for those who change the code.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.installed
EVENTS ?=
LOCKED := --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate
LOCK := pyproject.toml $(LOCKED)

.PHONY: install spark demo test lint type bench protos lock image-check clean help

help: ## say what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: $(DONE) ## install what the project needs into .venv, from the hashed lock file
$(DONE): requirements.lock pyproject.toml build_core.py $(wildcard lockstep/_*.[ch])
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lockstep needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(DONE)

spark: install ## add PySpark (480 MB) for lockstep score --engine spark; needs Java 17 or newer; without it its tests are skipped
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.spark.lock

demo: install ## run the whole loop; EVENTS=FILE takes real clicks
	$(BIN)/lockstep demo $(if $(EVENTS),--events $(EVENTS)) --json

test: install ## run the tests
	$(BIN)/pytest -n 2 --dist loadscope

lint: install ## ruff, the import contracts, and whether the generated files are fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m protos.check

type: install ## mypy, strict
	$(BIN)/mypy

bench: install ## measure everything and write the table of benchmarks/README.md; half an hour on a machine that does nothing else
	$(BIN)/python -m benchmarks

protos: install ## make the generated files under protos/ again
	$(BIN)/python -m protos.make

lock: ## resolve the newest versions that pyproject.toml allows: requirements.lock for people, requirements.run.lock for the image
	$(BIN)/uv pip compile $(LOCK) --extra dev --extra c --extra skops --extra signing --extra traces --output-file requirements.lock
	$(BIN)/uv pip compile $(LOCK) --extra traces --constraints requirements.lock --output-file requirements.run.lock
	grep -o 'pyspark==[^"]*' pyproject.toml | $(BIN)/uv pip compile - $(LOCKED) --output-file requirements.spark.lock

image-check: install ## run the image's steps in a clean folder, and what they make; installs every package anew
	IMAGE_CHECK=1 $(BIN)/pytest tests/deploy/test_image.py

clean: ## remove what was installed and made, the data of the demo included
	rm -rf $(VENV) lockstep/_core.*.so data .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
