# Every target does the set-up that it needs.
PYTHON ?= python3
PYTHONS ?= python3.10 python3.11 python3.12 python3.13
# Of these versions there are builds for it, and for no later one.
LOWEST_PYTHON ?= python3.11
MODEL ?= gpt2
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Files at once, the long ones first: faults mostly wait; trials of studies take turns on the device.
FILES := --dist loadfile --no-loadscope-reorder --durations=10

# Of real trials: where another test has a core, the threads of a step would wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1

# Which of two is faster cannot be told beside other tests.
ALONE := tests/real/test_verify.py

.DEFAULT_GOAL := help
.PHONY: help setup sweep test test-fast test-faults test-damage test-pythons test-lowest test-storages test-differential test-real test-frameworks test-browser golden pictures recordings test-dashboards test-gpu wheelhouse bench docs lint typecheck check clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## make .venv with everything pinned in constraints.txt

# torch first and by itself: DeepSpeed's own build looks for it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch setuptools wheel
	DS_BUILD_OPS=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
		-c constraints.txt -e '.[dev]'
	touch $(READY)

sweep: $(READY)  ## a study: make sweep MODEL=gpt2 ARGS="hydra.sweeper.n_trials=20"
	$(BIN)/python -m sweeper +model=$(MODEL) hydra/sweeper=optuna $(ARGS)

test: $(READY)  ## the tests, the fast ones first; of what takes long one of each kind
	$(BIN)/python -m pytest -n 2 $(FILES) tests/unit
	$(BIN)/python -m pytest -n 4 $(FILES) -m "not real and not slow and not gpu" tests/faults tests/damage tests/storages tests/cli tests/cuda_bed tests/packaging tests/exports tests/browser tests/docs
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 $(FILES) -m "real and not slow and not gpu" tests/docs tests/differential tests/real tests/exports --ignore=$(ALONE)
	$(BIN)/python -m pytest -m "not slow" $(ALONE)

test-fast: $(READY)  ## the tests of the core alone, in seconds
	$(BIN)/python -m pytest tests/unit

test-faults: $(READY)  ## every injected fault under every runner
	$(BIN)/python -m pytest tests/faults

test-damage: $(READY)  ## recorded studies, damaged in 305 drawn ways; results/published has what was drawn
	DAMAGED_STUDIES=305 DAMAGED_STUDIES_COUNTS=results/published/damaged_studies.json $(BIN)/python -m pytest tests/damage

test-pythons:  ## the unit tests on each supported Python that is here (PYTHONS=...), in build/pythons
	for python in $(PYTHONS); do tests/packaging/other_python.sh $$python build/pythons/$$python || exit 1; done

test-lowest:  ## the unit tests with the lowest versions that pyproject.toml declares (LOWEST_PYTHON=...)
	tests/packaging/other_python.sh $(LOWEST_PYTHON) build/pythons/lowest --lowest

test-storages: $(READY)  ## studies in PostgreSQL, MySQL and SQLite (apt-get install postgresql mariadb-server)
	$(BIN)/python -m pytest tests/storages

test-real: $(READY)  ## all real trials, those that take minutes too
	$(BIN)/python -m pytest tests/real tests/browser/test_real_study.py

test-frameworks: $(READY)  ## exports, scripts and architectures through each framework
	$(BIN)/python -m pytest tests/exports tests/real/test_hf.py tests/real/test_scripts.py tests/real/test_script_kinds.py tests/real/test_factory.py

test-differential: $(READY)  ## our rules against DeepSpeed itself, and every parallel layout
	$(BIN)/python -m pytest tests/differential tests/real/test_parallel.py

pictures: $(READY)  ## reports as they look, on a desk and a phone, in build/pictures and docs/images
	$(BIN)/python -m tests.browser.pictures

recordings: $(READY)  ## terminal sessions at two sizes, in docs/images; on a quiet machine, with tmux
	$(BIN)/python -m tests.recordings

test-dashboards: $(READY)  ## studies in optuna-dashboard, MLflow, TensorBoard and W&B, which it installs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[dashboards]'
	$(BIN)/python -m pytest tests/dashboards

test-browser: $(READY)  ## reports in a headless chromium, with axe-core where npm is there
	if command -v npm > /dev/null; then npm install --silent --no-audit --no-fund --no-package-lock --prefix tests/browser; fi
	$(BIN)/python -m pytest tests/browser

golden: $(READY)  ## write the golden report.md anew; read the difference before it is committed
	REFRESH_GOLDEN=1 $(BIN)/python -m pytest tests/unit/test_golden.py

test-gpu:  ## the tests that need a CUDA device, with the python of a GPU host
	$(PYTHON) -m pytest -m gpu tests

wheelhouse: $(READY)  ## in .whl/, what a GPU host without a network lacks
	PYTHON=$(BIN)/python tests/gpu/wheelhouse.sh .whl

bench: $(READY)  ## what a trial costs, runner by runner, and a study; how true their numbers are
	$(BIN)/python -m benchmarks.trial_overhead
	$(BIN)/python -m benchmarks.fidelity
	$(BIN)/python -m benchmarks.study_overhead

docs: $(READY)  ## the documentation, in build/docs; its reference is made from the code first
	$(BIN)/python -m docs.generate
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs
	@echo build/docs/index.html

lint: $(READY)  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(READY)  ## mypy, strict
	$(BIN)/mypy

check: lint typecheck test  ## what CI runs

clean:  ## remove .venv, builds and caches; results stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
