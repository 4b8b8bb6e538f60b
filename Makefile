# `make` alone prints this list. Everything runs in .venv, which is made on first use.
.DEFAULT_GOAL := help
.PHONY: help demo test laws test-core check format look bench bench-spectra bench-adapters bench-models bench-known bench-finetune bench-recommend bench-fuzz bench-kills bench-cluster build clean

PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt --editable
STAMP_SOURCES := pyproject.toml constraints.txt
export PYTHONUTF8 := 1
# One BLAS thread per test worker: two workers on two cores, and results that do not depend on the load.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1#\2/p' $(MAKEFILE_LIST) | column -t -s '#' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## /  make \1   /p' $(MAKEFILE_LIST)

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "eckart needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "This Python has no venv module; install it first (on Debian and Ubuntu: apt-get install python3-venv)."; exit 1; }
	@rm -rf .venv
	@echo "Making .venv ..."
	@$(PYTHON) -m venv .venv
	@touch $@

# A stamp is written last, so an interrupted installation is done again.
.venv/demo: .venv/python $(STAMP_SOURCES)
	@echo "Installing eckart ..."
	@$(PIP_INSTALL) '.[demo]'
	@touch $@

.venv/dev: .venv/python $(STAMP_SOURCES)
	@echo "Installing eckart and the tools to work on it ..."
	@$(PIP_INSTALL) '.[dev]'
	@touch $@ .venv/demo

.venv/torch: .venv/python $(STAMP_SOURCES)
	@echo "Installing eckart, the tools to work on it, and PyTorch and PEFT, with which tests compare ..."
	@$(PIP_INSTALL) '.[dev,torch,adapters]'
	@touch $@ .venv/dev .venv/demo

.venv/fuzz: .venv/torch
	@echo "Installing the fuzzer ..."
	@$(PIP_INSTALL) '.[dev,torch,adapters,fuzz]'
	@touch $@

