PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core-installed
DEV := $(VENV)/.dev-installed

.PHONY: demo lint test test-long docs audit clean

# The main job on a photograph that ships with scikit-image: degrade, upscale with nano, write a comparison.
demo: $(CORE)
	$(BIN)/python examples/demo.py demo

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(CORE): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(DEV): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,text,ray]'
	touch $@ $(CORE)

test: $(DEV)
	$(BIN)/python -m pytest -m "not slow"

test-long: $(DEV)
	$(BIN)/python -m pytest -m slow

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Rewrites the generated pages; a test holds them against the code.
docs: $(DEV)
	$(BIN)/python docs/generate.py

# Known vulnerabilities of the pinned versions. Needs a service of the network, and says so where there is none.
audit: | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --disable-pip --no-deps -r constraints.txt

clean:
	rm -rf $(VENV) build dist demo
