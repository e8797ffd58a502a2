# SPDX-License-Identifier: GPL-3.0-or-later
SEMCOM := .venv/bin/semcom
ARGS ?=
# processes that share the quick tests: some wait while others compute
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast fuzz types docs bench torture grc doctor clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

setup: ## install what is missing (GNU Radio from the system's packages, the rest in .venv)
	@scripts/bootstrap.sh

demo: setup ## send pictures over a simulated air and write demo/report.html
	@$(SEMCOM) demo $(ARGS)

test: setup ## run all tests, in two processes (ARGS="-k modem" for some)
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

test-fast: setup ## run all tests but the slow ones, in WORKERS=3 processes
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m "not slow" -n $(WORKERS) --dist loadscope $(ARGS)

fuzz: setup ## run the tests of properties with inputs never tried before (again and again, as long as you like)
	@.venv/bin/python -m pytest --hypothesis-profile fuzz -m hypothesis $(ARGS)

types: setup ## check the types of what pyproject.toml lists
	@.venv/bin/python -m mypy $(ARGS)

docs: setup ## build the pages and the API reference into site/ (tools: .venv/bin/pip install -e '.[docs]')
	@.venv/bin/python -c 'import sphinx, myst_parser, autoapi' || \
	  { echo "make docs needs its tools: .venv/bin/python -m pip install -e '.[docs]'" >&2; exit 1; }
	@.venv/bin/python -m sphinx -q -W --keep-going -b html docs site $(ARGS)
	@echo site/index.html

bench: setup ## measure the speed of every room
	@$(SEMCOM) bench $(ARGS)

torture: setup ## what radios, air, disks and untrusted input do to a receiver, at full size (hours; ARGS="--scale 0.02": minutes)
	@.venv/bin/python scripts/torture $(ARGS)

grc: setup ## open the loopback flowgraph in GNU Radio Companion
	@$(SEMCOM) grc $(or $(ARGS),flowgraphs/loopback.grc)

doctor: setup ## say what is wrong with this machine, and the cure
	@$(SEMCOM) doctor $(ARGS)

clean: ## remove the environment and everything generated
	rm -rf .venv build dist demo site docs/api *.egg-info .pytest_cache .hypothesis .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
