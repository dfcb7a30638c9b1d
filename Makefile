# One entry for everything. Needs Python 3.11 or newer, git and GNU make; everything else goes into .venv.
# `make` lists the targets. Another interpreter: make run PYTHON=python3.12

.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := .venv-extras
# What `serve` uses by default, and what the tests speak and listen with besides.
MODELS := whisper-base kokoro diarization-community1
TEST_MODELS := $(MODELS) whisper-tiny.en piper-en_US-joe-medium wespeaker-resnet34-lm ge2e
PYTEST_ARGS ?=
# Processes for the tests; a file of tests stays in one of them, and tests/conftest.py says which files go first.
JOBS ?= 2
PYTEST := -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

## help: this list
.PHONY: help
help:
	@sed -n 's/^## \([a-z-]*\): */  make \1\t/p' Makefile | expand -t 24

# --- environment: one .venv, redone when pyproject.toml changes -----------------------------------

$(VENV)/.base: pyproject.toml scripts/make_env.py
	@$(PYTHON) scripts/make_env.py $(VENV)
	@touch $@

$(VENV)/.dev: pyproject.toml scripts/make_env.py
	@$(PYTHON) scripts/make_env.py $(VENV) --extras dev,piper
	@touch $(VENV)/.base $@

## install: create .venv with the base install
.PHONY: install
install: $(VENV)/.base

## dev: create .venv with everything the tests and tools need
.PHONY: dev
dev: $(VENV)/.dev

.PHONY: models
models: install
	@$(BIN)/voice-stack models pull $(MODELS)

.PHONY: test-models
test-models: dev
	@$(BIN)/voice-stack models pull $(TEST_MODELS)

# --- the main job -------------------------------------------------------------------------------

## run: install, pull the default models, start both services, print the self-check, keep running
.PHONY: run
run: models
	@exec $(BIN)/voice-stack serve all --check

## demo: the same, but stop after the round trip (status 0 when it went well)
.PHONY: demo
demo: models
	@exec $(BIN)/voice-stack serve all --check --exit

# --- checks -------------------------------------------------------------------------------------

## test: everything CI runs
.PHONY: test
test: test-models conformance-envs lint typecheck docs-check lint-docker test-extras
	$(BIN)/python $(PYTEST) $(PYTEST_ARGS)

## test-extras: the engines behind extras (Coqui, openai-whisper, CrispASR, sherpa-onnx) in an environment of their own
.PHONY: test-extras
test-extras: test-models
	@PYTHON=$(PYTHON) scripts/make-extras-env.sh $(EXTRAS)
	ENGINES=coqui,whisper,crispasr,sherpa-onnx $(EXTRAS)/bin/python $(PYTEST) -m "not slow" tests/coqui tests/whisper \
		tests/contract tests/[at]*s*/engines/test_crispasr.py tests/[at]*s*/engines/test_sherpa_onnx*.py $(PYTEST_ARGS)

## test-base: the whole suite in an environment without any extra: engines that are not installed are skipped or told
.PHONY: test-base
test-base: test-models
	@$(PYTHON) scripts/make_env.py .venv-base --extras dev
	.venv-base/bin/python $(PYTEST) $(PYTEST_ARGS)

## test-fast: the tests that load no model and start no service
.PHONY: test-fast
test-fast: dev
	$(BIN)/python -m pytest -m "not e2e" $(PYTEST_ARGS)

# The tools and SDKs that prove the contract, each in an environment of its own under .venv-conformance.
.PHONY: conformance-envs
conformance-envs:
	@PYTHON=$(PYTHON) scripts/make-conformance-envs.sh

## conformance: the HTTP contract with OpenAI's SDKs and other clients; writes docs/compatibility.md
.PHONY: conformance
conformance: dev conformance-envs
	$(BIN)/python -m tests.conformance --page

## conformance-real: a part of it with Whisper base and Kokoro instead of the fake engines (minutes)
.PHONY: conformance-real
conformance-real: test-models conformance-envs
	$(BIN)/python -m tests.conformance --real

