# `make help` lists the targets. Each makes the virtual environment that it needs; nothing is installed outside it.

PYTHON  ?=
VENV    := .venv
VENV_COLAB := .venv-colab
VENV_LOCK  := .venv-lock
VENV_BENCH := .venv-bench
COLAB   ?= tests/reference/colab-constraints.txt
RESULTS ?= results
BUILD   := build
CASES   ?= 16
SEED    ?= 1
NAME    ?= totalsegmentator-small
OUT     ?= data/$(NAME)
LOCK_OPTIONS ?=
SOLUTIONS ?= yes
PORT    ?= 8000

# The tests whose subject computes with Keras: they run once more under JAX.
TESTS_OF_BACKEND := tests/core/test_networks.py tests/core/test_losses.py tests/core/test_augmentation.py \
                    tests/core/test_training.py tests/core/test_inference.py tests/core/test_device.py \
                    tests/course/test_costs.py::test_xla_counts_nearly_the_same
PYTEST := -m pytest -q --durations=10
# A process per core, each with one thread, so that none takes the core of another; a file's tests stay together.
SIDE_BY_SIDE := -n logical --maxprocesses 4 --dist loadfile
ONE_THREAD   := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1
# For networks as small as those of the tests, XLA would compile five times longer than it could ever save; and what one
# test had compiled serves the others.
JAX          := KERAS_BACKEND=jax XLA_FLAGS=--xla_backend_optimization_level=0 JAX_COMPILATION_CACHE_DIR=$(BUILD)/jax \
                JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
# Every notebook runs again, its cells in their order, and its outputs are compared with the stored ones. A cell may take
# twenty minutes, on a slow, busy machine.
NBVAL := $(PYTEST) -p no:randomly -p nbval @tests/nbval.args
# Two at a time, those that train longest first: the last one should not run alone for minutes.
LONGEST := $(foreach chapter,11 08 05 03 07 04,$(wildcard notebooks/$(chapter)_*.ipynb))
TWO_NOTEBOOKS := $(SIDE_BY_SIDE) --maxprocesses 2 --no-loadscope-reorder $(LONGEST) notebooks
# As the stored outputs were made: pictures inline, the profile of a machine without a GPU.
LIKE_STORED := env -u MPLBACKEND ORGANSEG_PROFILE=fast

# TensorFlow's C++ log lines stay silent; Matplotlib draws into files, without a screen.
export TF_CPP_MIN_LOG_LEVEL ?= 3
export MPLBACKEND := Agg
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PY       := $(VENV)/bin/python
ORGANSEG := $(PY) -m organseg
READY       := $(VENV)/.ready
READY_COLAB := $(VENV_COLAB)/.ready
READY_BENCH := $(VENV_BENCH)/.ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help course test unit test-colab test-here notebooks pages lab student student-branch results book serve pdf slides map \
        pictures situations address demo \
        data lint format figures-check gpu-check bench mutants ledger weights gallery lock clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

course: $(READY) ## run every notebook on this machine, build the book; says where to open it
	$(PY) tools/notebooks.py run --into $(BUILD)/notebooks
	@$(MAKE) --no-print-directory book

test: $(READY) ## run the tests, those of the networks under TensorFlow and JAX, and every notebook
	$(ONE_THREAD) $(PY) $(PYTEST) $(SIDE_BY_SIDE) --junitxml=$(BUILD)/tests.xml
	$(PY) tools/ledger.py compare $(BUILD)/tests.xml
	$(ONE_THREAD) $(JAX) $(PY) $(PYTEST) $(SIDE_BY_SIDE) $(TESTS_OF_BACKEND)
	$(LIKE_STORED) $(PY) $(NBVAL) $(TWO_NOTEBOOKS)

