# The commands of this repository. Each sets up .venv by itself; none does a thing twice.

PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: help book test test-processors lab bench

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

book: .venv/installed ## run the studies that changed, build the book, print the page to open
	@$(BIN)/specfreq book

test: .venv/installed ## check the code's style and types, the package and the notebooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --nbval-lax --nbval-current-env notebooks

test-processors: .venv/installed ## run the numerical tests with the rounding of other processors
	@$(BIN)/python tests/processors.py

lab: .venv/installed ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=notebooks

bench: .venv/installed ## measure speed against named peers, as ratios
	@$(BIN)/python -m benchmarks

.venv/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "specfreq needs Python 3.11 or newer on the PATH; or say make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "setting up .venv with $$($(PYTHON) --version) (several minutes and GB the first time)"
	@$(PYTHON) -m venv .venv || { echo "could not make .venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
