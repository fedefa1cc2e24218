# `make` builds the environment and the table; `make test` builds the environment and runs every check.
VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= all
BIN = $(VENV)/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: table env test test-slurm chaos check dag clean-results

table: env
	PATH="$(abspath $(BIN)):$$PATH" snakemake --cores $(CORES) --rerun-incomplete --quiet reason
	@echo; echo "Table:  results/report/table.md (and .csv, .tex)"; echo "Report: results/report/report.html (open it in a browser)"

env: $(VENV)/.done

# The second step: stable-audio-tools pins packages that its inference path does not need (docs/decisions/0004).
$(VENV)/.done: requirements.txt requirements-nodeps.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps -r requirements-nodeps.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	PATH="$(abspath $(BIN)):$$PATH" snakemake --lint

# A file's tests run one after another, and files side by side.
test: check
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest -m "not slurm" -n logical --maxprocesses 4 --dist loadfile --durations 25

# The workflow on a Slurm cluster of two virtual nodes on this machine; says why if Slurm is not installed.
test-slurm: env
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest -m slurm -rs tests/slurm

# Fifty runs in which something fails; `CHAOS_SEEDS=17 make chaos` repeats one. Takes about half an hour on two cores (18 min local, 12 min on Slurm).
chaos: env
	PATH="$(abspath $(BIN)):$$PATH" CHAOS_SEEDS=$${CHAOS_SEEDS:-1-50} $(BIN)/python -m pytest tests/chaos -q -rs

dag: env
	PATH="$(abspath $(BIN)):$$PATH" snakemake --rulegraph mermaid-js

clean-results:
	rm -rf results .snakemake
