.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
PORT ?= 8080
SIMULATOR_PORT ?= 8090
IDENTITY_PORT ?= 8091
PEOPLE ?=
STATE ?= .state
COMPOSE ?= docker compose
TESTS ?=
TIMES ?= 10
MINUTES ?= 30
HISTORIES ?= 0
DELIVERIES ?= 0
KILLS ?= 0
# Stages at the same time, at most: a fourth and further ones begin only while the processors have time for them.
AT_ONCE ?= 3

# Services start hundreds of times in a test run: their modules are compiled once.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
INSTALLED := .venv/.installed
REPORTS := .cache/reports
DISTRIBUTIONS := libs/contracts libs/servicekit libs/pco-client libs/synckit libs/pco-simulator \
	$(sort $(wildcard services/*)) deploy/local
CONSOLE := services/webhook-gateway

INTEGRATED := $(wildcard libs/*/tests/integration services/*/tests/integration deploy/local/tests/integration)
# Files of people-sync that are stages of their own, because they last as long as other services' tests together.
# The others are three stages by the first letters of their names.
PEOPLE_SYNC := services/people-sync/tests/integration
LONG := crashes refresh_crashes plan_crashes undo_crashes run_story record_engine decisions undo kept_out joined meanwhile strays
LONG_FILES := $(LONG:%=$(PEOPLE_SYNC)/test_%.py)
LETTERS := a-g h-o p-z
OTHERS := $(filter-out people-sync,$(notdir $(patsubst %/tests/integration,%,$(INTEGRATED))))
INTEGRATION := $(LETTERS:%=integration-people-sync-%) $(patsubst %,integration-%,$(LONG) $(OTHERS))
# What takes longest goes first, so that no stage is left alone at the end; what computes stands beside what waits.
LONGEST := $(patsubst %,integration-%,$(LETTERS:%=people-sync-%)) browser integration-joined integration-strays e2e-stories \
	$(patsubst %,integration-%,servicekit crashes calendar-sync decisions meanwhile refresh_crashes plan_crashes local)
# These compute and have no scaled times: they run behind the others, what a look shows first.
BEHIND := lint imports console docs unit types e2e-calls \
	$(patsubst %,integration-%,conflict-service pco-simulator synckit)
STAGES := $(BEHIND) $(LONGEST) $(filter-out $(LONGEST) $(BEHIND),$(INTEGRATION)) containers
CALLS := tests/e2e/test_callers.py tests/e2e/test_document.py

PYTEST = $(BIN)/pytest --junitxml=$(REPORTS)/$@.xml
CHECKS = $(BIN)/python -m local_stack.checks --reports=$(REPORTS) --make="$(MAKE_COMMAND)" --at-once=$(AT_ONCE) \
	--behind="$(BEHIND)"

##@ Use

help: ## what can be done here
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## put everything into .venv (the other targets do it by themselves)

run: $(INSTALLED) ## start everything: make run PORT=8080 SIMULATOR_PORT=8090 IDENTITY_PORT=8091 PEOPLE=1000
	@exec $(BIN)/python -m local_stack --state "$(STATE)" --port="$(PORT)" --simulator-port="$(SIMULATOR_PORT)" \
		--identity-port="$(IDENTITY_PORT)" \
		$(if $(PEOPLE),--people="$(PEOPLE)")

clean-run: $(INSTALLED) ## forget everything that `make run` kept
	@$(BIN)/python -m local_stack --state "$(STATE)" --forget

##@ Check

test: $(INSTALLED) ## everything this machine can check, and what it could not
	@$(CHECKS) $(STAGES)

lint: $(INSTALLED) ## ruff: rules and format; Spectral and AsyncAPI's parser: the API's documents
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .
	@$(INSTALL_NPM); if ! command -v npm >/dev/null; then \
		$(call skip,lint,npm is not installed, so the API's documents were not checked); \
	else \
		$(BIN)/python -m webhook_gateway.api.documents .cache/documents \
			&& $(NODE_MODULES) && cd $(CONSOLE) && npm run --silent documents; \
	fi

# One run for each distribution: the same names of test files occur in several.
types: $(INSTALLED) ## mypy --strict, one distribution after the other
	@set -e; for folder in $(DISTRIBUTIONS) deploy/docker tests/e2e tests/containers bench; do \
		found=$$(find $$folder -name '*.py' -not -path '*/node_modules/*' | head -n 1); \
		if [ -n "$$found" ]; then \
			paths=$$folder; \
			if [ -d $$folder/src ]; then \
				paths=$$folder/src; if [ -d $$folder/tests ]; then paths="$$paths $$folder/tests"; fi; fi; \
			echo "mypy $$paths"; $(BIN)/mypy --no-error-summary $$paths; \
		fi; \
	done

imports: $(INSTALLED) ## which package may import which
	@$(BIN)/lint-imports --no-logo

console: ## tsc --checkJs, eslint and unit tests for the console, where npm is there
	@$(INSTALL_NPM); if ! command -v npm >/dev/null; then \
		$(call skip,console,npm is not installed, so the console's JavaScript was not checked); \
	else \
		$(NODE_MODULES) && cd $(CONSOLE) && npm run --silent check; \
	fi

docs: $(INSTALLED) ## the documents as a site, in site/
	@mkdir -p $(REPORTS)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict >$(REPORTS)/site.txt 2>&1 || { cat $(REPORTS)/site.txt; exit 1; }
	@! grep -rhoE '<(script|link|img)[^>]* (src|href)="?https?:[^> ]*' site || { echo "A page loads something from elsewhere."; exit 1; }

unit: $(INSTALLED) ## decisions, in milliseconds, on nothing
	@mkdir -p $(REPORTS)
	@$(PYTEST) --ignore-glob='*/tests/integration' libs services deploy

# Each with servers of its own: some tests leave poison in topics on purpose.
integration: $(INSTALLED) ## on real PostgreSQL, real Kafka and the simulator
	@$(CHECKS) $(INTEGRATION)

$(LETTERS:%=integration-people-sync-%): integration-people-sync-%:
	@mkdir -p $(REPORTS)
	@$(PYTEST) -q $(filter-out $(LONG_FILES),$(wildcard $(PEOPLE_SYNC)/test_[$*]*.py))

$(patsubst %,integration-%,$(LONG) $(OTHERS)): integration-%:
	@mkdir -p $(REPORTS)
	@$(PYTEST) -q $(or $(filter %/test_$*.py,$(LONG_FILES)),$(filter %/$*/tests/integration,$(INTEGRATED)))

e2e: $(INSTALLED) ## the stories, with all services as processes
	@mkdir -p $(REPORTS)
	@$(PYTEST) tests/e2e -m "not browser"

# Two stages of `make test`: every call of the table, then what takes time to happen.
e2e-calls:
	@mkdir -p $(REPORTS)
	@$(PYTEST) -q $(CALLS)

e2e-stories:
	@mkdir -p $(REPORTS)
	@$(PYTEST) -q tests/e2e -m "not browser" $(CALLS:%=--ignore=%)

# Chromium from Debian's packages; on other systems any `chromium` in the path will do.
CHROMIUM := command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null
browser: $(INSTALLED) ## the stories in Chromium
	@mkdir -p $(REPORTS)
	@if ! { $(CHROMIUM); } && [ "$${CI:-}" = true ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Chromium is missing: apt-get install chromium-headless-shell"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium-headless-shell >/dev/null; \
	fi
	@if ! { $(CHROMIUM); }; then \
		$(call skip,browser,Chromium is not installed: run \`apt-get install chromium-headless-shell\` as root first); \
	else \
		if command -v npm >/dev/null; then $(NODE_MODULES); fi; \
		$(PYTEST) tests/e2e -m browser; \
	fi

containers: $(INSTALLED) ## the People story against docker-compose.yml, where an engine is there
	@mkdir -p $(REPORTS)
	@COMPOSE="$(COMPOSE)" $(PYTEST) tests/containers

flaky: $(INSTALLED) ## tests again and again beside a load of both cores: make flaky TESTS=path::name TIMES=20
	@$(BIN)/python -m local_stack.flaky --times="$(TIMES)" $(TESTS)

soak: $(INSTALLED) ## exhaustive forms, bounded: make soak MINUTES=30 DELIVERIES=1000000 KILLS=500
	@$(BIN)/python -m local_stack.soak --minutes="$(MINUTES)" --crashes=$(filter %/test_crashes.py,$(LONG_FILES)) \
		$(patsubst %,--kinds=%,$(filter %/test_crashes.py %/test_plan_crashes.py %/test_undo_crashes.py,$(LONG_FILES))) \
		--kinds=services/calendar-sync/tests/integration/test_crashes.py \
		--refreshes=$(filter %/test_refresh_crashes.py,$(LONG_FILES)) \
		--storm=tests/e2e/test_webhook_storm.py --deliveries="$(DELIVERIES)" --kills="$(KILLS)" \
		--day=$(PEOPLE_SYNC)/test_hint_soak.py \
		--told=tests/e2e/test_histories.py --told=services/calendar-sync/tests/integration/test_calendar_histories.py --histories="$(HISTORIES)" \
		services/people-sync/tests/unit/test_merge_laws.py services/people-sync/tests/unit/test_writes.py services/conflict-service/tests/unit/test_histories.py

bench: $(INSTALLED) ## measurements against floors and peers, one table
	@$(BIN)/python -m bench

##@ Change

format: $(INSTALLED) ## let ruff mend what it can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

pictures: $(INSTALLED) ## take the console's pictures in docs/pictures again, by the stories in Chromium
	@PICTURES=docs/pictures $(BIN)/pytest tests/e2e/test_browser_decisions.py -k "settled_by_keys"

contracts: $(INSTALLED) ## check messages and topics against their snapshots, and add new ones
	@$(BIN)/python -m contracts.gate

constraints: $(INSTALLED) ## pin what is installed now
	@$(BIN)/pip freeze --exclude-editable > constraints.txt

# axe looks at the pages of the browser's stories with them, too. Two stages may want them at the same time.
NODE_MODULES = ( cd $(CONSOLE) && $(ONE_AT_A_TIME) sh -c '[ node_modules -nt package.json ] \
	|| { npm install --no-package-lock --no-audit --no-fund --loglevel=error && touch node_modules; }' )
ONE_AT_A_TIME := $(if $(shell command -v flock),flock package.json)
INSTALL_NPM = if ! command -v npm >/dev/null && [ "$${CI:-}" = true ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	echo "npm is missing: apt-get install npm"; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends npm >/dev/null; fi

# -- inside ------------------------------------------------------------------------------------

define skip
mkdir -p $(REPORTS); echo "SKIPPED $(1): $(2)"; echo "$(1): $(2)" > $(REPORTS)/$(1).skipped
endef

$(INSTALLED): constraints.txt pyproject.toml $(wildcard libs/*/pyproject.toml services/*/pyproject.toml) deploy/local/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or later is needed as '$(PYTHON)': install it, or name it with make PYTHON=python3.12 ..."; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv || { \
		echo "Python's venv module is incomplete: on Debian and Ubuntu run 'apt-get install python3-venv'."; exit 1; }
	@echo "Installing into .venv (a minute or two the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation \
		$(foreach folder,$(DISTRIBUTIONS),--editable $(folder))
	@touch $@

.PHONY: help install run clean-run test lint types imports console docs unit integration e2e e2e-calls e2e-stories browser containers \
	flaky soak bench format pictures contracts constraints $(INTEGRATION)
