# lint test demo lab bench bench-images clean: each makes .venv and installs what it needs first.
# Needs python3 (3.11 or later) with venv. PYTHON=... chooses another interpreter.

PYTHON ?= python3
VENV := .venv
TOUR := notebooks/00_tour.ipynb

.DELETE_ON_ERROR:
.PHONY: lint test demo lab bench bench-images clean

# pip is what `venv` writes last: without it the environment is half made.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is not Python 3.11 or later: install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) has no venv module: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

# One stamp for each extra that is installed; a changed pyproject.toml or kernelspec, which is copied, installs again.
$(VENV)/.with-%: pyproject.toml $(wildcard jupyter-config/kernels/*/*) $(VENV)/bin/pip
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	$(VENV)/bin/python -m compileall -q kernel_sandbox magics
	@touch $@

lint: $(VENV)/.with-test
	@$(VENV)/bin/python tests/run.py lint

test: $(VENV)/.with-test
	@$(VENV)/bin/python tests/run.py

demo: $(VENV)/.with-demo
	$(VENV)/bin/kernel-sandbox bootstrap
	$(VENV)/bin/kernel-sandbox bootstrap busybox || echo "The tour goes on without the busybox image."
	@$(VENV)/bin/python notebooks/show.py $(TOUR)
	@echo
	@echo "To open it in JupyterLab: make lab"

lab: $(VENV)/.with-lab
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/python -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) $(TOUR)

bench: $(VENV)/.with-demo
	@$(VENV)/bin/python benchmarks/run.py

# IMAGE_CACHE=DIRECTORY keeps the image of 300 MB that is made first.
bench-images: $(VENV)/.with-test
	@$(VENV)/bin/python benchmarks/images.py $(if $(IMAGE_CACHE),--cache $(IMAGE_CACHE))

# The store with its images and containers stays: `kernel-sandbox rm` and `rmi` empty it.
clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
