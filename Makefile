# Every target sets itself up: there is nothing to install by hand but Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help setup demo test test-programs quick lint format bench soak profile profile-fusion bench-sessions bench-page test-gpu quiet train simulate mutate torture docs-long lock clean

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## Only the environment: .venv/bin/braid works after it

# The lock names a hash for every file: what is installed is what was tested.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Braid needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Set PYTHON=..."; exit 1; }
	@echo "· making $(VENV) (about 3 GB, most of it torch; a minute or a few)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9 || echo "· no uv here, pip does it alone" >&2
	@if [ -x $(BIN)/uv ]; then $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock; \
	else $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)
	@echo "· ready: $(BIN)/braid --help" >&2

demo: setup  ## Recorded streams through the whole system, checked at the end (ARGS=--stay, ARGS=--json, ARGS="--kill aligner")
	@$(BIN)/braid demo $(ARGS)

test: setup test-programs  ## All tests, on a real broker and a real Redis, in two processes (ARGS="-n 0" for one)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=25 $(ARGS)

# The page is tested in the system's browser, the MQTT bridge with a real MQTT broker, the alert rules with Prometheus' tool.
test-programs:
	@PATH="$$PATH:/usr/sbin"; missing=; \
	for program in chromium mosquitto mosquitto_sub promtool; do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	test -z "$$missing" || if [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then \
		echo "· installing the programs that tests run:$$missing" >&2; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium mosquitto mosquitto-clients prometheus; \
	else \
		echo "make test needs$$missing: install chromium, mosquitto, mosquitto-clients and prometheus (their names on Debian)" >&2; exit 1; \
	fi

quick: setup  ## Tests that need no broker, in under a minute
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not stack and not slow" --ignore tests/simulation $(ARGS)

simulate: setup  ## More histories of the simulation (SEEDS=10000), or one of them again (SEED=17)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000))

mutate: setup  ## Break the pure files in every small way and see that a test notices (FILE=floor.py for one of them)
	@$(BIN)/python -m tests.mutation $(if $(FILE),--file $(FILE))

torture: setup  ## kill -9, pauses and rebalances on real processes, judged at the end (MINUTES=5, SEED=17 for one again)
	@$(BIN)/python -m tests.torture --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED))

docs-long: setup  ## Every command of README and docs that takes long, in full, into docs/results (hours; ONLY=docs/train.md for a page)
	@$(BIN)/python -m tests.integration.documents $(if $(ONLY),--only "$(ONLY)")

lint: setup  ## Style, formatting and types
	@$(BIN)/ruff check services model research tests examples benchmarks
	@$(BIN)/ruff format --check services model research tests examples benchmarks
	@$(BIN)/mypy

format: setup  ## Put the code into shape
	@$(BIN)/ruff check --fix --quiet services model research tests examples benchmarks
	@$(BIN)/ruff format services model research tests examples benchmarks

bench: setup  ## Braid against its peers on one broker, each window checked (QUICK=1 writes nothing; ARGS="--case backlog --systems braid,bare")
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(or $(ARGS),$(if $(QUICK),,--write))

soak: setup  ## Memory and open files of every process at a steady rate (MINUTES=30)
	@$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30) --write

profile: setup  ## CPU of the aligner per event on a local stack (five minutes)
	@$(BIN)/python -m benchmarks.aligner_profile

profile-fusion: setup  ## CPU of the fusion worker per window, with a stub instead of the model (six minutes)
	@$(BIN)/python -m benchmarks.fusion_profile

bench-sessions: setup  ## What an open session costs the aligner, 100 to 10,000 of them (three minutes)
	@$(BIN)/python -m benchmarks.sessions --write $(ARGS)

test-gpu: setup  ## Tests of the models on a CUDA device: they fail where there is none
	@$(BIN)/python -m pytest tests/gpu/on_cuda.py -s $(ARGS)

bench-page: setup  ## Frames per second of the live page with ten sessions, in a real Chromium (a minute and a half)
	@$(BIN)/python -m benchmarks.page --write $(ARGS)

quiet: setup  ## False events on two hours of made streams in which nothing happens (ARGS="--hours 0.5" for half an hour)
	@$(BIN)/braid evaluate --quiet $(ARGS)

train: setup  ## Train the shipped model again (about ten minutes)
	@$(BIN)/braid train $(ARGS)

LOCKED = $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11
lock: setup  ## requirements.in and requirements-dev.in with all that they need, each file by its hash, into the two locks
	@$(LOCKED) requirements-dev.in -o requirements.lock
	@$(LOCKED) requirements.in --constraint requirements.lock -o deploy/requirements.lock

clean:  ## Take away everything that was made here
	@rm -rf $(VENV) .braid .mypy_cache .ruff_cache .pytest_cache .hypothesis test-artefacts *.egg-info
