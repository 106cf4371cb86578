PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core-installed
DEV := $(VENV)/.dev-installed

.PHONY: demo lint test test-long test-browser test-comfyui test-extras docs site audit bench ablation clean

# The main job on a photograph that ships with scikit-image: degrade, upscale with nano, write a comparison.
demo: $(CORE)
	$(BIN)/python examples/demo.py demo

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(CORE): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[examples]'
	touch $@

$(DEV): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,compare,raw,ray,serve,text]'
	touch $@ $(CORE)

# Without the browser's and the host's, which have targets of their own.
test: $(DEV)
	$(BIN)/python -m pytest -m "not slow and not extras" --ignore tests/serve/test_browser.py \
	    --ignore tests/comfyui/test_host.py

test-long: $(DEV)
	$(BIN)/python -m pytest -m slow

# The page in a real browser: Debian's, installed where that is allowed, else the tests say why they are skipped.
test-browser: $(DEV)
	command -v chromium >/dev/null || { apt-get update && apt-get install -y --no-install-recommends chromium; } || true
	$(BIN)/python -m pytest tests/serve/test_browser.py

# The nodes in a ComfyUI: CCSR_COMFYUI=/its/checkout make test-comfyui
test-comfyui: $(DEV)
	$(BIN)/python -m pytest -rs tests/comfyui/test_host.py

# Learned metrics need torchvision, which cannot live beside the tested torch: an environment of its own, of gigabytes,
# made on demand.
EXTRAS := .venv-extras/.installed
$(EXTRAS): pyproject.toml constraints-extras.txt
	$(PYTHON) -m venv .venv-extras
	.venv-extras/bin/pip install --quiet --disable-pip-version-check -c constraints-extras.txt -e '.[metrics]' \
	    torchvision pyiqa spandrel pytest
	touch $@

test-extras: $(EXTRAS)
	.venv-extras/bin/python -m pytest -m extras tests/extras

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --noconftest tests/house/test_links.py

# Rewrites the generated pages; a test holds them against the code.
docs: $(DEV)
	$(BIN)/python docs/generate.py

# The documentation as a site in site/, which opens from the file system: site/index.html.
SITE := $(VENV)/.site-installed
$(SITE): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@ $(CORE)

site: $(SITE)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Known vulnerabilities of the pinned versions. Needs a service of the network, and says so where there is none.
audit: | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --disable-pip --no-deps -r constraints.txt

# The targets of speed and memory with this machine's figures; leave the machine alone meanwhile.
bench: $(DEV)
	$(BIN)/python benchmarks/targets.py

# The networks of docs/reproduction.md, hours of one core at the lowest priority; stopped, it goes on where it was:
#   make ablation PICTURES="data.sources=MY-PHOTOS"; then python benchmarks/reproduce.py measures them.
THREADS ?= 1
ablation: $(CORE)
	$(BIN)/python benchmarks/ablation.py $(PICTURES) --threads $(THREADS)

clean:
	rm -rf $(VENV) .venv-extras build dist demo site