demo: .venv/demo ## Factor the worked example and a photograph, and say where the report is
	@rm -f demo/*.look.png # of `make look`: eckart replaces no folder with what it did not write
	@$(BIN)/eckart demo --output demo --force

# The check has one core only, so the tests begin beside it.
test: .venv/torch ## Everything that must hold: style, types, layers, tests (EXAMPLES=1000 of each law)
	@$(MAKE) --no-print-directory -j2 check laws

laws:
	@$(ONE_THREAD) EXAMPLES=$(or $(EXAMPLES),50) $(BIN)/python -m pytest -q -n auto

test-core: .venv/dev check ## The same without PyTorch
	@$(ONE_THREAD) $(BIN)/python -m pytest -q -n auto -m "not torch"

check: .venv/dev ## Style, types and layers only
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-cache > .venv/lint-imports.log || { cat .venv/lint-imports.log; exit 1; }
	@$(BIN)/basedpyright --level error

format: .venv/dev ## Rewrite the code in the project's style
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

look: .venv/dev demo ## Open the demo's reports in headless Chromium: no console error, no request, a picture
	@$(BIN)/python tests/look.py demo

bench: .venv/torch ## Measure against the peers; prints the tables of docs/benchmarks.md
	@for script in gradient_epoch descent low_rank certificates reduce; do \
		env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python benchmarks/$$script.py || exit 1; \
		echo; \
	done

bench-spectra: .venv/torch ## Attack the solvers with drawn spectra, then search for the worst: DRAWS=10000
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python benchmarks/fooled.py
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE PYTHONPATH=tests $(BIN)/python benchmarks/any_spectrum.py \
		--draws $(or $(DRAWS),10000) --search 100

# RXNFP and REACTIONS are folders with the inputs of reactions.py, which says how to get them;
# MERGEKIT is the program mergekit-extract-lora in an environment of its own.
bench-adapters: .venv/torch ## Measure extraction: RXNFP=... REACTIONS=... MERGEKIT=... (all may be left out)
	@for script in killed.py "reactions.py --models '$(RXNFP)' --data '$(REACTIONS)'" \
		"adapters.py $(if $(MERGEKIT),--mergekit '$(MERGEKIT)')"; do \
		eval "env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python -W ignore benchmarks/$$script"; \
		echo; \
	done

# INPUTS is a folder with the inputs that finetune_inputs.py names; RESULTS is a file that keeps what was run.
bench-finetune: .venv/torch ## Measure fine-tuning beside PEFT, some hours: INPUTS=... RESULTS=...
	@PYTHONPATH=tests $(BIN)/python -W ignore benchmarks/finetune_gauge.py
	@$(if $(INPUTS),$(BIN)/python -W ignore benchmarks/finetune.py --inputs '$(INPUTS)' \
		--results '$(or $(RESULTS),.venv/finetune.jsonl)' \
		&& $(BIN)/python -W ignore benchmarks/finetune_speed.py --inputs '$(INPUTS)',echo "No INPUTS: only the gauge.")

bench-kills: .venv/torch ## Kill every command that writes 40 times at random moments: KILLS=40
	@$(ONE_THREAD) PYTHONPATH=tests $(BIN)/python -P benchmarks/kills.py --kills $(or $(KILLS),40)

bench-cluster: .venv/torch ## Measure a Dask cluster beside Dask's own SVD, and kill its workers: KILLS=20
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python -W ignore benchmarks/cluster.py
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python -W ignore benchmarks/cluster_ratings.py
	@$(BIN)/python -W ignore benchmarks/scale_plan.py
	@PYTHONPATH=tests $(BIN)/python -W ignore benchmarks/cluster_kills.py --kills $(or $(KILLS),20)

bench-models: .venv/torch ## Try every model type of transformers and write docs/models.md
	@$(BIN)/python -W ignore benchmarks/architectures.py --write

# RATINGS is an .npz with the folds that ratings.py describes; PEER is a Python with implicit and irspack;
# TABLES are three tables, of ratings, users and items, for attributes.py.
bench-recommend: .venv/torch ## Measure recommending: RATINGS=... PEER=... TABLES=... (all may be left out)
	@$(if $(RATINGS),$(BIN)/python benchmarks/ratings.py $(RATINGS),echo "No RATINGS: the folds are left out.")
	@$(BIN)/python benchmarks/rankings.py $(if $(RATINGS),--splits $(RATINGS)) $(if $(PEER),--peer $(PEER))
	@$(if $(TABLES),$(BIN)/python benchmarks/attributes.py $(TABLES),echo "No TABLES: attributes are left out.")
	@$(BIN)/python benchmarks/recommend_scale.py

# PEERS is the Python of an environment with implicit, irspack and cmfrec.
bench-known: .venv/dev ## Measure known entries: PEERS=PYTHON
	@$(if $(PEERS),$(BIN)/python benchmarks/recommender_speed.py --peers '$(PEERS)',echo "Without PEERS=PYTHON no speed is measured.")

# READERS are names that `benchmarks/fuzz.py --list` prints, such as 'npz Parquet'.
bench-fuzz: .venv/fuzz ## Read files that are wrong, an hour in all: SECONDS=200 for each reader, READERS=...
	@PYTHONPATH=tests $(BIN)/python -P -W ignore benchmarks/fuzz.py --seconds $(or $(SECONDS),200) \
		--faults .venv/faults $(if $(READERS),--readers $(READERS))

build: .venv/dev ## Build the wheel and try it in an empty environment
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@rm -rf .venv/wheel-test && $(BIN)/python -m venv .venv/wheel-test
	@.venv/wheel-test/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/eckart-*.whl
	@.venv/wheel-test/bin/eckart --version
	@.venv/wheel-test/bin/eckart factor examples/article.csv --rank 2 --output .venv/wheel-test/article.npz

clean: ## Remove what make made
	@rm -rf .venv dist demo .pytest_cache .ruff_cache .hypothesis
