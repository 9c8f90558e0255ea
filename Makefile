# Everything that is done with this project by hand or by CI. `make` alone shows the targets.
# On a bare machine each target makes the environment first; VENV and PYTHON choose its folder and its Python.

VENV ?= .venv
BIN := $(VENV)/bin
# An environment that can fill environments, what running needs in it, and what developing needs as well.
INSTALLER := $(VENV)/installer
RUNNABLE := $(VENV)/runnable
INSTALLED := $(VENV)/installed
# What is installed has its bytecode: without it each start of a process would compile what it imports.
COMPILED := $(VENV)/compiled
READY := $(INSTALLED) $(COMPILED)
# The folder of the files that pin every package.
LOCKS ?= .
# What an installation depends on.
DISTRIBUTIONS := setup.cfg setup.py pyproject.toml clients/celery/pyproject.toml tools/install.sh $(wildcard $(LOCKS)/requirements*.lock)
# A second environment, of the lowest versions that setup.cfg allows.
LOWEST := $(VENV)-lowest
# And one of the newest.
NEWEST := $(VENV)-newest
ARGS ?=
# Test files that run at the same time, each with its own servers. Tests wait about as long as they compute: with five
# on two cores, all of them waited for a processor, and time limits passed.
TESTERS ?= 3
# Files begin in the order of tests/turns.py.
IN_PARALLEL := --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder

# What `make test` needs beside Python.
SERVERS := redis rabbitmq chromium promtool docker-compose pgbouncer nodejs npm golang faketime python3-venv

export VENV LOCKS

.DEFAULT_GOAL := help
.PHONY: help install run demo test test-quick test-long flaky model coverage check lowest records manifests typescript libraries docs pictures screenshots bench chaos ha hostile lock newest image client format clean

help: ## Show the targets
	@echo 'usage: make TARGET [ARGS="..."]'
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  %-12s %s\n", $$1, $$2 }'

install: $(READY) ## Make the environment and install everything into it

run: $(COMPILED) ## Run everything on this machine (ARGS="--port 8081")
	@tools/servers.sh redis
	@exec $(BIN)/ava up $(ARGS)

demo: $(COMPILED) ## Run one job from its trigger to its final record
	@tools/servers.sh redis
	@exec $(BIN)/ava demo $(ARGS)

test: $(READY) ## Run every test, against real servers (ARGS="-k cancel")
	@tools/servers.sh $(SERVERS)
	@$(BIN)/python -m pytest $(IN_PARALLEL) $(ARGS)

test-quick: $(READY) ## Run the unit tests, and the integration tests on Redis alone; at most three minutes on two cores
	@tools/servers.sh redis
	@$(BIN)/python -m pytest $(IN_PARALLEL) --quick tests/unit tests/integration $(ARGS)

test-long: $(READY) ## Run the tests whose promises `make test` keeps by briefer ones
	@tools/servers.sh redis chromium nodejs npm golang jdk python3-venv
	@$(BIN)/python -m pytest $(IN_PARALLEL) -m long $(ARGS)

flaky: $(READY) ## Run every test again and again, each round with a new seed, and list what failed (ARGS="--rounds 20 -k cancel")
	@tools/servers.sh $(SERVERS)
	@$(BIN)/python -m tools.flaky $(IN_PARALLEL) $(ARGS)

coverage: $(READY) ## Run every test, one file at a time, and measure the coverage of all their processes
	@tools/servers.sh $(SERVERS)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(ARGS)

check: $(INSTALLED) $(VENV)/dashboard/complete ## Check style, types, sizes, scripts, manifests, docs and the law of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck tools/*.sh .ci/run
	@$(BIN)/python -m tools.manifests --check
	@$(BIN)/python -m tools.client_records --check
	@$(BIN)/python -m tools.client_methods --check
	@$(BIN)/python -m tools.typescript_methods --check
	@$(BIN)/python -m tools.command_snapshot --check
	@$(BIN)/python -m tools.statements
	@$(BIN)/python -m tools.size
	@$(BIN)/python -m tools.pages
	@$(BIN)/python -m tools.dashboard check

records: $(INSTALLED) ## Write the records, methods and commands that derive from the API's schemas and operations
	@$(BIN)/python -m tools.client_records
	@$(BIN)/python -m tools.client_methods
	@$(BIN)/python -m tools.typescript_methods
	@$(BIN)/python -m tools.command_snapshot

typescript: $(INSTALLED) ## Build and pack clients/typescript; needs npm
	@$(BIN)/python -m tools.openapi > clients/typescript/openapi.json
	@cd clients/typescript && npm install --no-audit --no-fund && npm run generate && npm run build && npm pack

