# make demo    train the colorization example on the photographs in this repository (about 2 minutes on 2 cores)
# make test    everything that CI checks: style, types, import order, tests
# make bench   the benchmarks, beside their peers, in an environment of their own
# make fuzz    changed bytes for each reader of bytes, for FUZZ_SECONDS each (60), then odd files and arrays read beside other libraries,
#              thirty times as many as in a test; FUZZ_TARGETS="tar npz": changed bytes for these alone
# make docs    the HTML documentation
# make check-next   the tests against the newest Keras and TensorFlow that the index has, in an environment of their own

PYTHON ?= python3
VENV := .venv
BENCH_VENV := .bench-venv
NEXT_VENV := .next-venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
DEMO_ARGS ?=
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=

.PHONY: demo test lint pytest fuzz bench docs check-next clean

demo: $(VENV)/.installed
	$(BIN)/python examples/colorize/train.py --demo $(DEMO_ARGS)

test: lint pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

pytest: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(PYTEST_ARGS)

# Without a wheel of atheris for this Python hypothesis changes the seeds, without looking at coverage.
fuzz: $(VENV)/.installed-dev
	-$(PIP) --only-binary atheris --editable '.[fuzz]'
	$(BIN)/python tests/fuzz/drive.py --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)
ifeq ($(FUZZ_TARGETS),)
	$(BIN)/python -m pytest -q --timeout 0 --hypothesis-profile=long tests/against
endif

bench: $(BENCH_VENV)/.installed
	$(BENCH_VENV)/bin/python bench/dataflow.py $(BENCH_ARGS)
	$(BENCH_VENV)/bin/python bench/formats.py
	$(BENCH_VENV)/bin/python bench/augmentors.py
	$(BENCH_VENV)/bin/python bench/train.py
	$(BENCH_VENV)/bin/python bench/summaries.py

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -q -b html docs docs/_build/html

# A release candidate of TensorFlow brings keras-nightly, which lies in the same folder as keras: a mix of both would run.
check-next:
	$(PYTHON) -m venv $(NEXT_VENV)
	$(NEXT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(NEXT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --pre tensorflow keras
	$(NEXT_VENV)/bin/python -m pip uninstall --quiet --yes keras-nightly
	$(NEXT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps --pre keras
	$(NEXT_VENV)/bin/python docs/scripts/check_next.py $(PYTEST_ARGS)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(BENCH_VENV)/.installed: pyproject.toml bench/requirements.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[formats,images]' --requirement bench/requirements.txt
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) --editable '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(NEXT_VENV) build dist *.egg-info docs/_build tests/fuzz/found
