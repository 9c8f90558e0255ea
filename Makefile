# Everything that is done with this project by hand or by CI. `make` alone shows what there is.
# On a bare machine each of these makes its own environment first; VENV and PYTHON choose where and with what.

VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
ARGS ?=
# Files of tests that run side by side, each with servers of its own; most of them wait more than they work.
TESTERS ?= 3

export VENV

.DEFAULT_GOAL := help
.PHONY: help install run demo test coverage check schema bench chaos image format clean

help: ## Show what there is
	@echo 'usage: make TARGET [ARGS="..."]'
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  %-10s %s\n", $$1, $$2 }'

install: $(INSTALLED) ## Make the environment and install everything into it

run: $(INSTALLED) ## Run everything on this machine (ARGS="--port 8081")
	@tools/servers.sh redis
	@exec $(BIN)/ava up $(ARGS)

demo: $(INSTALLED) ## Run one job from its trigger to its final record
	@tools/servers.sh redis
	@exec $(BIN)/ava demo $(ARGS)

test: $(INSTALLED) ## Run every test, against real servers (ARGS="-k cancel")
	@tools/servers.sh redis rabbitmq chromium promtool docker-compose
	@$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile $(ARGS)

coverage: $(INSTALLED) ## The same, one by one and slower, measuring what all the processes of the tests have run
	@tools/servers.sh redis rabbitmq chromium promtool docker-compose
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(ARGS)

check: $(INSTALLED) ## Check style, types, scripts and the law of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck tools/*.sh .ci/run

schema: $(INSTALLED) ## Write ava/store/schema.sql from a freshly migrated database
	@$(BIN)/python -m tools.schema

chaos: $(INSTALLED) ## Break everything under load on both brokers, and count, half an hour (ARGS="--fault child --broker redis")
	@tools/servers.sh redis rabbitmq faketime
	@$(BIN)/python -m chaos $(ARGS)

bench: $(INSTALLED) ## Measure us beside a baseline, on servers of our own (ARGS="drain --quick")
	@tools/servers.sh redis rabbitmq
	@$(BIN)/python -m bench $(ARGS)

image: ## Build the image, and prove of its containers what docker-compose.yml promises; wants docker or podman
	@tools/image.sh

format: $(INSTALLED) ## Bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment and what tools have left, but no data
	rm -rf $(VENV) build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(INSTALLED): setup.cfg setup.py pyproject.toml tools/environment.sh
	@tools/environment.sh
	@touch $(INSTALLED)