libraries: $(VENV)/dashboard/complete ## Unpack the dashboard's pinned npm packages into ava/api/static/libraries; needs npm
	@$(BIN)/python -m tools.dashboard libraries

docs: $(INSTALLED) ## Build the site of docs/ into build/site, to be read from files
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pictures: $(READY) ## Take the pictures of the dashboard in docs/images from a system with realistic jobs
	@tools/servers.sh redis chromium
	@$(BIN)/python -m pytest --timeout=600 tests/acceptance/screenshots.py -k picture $(ARGS)

screenshots: $(READY) ## Take every page, large and small, light and dark, into build/screenshots
	@tools/servers.sh redis chromium
	@$(BIN)/python -m pytest --timeout=900 tests/acceptance/screenshots.py -k large_and_small $(ARGS)

manifests: $(INSTALLED) ## Write deploy/kubernetes from the chart in deploy/helm; needs helm or Go
	@$(BIN)/python -m tools.manifests

lowest: $(LOWEST)/installed ## Run the unit tests and every process kind on the lowest versions that setup.cfg allows
	@tools/servers.sh redis
	@tools/lowest.sh $(LOWEST)

chaos: $(READY) ## Inject every fault under load on both brokers and check the outcome; half an hour (ARGS="--fault child --broker redis")
	@tools/servers.sh redis rabbitmq faketime
	@$(BIN)/python -m chaos $(ARGS)

ha: $(READY) ## Let servers and processes fail over under load and check the outcome; 20 minutes (ARGS="--fault Sentinel --jobs 500")
	@tools/servers.sh redis rabbitmq pgbouncer
	@$(BIN)/python -m chaos.ha $(ARGS)

hostile: $(READY) ## Run an honest tenant beside one that attacks in every known way; seven minutes (ARGS="--seconds 30")
	@tools/servers.sh redis
	@$(BIN)/python -m chaos.tenants $(ARGS)

model: $(READY) ## Run random histories of jobs against the model of their moves (ARGS="--seconds 600 --seed 7")
	@$(BIN)/python -m tests.integration.model $(ARGS)

bench: $(READY) ## Measure this system beside a baseline, on servers of the bench's own (ARGS="drain --quick")
	@tools/servers.sh redis rabbitmq
	@$(BIN)/python -m bench $(ARGS)

lock: ## Lock what setup.cfg needs, for every environment and the image, with hashes; locked versions stay where they may
	@tools/lock.sh

newest: ## Lock the newest versions that setup.cfg allows, if every test passes on them
	@LOCKS=build/newest tools/lock.sh --upgrade
	@$(MAKE) test VENV=$(NEWEST) LOCKS=build/newest
	@mv build/newest/requirements* .

image: ## Build the image and check the containers of docker-compose.yml; needs docker or podman
	@tools/image.sh

client: $(INSTALLED) ## Build the wheels of ava-jobs-client, ava-django and ava-celery into dist/
	@rm -rf clients/python/build ava_jobs_client.egg-info clients/django/build clients/django/ava_django.egg-info clients/celery/build
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist ./clients/python
	@$(BIN)/python -m pip wheel --quiet --no-deps --ignore-requires-python --wheel-dir dist ./clients/django
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist ./clients/celery

format: $(INSTALLED) $(VENV)/dashboard/complete ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@$(BIN)/python -m tools.dashboard format

clean: ## Remove the environments and the tools' files, but no data
	rm -rf $(VENV) $(LOWEST) $(NEWEST) build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(INSTALLER): tools/environment.sh
	@tools/environment.sh
	@touch $@

$(RUNNABLE): $(INSTALLER) $(DISTRIBUTIONS)
	@LAYERS="requirements.lock requirements-run.lock" tools/install.sh
	@touch $@

$(INSTALLED): $(INSTALLER) $(DISTRIBUTIONS)
	@tools/install.sh
	@touch $(RUNNABLE) $@

# The npm packages beside those of Python, as tests/npm.py installs them.
$(VENV)/dashboard/complete: tools/dashboard/package-lock.json $(INSTALLER)
	@tools/servers.sh nodejs npm
	@rm -rf $(@D) && mkdir -p $(@D) && cp tools/dashboard/package.json tools/dashboard/package-lock.json $(@D)
	@cd $(@D) && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

$(COMPILED): $(RUNNABLE)
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

$(LOWEST)/installed: $(INSTALLER) $(DISTRIBUTIONS) tools/lowest_constraints.py
	@$(BIN)/python tools/lowest_constraints.py >$(VENV)/lowest_constraints.txt
	@VENV=$(LOWEST) INSTALLER=$(VENV) EXTRAS=embedded,flower,oidc,otel,test CONSTRAINTS=$(VENV)/lowest_constraints.txt tools/install.sh
	@touch $@
