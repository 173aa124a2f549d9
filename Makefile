# Everything runs in .venv, which is made at need. `make` alone lists the targets.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-gpu check bench docs attack format build wheel-check audit clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# --no-compile: Python compiles what it imports, once, and pip takes half the time. Some environments set
# PYTHONDONTWRITEBYTECODE; then every process would compile torch again, which takes 11 seconds. So it is unset here.
unexport PYTHONDONTWRITEBYTECODE
$(STAMP): pyproject.toml
	@echo "installing into .venv: 1.9 GB with torch for CPUs, several GB with PyPI's; some minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --editable '.[dev]'
	@touch $(STAMP)

install: $(STAMP)  ## make .venv with the package and all tools

demo: $(STAMP)  ## evolve a learngene on built-in data and compare it with scratch
	$(BIN)/learngene evolve recipes/demo.yaml --out runs/demo --resume
	OMP_NUM_THREADS=1 $(BIN)/learngene evaluate runs/demo --shots 10 --steps 40 --tasks 5 --seeds 2 --jobs 2 --out runs/demo

test: $(STAMP)  ## the unit tests: some minutes
	@OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=2 --dist=worksteal

test-slow: $(STAMP)  ## the other tests: kills, wheel, site, README, Ray, processes, Xet
	@OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=2 --dist=worksteal -m 'slow and not network'

test-gpu: $(STAMP)  ## the tests that need a CUDA device, where there is one
	OMP_NUM_THREADS=1 $(BIN)/pytest -m gpu

check: $(STAMP)  ## format, lint, types, order of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## what the package costs, as ratios; some minutes on one core
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks runs/bench

docs: $(STAMP)  ## the documentation as a site, into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file docs/site/mkdocs.yml
	@echo build/site/index.html

attack: $(STAMP)  ## hostile files: docs/reliability.md; half an hour of one core
	OMP_NUM_THREADS=1 $(BIN)/python tests/campaigns/fuzz.py

format: $(STAMP)  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

build: $(STAMP)  ## wheel and sdist into dist/
	$(BIN)/python -m hatchling build

wheel-check: $(STAMP)  ## build wheel and sdist twice, compare them, try what was built
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow tests/whole/test_wheel.py

audit: $(STAMP)  ## known holes of what is installed; asks the advisory service of PyPI
	$(BIN)/pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable

clean:  ## remove what was made, runs excepted
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
