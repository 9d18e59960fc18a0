# `make run` and `make test` each work alone on a fresh machine: they make .venv with the tested set of packages.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder
STAMP  := $(VENV)/.installed
UV     := $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export OMP_NUM_THREADS := 1
# One thread a process: two Dask workers share the cores.
unexport PYTHONDONTWRITEBYTECODE
# Without kept bytecode every process that starts, each worker too, compiles torch and Prefect again: 9 s of 15.

.PHONY: run test setup lint serve short faults mutants slow gpu scale quality versions nights docs clean

run: $(STAMP)  ## the sample region, from its catalog to its mosaic
	@$(BIN)/dsdit run sample

test: $(STAMP)  ## every test but the slow marks
	$(PYTEST) -m "not slow and not short and not faults and not benchmark and not gpu" --ignore=tests/mutants

setup: $(STAMP)

# Wheels at hand (PIP_FIND_LINKS) come first; otherwise uv picks the torch build that fits the driver, or the CPU.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@if [ -n "$$PIP_FIND_LINKS" ]; then UV_FIND_LINKS="$$PIP_FIND_LINKS" $(UV) -e ".[dev]"; \
	 else $(UV) --torch-backend=auto -e ".[dev]" || $(UV) -e ".[dev]"; fi
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

serve: $(STAMP)  ## Prefect server, work pool, worker and both deployments, until Ctrl-C
	@$(BIN)/dsdit serve

short: $(STAMP)  ## short forms of the slow suites
	$(PYTEST) -m short

faults: $(STAMP)  ## processes killed in the middle; three tests at a time, since half of them wait
	$(BIN)/python -m pytest -q -n 3 --dist load --maxschedchunk 1 -m faults

mutants: $(STAMP)  ## faults put in on purpose turn a named test red
	$(PYTEST) tests/mutants

scale: $(STAMP)  ## the plan of a continent, its wavefront and its publish; appends to tests/benchmarks/RESULTS.md
	$(BIN)/python -m tests.benchmarks

quality: $(STAMP)  ## the shipped weights on the validation pairs beside the project; appends to RESULTS.md
	$(BIN)/python -m tests.benchmarks quality

readers: $(STAMP)  ## windows a second of our reader and others; appends to tests/benchmarks/RESULTS.md
	$(BIN)/python -m tests.benchmarks readers

versions: $(STAMP)  ## both stores, on a disk and on S3, and two clients of S3; appends to tests/benchmarks/RESULTS.md
	$(BIN)/python -m tests.benchmarks versions s3_clients

nights: $(STAMP)  ## what a night with nothing new costs, against a full run; appends to tests/benchmarks/RESULTS.md
	$(BIN)/python -m tests.benchmarks nothing_new

slow: $(STAMP)
	$(BIN)/python -m pytest -q -m "slow"

gpu: $(STAMP)  ## what needs a GPU: numbers, bytes and memory on it, and a region on `cluster: cuda`
	$(BIN)/python -m pytest -q -rs -m gpu tests/gpu

device: $(STAMP)  ## tiles a second on the GPU, or the CPU, of the network alone and of a whole run; appends to tests/benchmarks/RESULTS.md
	$(BIN)/python -m tests.benchmarks device region_on_device

docs: $(STAMP)  ## the generated pages: every key, the module map, the sums
	$(BIN)/python -m flows.cli.reference > infra/docs/.new && mv infra/docs/.new infra/docs/region.md
	$(BIN)/python -m tests.support.module_map
	$(BIN)/python -m tests.benchmarks.sums > infra/docs/.new && mv infra/docs/.new infra/SUMS.md

clean:
	rm -rf output .pytest_cache .mypy_cache .ruff_cache
