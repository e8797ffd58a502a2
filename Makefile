# SPDX-License-Identifier: GPL-3.0-or-later
SEMCOM := .venv/bin/semcom
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench torture grc doctor clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: ## install what is missing (GNU Radio from the system's packages, the rest in .venv)
	@scripts/bootstrap.sh

demo: setup ## send pictures over a simulated air and write demo/report.html
	@$(SEMCOM) demo $(ARGS)

test: setup ## run all tests (ARGS="-k modem" for some)
	@.venv/bin/python -m pytest $(ARGS)

bench: setup ## measure the speed of every room
	@$(SEMCOM) bench $(ARGS)

torture: setup ## what radios, air, disks and strangers do to a receiver, at full size (hours; ARGS="--scale 0.02": minutes)
	@.venv/bin/python scripts/torture $(ARGS)

grc: setup ## open the loopback flowgraph in GNU Radio Companion
	@$(SEMCOM) grc $(or $(ARGS),flowgraphs/loopback.grc)

doctor: setup ## say what is wrong with this machine, and the cure
	@$(SEMCOM) doctor $(ARGS)

clean: ## remove the environment and everything generated
	rm -rf .venv build dist demo *.egg-info .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