## test-jobs-kill: kill the service or its worker 20 times at random while it works on long jobs (minutes)
.PHONY: test-jobs-kill
test-jobs-kill: dev
	KILLS=20 $(BIN)/python -m pytest tests/e2e/test_jobs_survive.py $(PYTEST_ARGS)

## engines: every engine with its extra in an environment of its own: its tests, real sentences; ENGINES=whisper,piper
.PHONY: engines
engines: test-models
	@PYTHON=$(PYTHON) scripts/make-engine-envs.sh .venv-engines $$($(BIN)/python -m bench.engines --extras) || true
	$(BIN)/python -m bench.engines

## lint: ruff, formatting and the shell scripts, nothing is changed
.PHONY: lint
lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/shellcheck scripts/*.sh .ci/run

## fmt: format the code and sort imports
.PHONY: fmt
fmt: dev
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

## typecheck: mypy, strict
.PHONY: typecheck
typecheck: dev
	$(BIN)/mypy

## docs: regenerate docs/configuration.md, docs/errors.md, the tables of docs/engines.md, .env.example, docs/openapi and .docs/repo_map.json
.PHONY: docs
docs: dev
	$(BIN)/python scripts/generate_docs.py
	$(BIN)/python scripts/build_repo_map.py

## docs-check: fail when a generated file is out of date
.PHONY: docs-check
docs-check: dev
	$(BIN)/python scripts/generate_docs.py --check

.PHONY: lint-docker
lint-docker: dev
	$(BIN)/hadolint Dockerfile.asr Dockerfile.tts

## check-docker: lint the Dockerfiles and run their install commands in a plain folder
.PHONY: check-docker
check-docker: lint-docker
	$(BIN)/python -m pytest tests/tooling/test_docker.py

# --- measurements -------------------------------------------------------------------------------

## bench-env: the programs that ours are compared with, each in an environment of its own (2 GB)
.PHONY: bench-env
bench-env: dev
	@PYTHON=$(PYTHON) scripts/make-bench-env.sh

## bench-asr: transcription beside faster-whisper and the servers around it; QUICK=1, CELLS=short,c8
.PHONY: bench-asr
bench-asr: test-models
	$(BIN)/python -m bench.asr

## bench-tts: speech beside the bare libraries and fastkokoro; QUICK=1, CHARACTERS=25,110
.PHONY: bench-tts
bench-tts: test-models
	$(BIN)/python -m bench.tts

## bench-diarization: who spoke, against ground truth: error rates, speed, memory; QUICK=1, CELLS=der,both
.PHONY: bench-diarization
bench-diarization: test-models
	$(BIN)/python -m bench.diarization

## bench-gpu: batches of windows and many clients on a GPU (a tiny form of it on a CPU)
.PHONY: bench-gpu
bench-gpu: test-models
	$(BIN)/python -m bench.gpu

## bench-overhead: what the service costs on top of its engines
.PHONY: bench-overhead
bench-overhead: test-models
	$(BIN)/python -m bench.overhead

## bench-memory: memory of every process while a 60-minute file is transcribed
.PHONY: bench-memory
bench-memory: test-models
	$(BIN)/python -m bench.memory

## bench-upload: memory and latency of the API process while 1 GiB and four films of 120 MiB arrive
.PHONY: bench-upload
bench-upload: dev
	$(BIN)/python -m bench.upload

## bench-load: models loaded, used and unloaded 200 times by four clients of each service; ROUNDS=20, QUICK=1
.PHONY: bench-load
bench-load: test-models
	$(BIN)/python -m bench.models

# --- house keeping ------------------------------------------------------------------------------

## clean: remove environments, caches and build results (pulled models stay)
.PHONY: clean
clean:
	rm -rf $(VENV) .venv-* .nox build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests scripts bench examples -name __pycache__ -type d -prune -exec rm -rf {} +
