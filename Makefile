# Every target sets itself up; Python 3.11 and make are the only requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help setup demo test test-programs quick lint format bench soak profile profile-fusion bench-sessions bench-neighbours bench-rooms bench-page test-gpu quiet train weights simulate mutate fuzz torture docs-long lock clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## Make the environment; .venv/bin/braid works afterwards

# The lock has the hash of every package, so what is installed is what was tested.
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

demo: setup  ## Play recorded sessions through the whole system and check the results (ARGS=--stay, ARGS=--json, ARGS="--kill aligner")
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

quick: setup  ## Run the tests that need no broker
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not stack and not slow" --ignore tests/simulation $(ARGS)

weights: setup  ## Fetch the pretrained encoders out of their released packages, each with its pinned hash (60 MB; docs/extend.md)
	@$(BIN)/braid model get packages

simulate: setup  ## Run simulated histories (SEEDS=10000), or one of them again (SEED=17)
	@$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000))

mutate: setup  ## Change the pure files in every small way and check that a test fails (FILE=retained_offsets.py for one of them)
	@$(BIN)/python -m tests.mutation $(if $(FILE),--file $(FILE))

fuzz: setup  ## Put random bytes and JSON into every reader and decoder (MINUTES=5); what fails is kept in tests/fuzz/corpus
	@$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),5)

torture: setup  ## Hurt the whole system, then check the topics (MINUTES=5; SEED=17 repeats a run; RATE=500 records a second; FAULTS=1 times as many)
	@$(BIN)/python -m tests.torture --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) $(if $(RATE),--rate $(RATE)) $(if $(FAULTS),--faults $(FAULTS))

docs-long: setup  ## Run the long commands of README and docs at full size (hours; ONLY=docs/train.md for one page)
	@$(BIN)/python -m tests.integration.documents $(if $(ONLY),--only "$(ONLY)")

lint: setup  ## Check style, formatting and types
	@$(BIN)/ruff check services model research tests examples benchmarks
	@$(BIN)/ruff format --check services model research tests examples benchmarks
	@$(BIN)/mypy

format: setup  ## Format the code
	@$(BIN)/ruff check --fix --quiet services model research tests examples benchmarks
	@$(BIN)/ruff format services model research tests examples benchmarks

bench: setup  ## Measure Braid and other frameworks on one broker, every window checked (QUICK=1 writes nothing; ARGS="--case backlog --systems braid,bare")
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(or $(ARGS),$(if $(QUICK),,--write))
	$(if $(ARGS),,@$(BIN)/python -m benchmarks.live_rooms $(if $(QUICK),--quick,--write))

bench-rooms: setup  ## CPU, memory, wake-ups and fetches of every process at rest and with 1 to 64 live rooms (ten minutes; QUICK=1 writes nothing)
	@$(BIN)/python -m benchmarks.live_rooms $(if $(QUICK),--quick,--write) $(ARGS)

soak: setup  ## Memory and open files of every process at a steady rate (MINUTES=30)
	@$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30) --write

profile: setup  ## CPU of the aligner per event on a local stack (five minutes)
	@$(BIN)/python -m benchmarks.aligner_profile

profile-fusion: setup  ## CPU of the fusion worker per window, with a stub instead of the model (six minutes; ARGS=--from-log for a backlog without Redis)
	@$(BIN)/python -m benchmarks.fusion_profile $(ARGS)

bench-sessions: setup  ## CPU of the aligner per chunk with 100 to 10,000 open sessions (three minutes)
	@$(BIN)/python -m benchmarks.sessions --write $(ARGS)

test-gpu: setup  ## Test the models on a CUDA device
	@$(BIN)/python -m pytest tests/gpu/on_cuda.py -s $(ARGS)

bench-neighbours: setup  ## Latency of a session beside neighbours that flood the system (ten minutes; SECONDS=30)
	@$(BIN)/python -m benchmarks.neighbours --seconds $(or $(SECONDS),30) --write $(ARGS)

bench-page: setup  ## Frame rate of the live page with ten sessions, in a real Chromium (two minutes)
	@$(BIN)/python -m benchmarks.page --write $(ARGS)

quiet: setup  ## Count false events on two hours of generated sessions without events (ARGS="--hours 0.5" for half an hour)
	@$(BIN)/braid evaluate --quiet $(ARGS)

train: setup  ## Train the model of the fusion worker again
	@$(BIN)/braid train $(ARGS)

LOCKED = $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11
lock: setup  ## Resolve requirements.in and requirements-dev.in into the two lock files, each package with its hash
	@$(LOCKED) requirements-dev.in -o requirements.lock
	@$(LOCKED) requirements.in --constraint requirements.lock -o deploy/requirements.lock

clean:  ## Delete everything that was made here
	@rm -rf $(VENV) .braid .mypy_cache .ruff_cache .pytest_cache .hypothesis test-artefacts *.egg-info