unit: $(READY) ## run the tests and the examples of the core alone; says which lines none of them ran
	$(ONE_THREAD) $(PY) $(PYTEST) $(SIDE_BY_SIDE) --cov --doctest-modules lib/organseg/*.py lib/organseg/device tests/core

test-colab: $(READY_COLAB) ## run the same tests with the versions that Google Colab carries
	$(ONE_THREAD) PYTHONPATH=$(CURDIR)/lib $(VENV_COLAB)/bin/python $(PYTEST) $(SIDE_BY_SIDE)
	$(ONE_THREAD) PYTHONPATH=$(CURDIR)/lib $(JAX) $(VENV_COLAB)/bin/python $(PYTEST) $(SIDE_BY_SIDE) $(TESTS_OF_BACKEND)
	PYTHONPATH=$(CURDIR)/lib $(LIKE_STORED) $(VENV_COLAB)/bin/python $(NBVAL) $(TWO_NOTEBOOKS)

test-here: ## run every notebook with the Python at hand, e.g. inside Colab's image; adds organseg and nbval to it
	@$(FIND_PYTHON); set -x; \
	$$python -m pip install -q . 'nbval>=0.11' && $(LIKE_STORED) $$python $(NBVAL) notebooks

notebooks: $(READY) ## make and run the notebooks whose code changed (NAMES="02 05": these)
	$(PY) tools/notebooks.py run $(NAMES)

pages: $(READY) ## make the pages for instructors, from the chapters and book/schedule.toml (`make book` does so too)
	$(PY) tools/teaching.py

lab: $(READY) ## open the notebooks in JupyterLab, which does not list the texts that they are made from
	$(VENV)/bin/jupyter lab --notebook-dir=notebooks --ContentsManager.hide_globs='*.py' --ContentsManager.hide_globs=__pycache__

student: $(READY) ## write the course without solutions into build/student, and run each notebook there
	$(PY) tools/students.py run $(BUILD)/student

student-branch: $(READY) ## publish it on the branch `student`, without a run (TO=git@github.com:YOU/class.git: in another repository)
	$(PY) tools/students.py publish $(BUILD)/student $(TO)

results: $(READY) ## join the records of a class (FOLDER=records) into one table, build/results.csv
	@$(if $(FOLDER),,echo "found no folder; say make results FOLDER=records: the files that students handed in"; exit 2)
	$(PY) tools/results.py "$(FOLDER)" --out $(BUILD)/results.csv

book: $(if $(filter no,$(SOLUTIONS)),$(READY),pages) ## build the book from the stored outputs (SOLUTIONS=no: for students, without solutions)
	@rm -rf $(BUILD)/book
	$(if $(filter no,$(SOLUTIONS)),$(PY) tools/students.py write $(BUILD)/student)
	$(VENV)/bin/jupyter-book build $(if $(filter no,$(SOLUTIONS)),$(BUILD)/student,.) --path-output $(BUILD)/book -W --keep-going -q
	$(PY) tools/try_it.py $(BUILD)/book/_build/html
	@echo "The book: $(CURDIR)/$(BUILD)/book/_build/html/index.html (open it in a browser; \`make serve\` opens it from this machine,"
	@echo "as the page 'Try it' needs it)"

serve: ## open the built book from this machine, where the page that runs the network works (PORT=8000)
	@test -f $(BUILD)/book/_build/html/index.html || $(MAKE) --no-print-directory book
	$(PY) tools/serve.py $(BUILD)/book/_build/html --port $(PORT)

pdf: book ## the whole book as one PDF, by Chromium (SOLUTIONS=no: for students, without solutions)
	$(PY) tools/pdf.py $(BUILD)/book/_build/html $(BUILD)/organseg.pdf

slides: $(READY) ## make slides from the notebooks' figures, a deck per chapter (NAMES="02 05": these)
	@rm -rf $(BUILD)/slides
	$(PY) tools/slides.py $(BUILD)/slides $(NAMES)
	@echo "The slides: $(CURDIR)/$(BUILD)/slides/html/index.html (open it in a browser)"

pictures: book ## draw the pictures of the README, of the book's first page and of its page about real scans
	$(PY) tools/pictures.py
	$(PY) tools/pictures_of_settings.py

map: $(READY) ## draw the picture of the library's rooms, from its code
	$(PY) tools/map.py

situations: $(READY) ## run what can go wrong with people's files, and write the book's page on it
	PYTHONPATH=tests/command $(PY) tests/command/situations.py

address: $(READY) ## set the repository's address: make address URL=https://github.com/YOU/organseg (REF=v0.1.0: a tag)
	@$(if $(filter undefined,$(origin URL)),echo "found no address; say make address URL=https://github.com/YOU/organseg (URL= takes it away)"; exit 2)
	$(PY) tools/notebooks.py address "$(URL)" $(REF)

demo: $(READY) ## make phantom cases, train, predict, score, from the command line; says where the results are
	$(ORGANSEG) phantom $(RESULTS)/data --cases $(CASES) --seed $(SEED)
	$(ORGANSEG) train $(RESULTS)/data --out $(RESULTS)/run --profile fast --test 4 $(if $(wildcard $(RESULTS)/run/run.json),--resume)
	$(ORGANSEG) predict $(RESULTS)/run $(RESULTS)/data --out $(RESULTS)/predictions
	$(ORGANSEG) evaluate $(RESULTS)/data $(RESULTS)/predictions --run $(RESULTS)/run --out $(RESULTS)/table.csv
	@echo "The results are in $(RESULTS)/: cases in data/, the trained network and its curves in run/, predicted labels and"
	@echo "pictures in predictions/, scores in table.csv, and pictures of prediction beside truth in table_CASE.png."

data: $(READY) ## prepare a data set: make data NAME=... [OUT=data/...] [OPTIONS="--limit 5"]; NAME= lists them
	$(PY) data_scripts/prepare.py $(if $(NAME),$(NAME) --out $(OUT),--list) $(OPTIONS)

lint: $(READY) ## check the code and its format (ruff), and the workflows
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m check_jsonschema --builtin-schema vendor.github-workflows $(wildcard .github/workflows/*.yml)

format: $(READY) ## put the code into that format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

figures-check: $(READY) ## the long measurements, each with pass or fail
	$(PY) benchmarks/figures_check.py

gpu-check: $(READY) ## what a GPU makes of the library, in eight minutes: steps, a case, a training, PyTorch beside them
	KERAS_BACKEND=jax $(PY) benchmarks/gpu_check.py
	$(PY) tools/gpus.py

bench: $(READY) $(READY_BENCH) ## the library beside PyTorch, MONAI, TorchIO, batchgeneratorsv2 (OPTIONS=--quick: in minutes)
	$(PY) benchmarks/bench.py $(OPTIONS)

mutants: $(READY) ## plant errors in the library and see that the tests find them
	$(PY) tests/mutants.py

ledger: $(READY) ## make the page on the paper's facts; runs those of its tests and errors that are not on record
	$(PY) tools/ledger.py make

weights: $(READY) ## train the weights that come with the library (with ../shared: three hours on two cores)
	$(PY) benchmarks/train_weights.py
	$(PY) benchmarks/weights_for_patients.py --out lib/organseg/weights
	$(PY) benchmarks/train_body_level.py

gallery: $(READY) ## train the broken networks of chapter 12's failure gallery
	$(PY) benchmarks/broken_runs.py

lock: ## choose the exact versions in requirements.lock anew (LOCK_OPTIONS=--upgrade: the newest)
	@$(FIND_PYTHON); test -x $(VENV_LOCK)/bin/uv || \
	  { $$python -m venv $(VENV_LOCK) && $(VENV_LOCK)/bin/python -m pip install -q uv; }
	$(VENV_LOCK)/bin/uv pip compile pyproject.toml --extra test --extra course --extra book --universal --python-version 3.11 \
	  --fork-strategy fewest --custom-compile-command "make lock" -q -o requirements.lock $(LOCK_OPTIONS)

clean: ## remove what the programs made (results, caches), not the environments
	rm -rf $(RESULTS) build dist .pytest_cache .ruff_cache
	rm -f book/objectives.md book/schedule.md book/misconceptions.md
	find lib tests tools data_scripts -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the virtual environments too
	rm -rf $(VENV) $(VENV_COLAB) $(VENV_LOCK) $(VENV_BENCH)

# The first Python of the right age becomes $python in the shell; PYTHON=... chooses another.
define FIND_PYTHON
for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && break; python=; \
done; \
test -n "$$python" || { echo "No Python 3.11, 3.12 or 3.13 found; name one with: make PYTHON=/path/to/python ..."; exit 1; }
endef

# uv sets up in a third of pip's time; where it cannot be had, pip does the same.
INSTALL = $(1) -m pip install -q uv && $(1) -m uv pip install -q --compile-bytecode --python $(1) $(2) || $(1) -m pip install -q $(2)

# The environments: .ready is written last, so an interrupted installation is taken up again.
$(READY): requirements.lock pyproject.toml
	@$(FIND_PYTHON); \
	echo "Setting up $(VENV) with $$($$python --version): some minutes, once."; \
	$$python -m venv $(VENV)
	@$(call INSTALL,$(PY),-r requirements.lock)
	@$(PY) -m pip install -q --no-deps -e .
	@touch $@

$(READY_COLAB): pyproject.toml $(wildcard $(COLAB))
	@test -f "$(COLAB)" || { echo "No list of Colab's versions at $(COLAB); name one with: make test-colab COLAB=FILE"; exit 1; }
	@$(FIND_PYTHON); \
	echo "Setting up $(VENV_COLAB) with $$($$python --version) and the versions in $(COLAB): some minutes, once."; \
	$$python -m venv $(VENV_COLAB)
	@$(call INSTALL,$(VENV_COLAB)/bin/python,-c "$(COLAB)" '.[test]')
	@# Like Colab: all that organseg needs, and not organseg; the tests take it from lib/.
	@$(VENV_COLAB)/bin/python -m pip uninstall -q -y organseg
	@touch $@

$(READY_BENCH): benchmarks/requirements.txt
	@$(FIND_PYTHON); \
	echo "Setting up $(VENV_BENCH) with $$($$python --version): some minutes, once."; \
	$$python -m venv $(VENV_BENCH)
	@$(call INSTALL,$(VENV_BENCH)/bin/python,-r benchmarks/requirements.txt)
	@touch $@
