PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Two processes share the test files. The tests that start Ray come last, because each of them has more processes. They
# are shared test by test, because most of them take a minute.
TWO := --numprocesses 2 --dist loadfile
TWO_OF_RAY := --numprocesses 2 --dist load
RAY_TESTS = $(sort $(shell grep -rl --include='test_*.py' mark\.ray tests))

.PHONY: run test check fast matrix perf picture pages docs setup clean python

run: $(VENV)/installed  ## install, then train, measure and rank the paper's methods on micro
	$(BIN)/bench run --methods paper --ranks 16,32,64

# With this, an open without an encoding is an error in the tests.
test fast matrix: export PYTHONWARNDEFAULTENCODING = 1

test: check  ## install, then every check and test
	$(BIN)/python -m pytest $(TWO) -m "not ray"
	$(BIN)/python -m pytest $(TWO_OF_RAY) -m ray $(RAY_TESTS)

check: $(VENV)/installed-dev  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fast: check  ## the inner loop: checks and the tests that need no Ray and no training
	$(BIN)/python -m pytest $(TWO) -m "not ray and not slow"

matrix: $(VENV)/installed-dev  ## every combination of choices on the pretend accelerator; make test runs a selection
	$(BIN)/python -m pytest tests/matrix -m matrix

perf: $(VENV)/installed-dev  ## time what is slow beside what it replaced, and write docs/performance.md
	$(BIN)/python -m tests.perf --write

picture: $(VENV)/installed-dev  ## draw the pictures of the docs again
	$(BIN)/python docs/architecture_picture.py
	$(BIN)/python docs/readme_picture.py

pages: $(VENV)/installed-dev  ## write again what pages take from the code: the command line, tables of methods, memory
	$(BIN)/python docs/method_pages.py
	$(BIN)/python docs/command_line_page.py
	$(BIN)/python docs/memory_table.py

docs: $(VENV)/installed-docs  ## build the site of the pages; open build/site/index.html by a double click
	$(BIN)/python docs/site/build.py

setup: $(VENV)/installed-dev  ## install again, for instance after adding an entry point
	$(PIP) --no-deps --editable .

python:
	@sh .ci/python.sh $(VENV) $(PYTHON)

# torch goes first and exactly: a range would bring gigabytes of CUDA where a CPU build is provided.
$(VENV)/installed: pyproject.toml constraints.txt | python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@echo "Installing into $(VENV); this takes two to four minutes."
	$(PIP) torch==2.13.0
	$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) --editable ".[dev]"
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) --editable ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
